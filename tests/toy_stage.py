"""The smallest stage and data that a pipeline can run, for the tests of the command and the pipeline."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch.utils.data import DataLoader

from liteframe.data.datamodule import VideoDataModule
from liteframe.errors import ConfigError
from liteframe.stages.stage import OptimizerSettings, Stage


class ToyStage(LightningModule):
    """Fits four numbers to noise that follows from the step alone.

    Args:
        rate: learning rate.
        broken: raise an error of the house when training starts.
        estimate: as the cache stage has it.
        slow: seconds that a step takes more; the step is then noted in a file.
        waits: two ranks wait in a validation step for what the other never sends.
        late: rank 1 never comes to where the ranks meet; its process id is in ``late.txt`` then.
    """

    def __init__(
        self,
        rate: float = 0.1,
        broken: bool = False,
        estimate: bool = False,
        slow: float = 0.0,
        waits: bool = False,
        late: bool = False,
    ) -> None:
        super().__init__()
        if late and os.environ.get("LOCAL_RANK") == "1":
            Path("late.txt").write_text(f"{os.getpid()} ", encoding="utf-8")
            time.sleep(600)
        self.waits = waits
        self.rate, self.broken, self.estimate, self.slow = rate, broken, estimate, slow
        self.weight = torch.nn.Parameter(torch.zeros(4))
        self.first_step: int | None = None

    def on_train_start(self) -> None:
        if self.broken:
            raise ConfigError("toy.yaml: field broken is true; set it to false")
        self.first_step = self.global_step

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        if self.global_step == int(os.environ.get("TOY_KILL_AT", -1)):
            os.kill(os.getpid(), signal.SIGKILL)
        self._take_time("rank", self.global_step)
        target = torch.randn(4, generator=torch.Generator().manual_seed(self.global_step))
        loss = (self.weight - target).square().sum()
        self.log("loss", loss, prog_bar=True)
        return loss

    def predict_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self._take_time("rank", batch_idx)
        return batch

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self._take_time("validating", batch_idx)
        if self.waits and batch_idx == 2:
            torch.distributed.recv(torch.zeros(1), src=1 - self.global_rank)

    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self._take_time("rank", batch_idx)

    def save_progress(self) -> None:
        (Path(self.trainer.default_root_dir) / f"saved{self.global_rank}.txt").touch()

    def on_predict_end(self) -> None:
        self._write({"estimate": self.estimate, "kept": bool(self.trainer.predict_loop._predictions)})

    def on_fit_end(self) -> None:
        if self.trainer.is_global_zero:
            values = {"weight": self.weight.tolist(), "first_step": self.first_step, "world": self.trainer.world_size}
            self._write({**values, "noise": torch.rand(1).item()})

    def _take_time(self, doing: str, step: int) -> None:
        if self.slow:
            time.sleep(self.slow)
            note = Path(self.trainer.default_root_dir) / f"{doing}{self.global_rank}.txt"
            note.write_text(f"{os.getpid()} {step}", encoding="utf-8")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.rate)

    def _write(self, values: dict[str, Any]) -> None:
        (Path(self.trainer.default_root_dir) / "result.json").write_text(json.dumps(values), encoding="utf-8")


class ToyExporter(Stage):
    """Trains as a stage of liteframe does, exports a file of its own, and is tested for nothing.

    Args:
        mark: what the export holds.
        out: as every stage has it.
        steps_taken: file that notes each step and its learning rate.
    """

    def __init__(self, mark: str = "first", out: str | None = None, steps_taken: str | None = None) -> None:
        super().__init__(OptimizerSettings(), out=out)
        self.mark, self.steps_taken = mark, steps_taken
        self.weight = torch.nn.Parameter(torch.zeros(4))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        if self.steps_taken:
            with open(f"{self.steps_taken}{self.global_rank}", "a", encoding="utf-8") as file:
                file.write(f"{self.trainer.optimizers[0].param_groups[0]['lr']!r}\n")
            time.sleep(0.005)
        return (self.weight - 1).square().sum()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        pass

    def export(self, folder: Path) -> None:
        (folder / "export.txt").write_text(self.mark, encoding="utf-8")

    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        pass

    def on_test_end(self) -> None:
        path = Path(self.trainer.default_root_dir) / "evaluation.json"
        path.write_text(json.dumps({"mark": self.mark}), encoding="utf-8")


class ToyData(VideoDataModule):
    """``samples`` numbers, two a batch, which are validated on too if `validate` is set; `start` changes nothing."""

    def __init__(self, samples: int = 64, validate: bool = False, start: int | None = None) -> None:
        super().__init__()
        self.samples, self.validate = samples, validate

    def setup(self, stage: str) -> None:
        pass

    def describe_training(self) -> dict[str, Any]:
        return {"samples": self.samples}

    def train_dataloader(self) -> Any:
        return DataLoader(torch.arange(float(self.samples)), batch_size=2)  # type: ignore[arg-type]

    def val_dataloader(self) -> Any:
        return self.train_dataloader() if self.validate else []

    def predict_dataloader(self) -> Any:
        return self.train_dataloader()

    test_dataloader = predict_dataloader

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def write_toy_config(folder: Path, **model: Any) -> Path:
    """A config of the toy stage in ``folder``."""
    path = folder / "toy.yaml"
    content = {
        "model": {"class_path": "toy_stage.ToyStage", "init_args": model},
        "data": {"class_path": "toy_stage.ToyData"},
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "max_steps": 20,
            "enable_model_summary": False,
            "callbacks": [
                {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {"save_last": True, "save_top_k": 0, "every_n_train_steps": 5},
                }
            ],
        },
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
