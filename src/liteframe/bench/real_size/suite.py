"""Runs the cells of a device one after another and keeps what they gave in a record on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from liteframe.bench.encoders import ENCODERS
from liteframe.bench.latency_record import LatencyRow, StageTime
from liteframe.bench.own_dtype import FASTER
from liteframe.bench.real_size.arms import Arm, ExecutedArms, NoTimer
from liteframe.bench.real_size.cells import OUT_OF_MEMORY, Budget, Outcome, measure_cell
from liteframe.bench.real_size.compose import composed_rows
from liteframe.bench.real_size.encoder_dtypes import EncoderDtypes
from liteframe.bench.real_size.record import CONTEXT_TOKENS, RunningRecord, describe_method
from liteframe.bench.real_size.rows import measured
from liteframe.bench.real_size.runs import WAP_METHOD, EncoderRun, LlmRun, PipelineRun, Run
from liteframe.bench.real_size.shapes import Shapes
from liteframe.bench.real_size.steps import EXECUTED, FRAMES, LLM, Step, methods_of
from liteframe.bench.real_size.subjects import QUESTION_TOKENS, Backbones, Llm, Subject, build_subject, module_bytes
from liteframe.bench.real_size.work import EncoderWork, LlmWork
from liteframe.bench.timers import summary
from liteframe.errors import ConfigError
from liteframe.models.acceleration.attention_kernel import KernelsThatRan
from liteframe.models.rivals.llm_pruning import PrunedVideoLLM
from liteframe.models.video_llm.answering_model import TokenCounts
from liteframe.models.video_llm.model import LiteFrameBackbone
from liteframe.system.progress import track

_WITH_ANSWER = ("pipeline", "throughput", "fastest", "streamed", "decoded")
_SHORT_PROMPT = 8


class Suite:
    """The models of a run, and its cells.

    Args:
        shapes: sizes of the models.
        device: where they run.
        budget: seconds that the cells may take.
        record: takes the rows.
        decode_tokens: answer tokens of the suite "prefill".
        dtype: of all weights.
        own_dtypes: each encoder has its own instead, see `EncoderDtypes`.
    """

    def __init__(
        self,
        shapes: Shapes,
        device: torch.device,
        budget: Budget,
        record: RunningRecord,
        decode_tokens: int,
        dtype: torch.dtype,
        own_dtypes: bool = False,
    ) -> None:
        self.shapes, self.device, self.budget, self.record = shapes, device, budget, record
        self.decode_tokens, self.dtype = decode_tokens, dtype
        self.llm = Llm.build(shapes, device, dtype)
        self.llm_work = LlmWork(shapes)
        self.subjects: dict[str, Subject] = {}
        self.work: dict[str, EncoderWork] = {}
        self._backbones: Backbones = {}
        settings = record.settings
        self._own = EncoderDtypes(shapes, self.llm, device, budget, dtype, settings) if own_dtypes else None
        self._executed = ExecutedArms(shapes, self.llm, self.subjects, record, budget)
        with KernelsThatRan() as ran, torch.no_grad():  # in inference mode it is shown attention whole
            LlmRun(self.llm, _SHORT_PROMPT)(NoTimer())
        settings["llm_attention"] = ran.names

    def prepare(self, names: Iterable[str]) -> None:
        """Make the methods and count their work; one that cannot be made, such as of a timm without it, is dropped."""
        for name in track(list(names), "latency: models"):
            try:
                dtype = self.dtype if self._own is None else self._own.of(name)
                subject = build_subject(name, self.shapes, self.llm, self.device, dtype, self._backbones)
            except ConfigError as error:
                self.record.drop("all", name, None, 1, f"cannot be made: {error}")
                continue
            with KernelsThatRan() as ran:
                self.subjects[name], self.work[name] = subject, EncoderWork(subject)
            self.record.methods[name] = replace(describe_method(subject, self.work[name]), attention=ran.names)

    def run(self, steps: list[Step]) -> None:
        """Every cell, then what is composed of them."""
        for step in track(steps, "latency: cells"):
            for row in self.cell(step):
                self.record.add(row)
            self.record.measure_limits_again(self.device)
            self.record.save(self.budget.spent)
        rows, methods = self.record.rows, {name: ENCODERS[name] for name in self.subjects if name in ENCODERS}
        composed = {name: method for name, method in methods.items() if method.group != "mixer"}
        rows += composed_rows(rows, composed, FRAMES, self.llm_work, CONTEXT_TOKENS)
        for name in composed:
            timed = any((row.suite, row.arm) == ("encoder", name) for row in rows)
            reason = f"more than {CONTEXT_TOKENS} visual tokens" if timed else "its encoder was not timed"
            lacking = set(FRAMES) - {row.frames for row in rows if (row.suite, row.arm) == ("pipeline", name)}
            for frames in sorted(lacking):
                self.record.drop("pipeline", name, frames, 1, reason)

    def cell(self, step: Step) -> list[LatencyRow]:
        """Rows of one step; methods that were not run for want of time are noted as dropped."""
        if step.suite in EXECUTED:
            arms = self._executed.of(step)
        else:
            names = [name for name in step.methods if name in self.subjects or name == LLM]
            try:
                arms = {name: Arm(name, self._run_of(step, name)) for name in names}
            except (torch.OutOfMemoryError, MemoryError):
                return [self._out_of_memory(step, name) for name in names]
        output = self.decode_tokens if step.suite == "prefill" else int(step.suite in _WITH_ANSWER)
        settings = {label: self._settings(arm.method, output) for label, arm in arms.items()}
        guesses = self._guesses(step, [arm.method for arm in arms.values()])
        rows: list[LatencyRow] = []
        with torch.inference_mode():
            outcomes = measure_cell(
                {label: arm.run for label, arm in arms.items()},
                settings,
                self.device,
                self.budget,
                {label: guesses[arm.method] for label, arm in arms.items() if arm.method in guesses},
            )
        for label, outcome in outcomes.items():
            arm = arms[label]
            found = self._rows_of(step, arm, outcome)
            rows += [replace(row, execution=arm.execution, note=row.note or arm.note) for row in found]
        return rows

    def _run_of(self, step: Step, name: str) -> Run:
        if name == LLM:
            return LlmRun(self.llm, step.frames, self.decode_tokens)
        subject = self.subjects[name]
        if isinstance(backbone := subject.video_llm.backbone, LiteFrameBackbone):
            backbone.encoder.save_memory(step.chunk_clips)
        if step.suite in ("pipeline", "throughput"):
            return PipelineRun(subject, subject.pixels(step.frames, step.batch))
        return EncoderRun(subject, subject.frames(step.frames, step.batch), with_wap=name == "teacher")

    def _settings(self, name: str, output: int) -> dict[str, Any]:
        if name == LLM:
            config: Any = self.llm.model.config
            kernel = config._attn_implementation
            return {
                "dtype": str(next(self.llm.model.parameters()).dtype),
                "attention_kernel": kernel,
                "llm": self.llm.describe(),
                "prompt": "text alone",
                "output_length": output,
            }
        settings = self.subjects[name].settings(QUESTION_TOKENS, output)
        return settings if self._own is None else {**settings, "dtype": FASTER}

    def _guesses(self, step: Step, names: list[str]) -> dict[str, float]:
        """Seconds that a run may take, from the longest one of the same method in the same suite."""
        guesses = {}
        for name in names:
            before = [
                (row.batch * (row.frames or row.prompt_tokens or 1), sum(stage.ms for stage in row.stages.values()))
                for row in self.record.rows
                if (row.suite, row.arm) == (step.suite, name) and row.stages
            ]
            if before:
                size, ms = max(before)
                guesses[name] = ms / 1e3 * step.batch * step.frames / size
        return guesses

    def _rows_of(self, step: Step, arm: Arm, outcome: Outcome) -> list[LatencyRow]:
        name, run = arm.method, arm.run
        if outcome.samples is None:
            if outcome.reason == OUT_OF_MEMORY:
                return [self._out_of_memory(step, name)]
            label = f"{name}, {arm.execution}" if arm.execution else name
            self.record.drop(step.suite, label, step.frames, step.batch, outcome.reason)
            return []
        samples, peaks = outcome.samples.stages_ms, outcome.samples.peak_mib
        if isinstance(run, LlmRun):
            return [self._llm_row(step, samples, peaks, outcome.samples.run_ms)]
        assert isinstance(run, EncoderRun | PipelineRun)
        prompt = run.prompt_tokens if isinstance(run, PipelineRun) else 0
        rows = [self._row(step, name, samples, peaks, run.counts, outcome.samples.run_ms, prompt)]
        if isinstance(run, EncoderRun) and run.with_wap:
            # The runs were longer by what the other method does.
            rows[0] = replace(rows[0], run_ms=None)
            rows.append(self._wap_row(step, samples, peaks, run.wap_counts))
        return rows

    def _row(
        self,
        step: Step,
        name: str,
        samples: Mapping[str, list[float]],
        peaks: Mapping[str, float],
        counts: TokenCounts,
        run_ms: list[float],
        prompt_tokens: int = 0,
        note: str = "",
    ) -> LatencyRow:
        subject, work = self.subjects[name], self.work[name]
        llm, frames = subject.video_llm, step.frames * step.batch
        flops = {
            "encode": (work.encode(frames), module_bytes(llm.backbone)),
            "project": (work.project(counts.encoder * step.batch), module_bytes(llm.projector)),
        }
        if not isinstance(subject.model, PrunedVideoLLM):
            flops["prefill"] = (step.batch * self.llm_work.prefill_least(prompt_tokens), self.llm.weight_bytes())
        if step.suite == "float8":
            del flops["encode"]  # the machine's limits are those of other precisions
        stages = {}
        for stage, times in samples.items():
            if stage not in ("wap", "wap_project"):
                operations, read = flops.get(stage, (None, 0.0))
                stages[stage] = measured(times, operations, read, peaks.get(stage))
        return LatencyRow(
            step.suite,
            name,
            step.frames,
            stages,
            batch=step.batch,
            image_size=subject.image_size,
            tokens_encoder=counts.encoder,
            tokens_llm=counts.llm,
            prompt_tokens=prompt_tokens or None,
            tokens_mean_over_layers=counts.mean_over_layers,
            run_ms=summary(run_ms) if run_ms else None,
            dtype=subject.dtype,
            note=note or (f"in chunks of {step.chunk_clips} clips" if step.chunk_clips else ""),
        )

    def _wap_row(
        self, step: Step, samples: Mapping[str, list[float]], peaks: Mapping[str, float], counts: TokenCounts
    ) -> LatencyRow:
        both = {
            "encode": [encode + wap for encode, wap in zip(samples["encode"], samples["wap"], strict=True)],
            "project": samples["wap_project"],
        }
        peaks = {"encode": max(peaks["encode"], peaks["wap"]), "project": peaks["wap_project"]}
        note = "encoder timed in the teacher's runs, then WAP"
        return self._row(step, WAP_METHOD, both, peaks, counts, [], note=note)

    def _llm_row(
        self, step: Step, samples: Mapping[str, list[float]], peaks: Mapping[str, float], run_ms: list[float]
    ) -> LatencyRow:
        read = self.llm.weight_bytes()
        stages: dict[str, StageTime] = {}
        for stage, times in samples.items():
            peak = peaks.get(stage)
            if stage == "prefill":
                stages[stage] = measured(times, self.llm_work.prefill_least(step.frames), read, peak)
            elif stage == "decode":
                steps = self.decode_tokens - 1
                each = [time / steps for time in times]
                stages[stage] = measured(each, self.llm_work.decode(step.frames), read, peak, "per token")
            else:
                stages[stage] = measured(times, peak_mib=peak)
        length = step.frames
        return LatencyRow(
            "prefill",
            LLM,
            None,
            stages,
            run_ms=summary(run_ms),
            prompt_tokens=length,
            tokens_llm=length,
            dtype=str(self.dtype).removeprefix("torch."),
        )

    def _out_of_memory(self, step: Step, name: str) -> LatencyRow:
        frames, tokens = (None, step.frames) if name == LLM else (step.frames, None)
        side = self.subjects[name].image_size if name in self.subjects else None
        return LatencyRow(
            step.suite, name, frames, {}, step.batch, OUT_OF_MEMORY, image_size=side, prompt_tokens=tokens
        )


def methods_to_make(steps: list[Step]) -> list[str]:
    """Methods of the steps, and that whose rows come out of the teacher's runs."""
    names = methods_of(steps)
    if "teacher" in names and WAP_METHOD not in names:
        names.insert(names.index("teacher") + 1, WAP_METHOD)
    return names
