"""Stages of the tiny world, under the module that configs of earlier versions name."""

from liteframe.tiny.pretrain import HostPretrainStage, TimmPretrainStage, VisionPretrainStage

__all__ = ["HostPretrainStage", "TimmPretrainStage", "VisionPretrainStage"]
