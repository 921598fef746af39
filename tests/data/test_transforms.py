from __future__ import annotations

import numpy as np
import pytest
import torch

from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD, normalize, normalized_for, resize_uint8


@pytest.mark.parametrize("source", [(240, 427), (90, 61), (448, 448), (448, 300), (1, 1)])
@pytest.mark.parametrize("size", [(448, 448), (112, 168)])
def test_pixels_are_those_of_transformers(source: tuple[int, int], size: tuple[int, int]) -> None:
    processors = pytest.importorskip("transformers.models.internvl.video_processing_internvl")
    frames = np.random.default_rng(0).integers(0, 256, (3, *source, 3), dtype=np.uint8)
    processor = processors.InternVLVideoProcessor(
        size={"height": size[0], "width": size[1]}, image_mean=list(IMAGENET_MEAN), image_std=list(IMAGENET_STD)
    )
    theirs = processor([torch.from_numpy(frames).permute(0, 3, 1, 2)], return_tensors="pt")["pixel_values_videos"]
    ours = normalize(resize_uint8(frames, size)[None])
    assert ours.dtype == torch.float32 and ours.shape == (1, 3, 3, *size)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_the_image_processor_agrees_too() -> None:
    processors = pytest.importorskip("transformers.models.got_ocr2.image_processing_got_ocr2")
    frame = np.random.default_rng(1).integers(0, 256, (100, 80, 3), dtype=np.uint8)
    processor = processors.GotOcr2ImageProcessor(
        size={"height": 56, "width": 56}, image_mean=list(IMAGENET_MEAN), image_std=list(IMAGENET_STD)
    )
    theirs = processor(torch.from_numpy(frame).permute(2, 0, 1), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(normalize(resize_uint8(frame[None], (56, 56))), theirs, rtol=0, atol=1e-6)


def test_frames_of_the_right_size_keep_every_value() -> None:
    frames = np.random.default_rng(2).integers(0, 256, (2, 8, 12, 3), dtype=np.uint8)
    same = resize_uint8(frames, (8, 12))
    assert same.is_contiguous() and np.array_equal(same.permute(0, 2, 3, 1).numpy(), frames)


def test_resized_frames_do_not_depend_on_their_neighbours() -> None:
    frames = np.random.default_rng(3).integers(0, 256, (4, 50, 70, 3), dtype=np.uint8)
    one_by_one = torch.cat([resize_uint8(frames[i : i + 1], (28, 28)) for i in range(4)])
    assert torch.equal(resize_uint8(frames, (28, 28)), one_by_one)
    assert torch.equal(
        resize_uint8(frames[:, ::-1, ::-1], (28, 28)), resize_uint8(frames[:, ::-1, ::-1].copy(), (28, 28))
    )


def test_normalize_is_the_formula() -> None:
    frames = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 16, 16).expand(1, 1, 3, 16, 16)
    values = normalize(frames)
    for channel in range(3):
        expected = (frames[:, :, channel].double() / 255 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        torch.testing.assert_close(values[:, :, channel].double(), expected, rtol=0, atol=1e-5)
    assert frames.dtype == torch.uint8 and frames[0, 0, 0, 0, 5] == 5, "the frames themselves stay as they are"


@pytest.mark.parametrize("mean", [(0.5, 0.5, 0.5), (0.48145466, 0.4578275, 0.40821073), IMAGENET_MEAN])
@pytest.mark.parametrize("already", [False, True])
def test_pixels_of_another_model_follow_from_bytes_and_from_those_of_imagenet(
    mean: tuple[float, float, float], already: bool
) -> None:
    std = (0.5, 0.25, 0.125)
    frames = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 1, 16, 16).expand(2, 1, 3, 16, 16)
    found = normalized_for(normalize(frames) if already else frames, mean, std)
    for channel in range(3):
        expected = (frames[:, :, channel].double() / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(found[:, :, channel].double(), expected, rtol=0, atol=1e-5)
    assert torch.equal(normalized_for(normalize(frames), IMAGENET_MEAN, IMAGENET_STD), normalize(frames))
