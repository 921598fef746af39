"""Evaluation: a Video LLM answers multiple-choice questions about videos, `liteframe test --config eval.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from liteframe.data.sources.row_checks import RowCheck
from liteframe.errors import DataError
from liteframe.evaluation.answering import count_answers, option_ids, option_logits
from liteframe.evaluation.benchmarks.question import Question, questions_of, require_letters
from liteframe.evaluation.multiple_choice import MultipleChoiceAccuracy
from liteframe.evaluation.prompts.prompt import prompt
from liteframe.evaluation.scoring.likelihood import likeliest
from liteframe.hf.loading import load_video_llm
from liteframe.models.clip_chunks import encode_chunks
from liteframe.models.video_llm.generation import prompt_ids, require_room
from liteframe.models.video_llm.hosts import Groups, count_of
from liteframe.models.video_llm.model import VideoLLM
from liteframe.stages.following import follow_frames, require_size_told
from liteframe.system.atomic import atomic_write_json


class EvaluateStage(LightningModule):
    """Accuracy on questions with options: of the options, the one whose first token is likeliest is the answer.

    Rows have `questions` (each with `question`, `options`, `answer` and, for figures of each kind, `type`), or these
    fields themselves. The figures go to the log and to `evaluation.json` in the run folder.

    Args:
        source: export folder of an LMA run, what `liteframe export` made of it, or a base VLM of any
            family (an InternVL, ...), which then reads with its own encoder.
        choices: "letters" lists the options under the question as A., B., ... and asks for a letter; "words" asks the
            question as it is and compares the options' own first tokens.
        attention: attention implementation of the LLM, "eager" or "sdpa"; null is transformers' choice.
        encoder_chunk_frames: frames of a video that its encoder takes at a time, rounded up to whole clips; null is
            all. No answer depends on it.
    """

    def __init__(
        self,
        source: str,
        choices: Literal["letters", "words"] = "letters",
        attention: str | None = None,
        encoder_chunk_frames: int | None = None,
    ) -> None:
        super().__init__()
        self.source, self.choices, self.attention = source, choices, attention
        self.encoder_chunk_frames = encoder_chunk_frames
        self.prompt = prompt("liteframe", "own", choices)
        self.model: VideoLLM | None = None
        self.accuracy = MultipleChoiceAccuracy()

    def configure_model(self) -> None:
        if self.model is None:
            self.model = load_video_llm(self.source, self.attention)
            require_size_told(self, self.model.frames, self.source)
            size = follow_frames(self, self.model.frames, self.source)
            if size is not None:
                self.model.require_size(size, "data.image_size")

    def row_check(self) -> RowCheck:
        """Refuses a row without questions that can be asked; see `questions_of`."""
        return require_letters if self.choices == "letters" else questions_of

    def on_test_start(self) -> None:
        """Raises DataError for a row that the model has no words for, or skips it, before any video is read."""
        self.trainer.datamodule.check_rows("test", self._check_words)  # type: ignore[attr-defined]

    def _check_words(self, row: dict[str, Any]) -> None:
        asked = questions_of(row)
        assert self.model is not None
        for question in asked:
            words = self._words(question)
            require_room(self.model, self.model.prompts.text_tokens([(words, "")]), 1)
            self._options(question, row)
        # In a figure of its own, which refuses what the real one would.
        count_answers(MultipleChoiceAccuracy(), row, asked, [0] * len(asked))

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        assert self.model is not None
        groups_B = self.model.groups(batch["valid_frames_B"], batch.get("frame_times_s"))
        for row, frames_TCHW, groups in zip(batch["rows"], batch["frames_BTCHW"], groups_B, strict=True):
            try:
                self._answer(row, frames_TCHW, groups)
            except DataError as error:  # of its words, its length, its options: that row's alone
                self.trainer.datamodule.leave_out(row, error)  # type: ignore[attr-defined]

    def _answer(self, row: dict[str, Any], frames_TCHW: Tensor, groups: Groups) -> None:
        assert self.model is not None
        asked = questions_of(row)
        whole_clips = count_of(groups) * self.model.frames_per_group
        visual_1TNC = self._read(self.model, frames_TCHW[None, :whole_clips])
        prompts = [self._words(question) for question in asked]
        for words in prompts:
            require_room(self.model, len(prompt_ids(self.model, visual_1TNC, words, groups)), 1)
        (hidden_QC,) = self.model.before_answers(visual_1TNC, [prompts], groups)
        chosen = [
            likeliest(option_logits(self.model, hidden_C, self._options(question, row)))
            for question, hidden_C in zip(asked, hidden_QC, strict=True)
        ]
        count_answers(self.accuracy, row, asked, chosen)

    def _words(self, question: Question) -> str:
        """What is asked. Raises DataError for words that the model does not take."""
        assert self.model is not None
        words = self.prompt.ask(question).user
        try:
            self.model.prompts.check_question(words)
        except DataError as error:
            advice = "; a model of few words may answer with model.choices set to words" * self.prompt.by_letter
            raise DataError(f"{error}{advice}") from error
        return words

    def _read(self, model: VideoLLM, frames_1TCHW: Tensor) -> Tensor:
        """What the LLM sees of a video, (1, T', N, C)."""
        chunk_clips = -(-self.encoder_chunk_frames // model.clip_frames) if self.encoder_chunk_frames else None
        return encode_chunks(
            lambda part: model.project(model.encode(part)), frames_1TCHW, model.clip_frames, chunk_clips
        )

    def _options(self, question: Question, row: dict[str, Any]) -> list[int]:
        """First token of each option, by which the model tells them apart."""
        assert self.model is not None
        try:
            return option_ids(self.model, self.prompt.answers(question))
        except DataError as error:
            other = "words" if self.choices == "letters" else "letters"
            raise DataError(
                f"{row['path']} (id {row['id']}): {error}; set model.choices to {other}, or write the options otherwise"
            ) from error

    def on_test_epoch_end(self) -> None:
        figures = self.accuracy.compute()
        self.accuracy.reset()
        self.log_dict(
            {f"test/{name}": figures[name] for name in ("accuracy", "accuracy_low", "accuracy_high", "macro")}
        )
        self.log_dict({f"test/accuracy/{name}": value for name, value in figures["per_type"].items()})
        self._write(figures)

    def _settings(self) -> dict[str, Any]:
        """What was asked of what, and how the frames differ from those that the model was made for."""
        assert self.model is not None
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        return {
            "source": self.source,
            "choices": self.choices,
            "frames": data.frames,
            "most_frames_trained_on": self.model.frames.most_frames,
            "image_size": list(data.settings.image_size),
            "image_size_made_for": list(self.model.frames.image_size or data.settings.image_size),
            "clip_frames": data.settings.clip_frames,
            "sampler": type(data.sampler).__name__,
            "sampler_settings": {name: value for name, value in data.sampler.describe().items() if name != "name"},
            "made_for_other": data.differs,
            "precision": str(self.trainer.precision),
            "weights": str(next(self.model.language_model.parameters()).dtype).removeprefix("torch."),
            "skipped": [] if data.ledger is None else [skip.as_dict() for skip in data.ledger.skipped()],
        }

    @rank_zero_only
    def _write(self, figures: dict[str, Any]) -> None:
        path = Path(self.trainer.default_root_dir) / "evaluation.json"
        trial = bool(self.trainer.fast_dev_run)  # type: ignore[attr-defined]
        if not trial:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_json(path, {**self._settings(), **figures})
        print(
            f"accuracy {figures['accuracy']:.3f} ({figures['accuracy_low']:.3f} to {figures['accuracy_high']:.3f},"
            f" 95 %) on {figures['questions']:,} questions about {figures['videos']:,} videos:"
            f" {'a trial, of which nothing is kept' if trial else path}"
        )
