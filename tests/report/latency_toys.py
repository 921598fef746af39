"""A made-up latency record of a plausible shape, for tests of tables and pictures."""

from __future__ import annotations

from typing import Any

from liteframe.bench.latency_record import How

_ARMS = (
    ("teacher", "main", "InternViT-300M", None, 304.0, 727.0, 1024, 256),
    ("teacher+wap", "main", "InternViT-300M + WAP", "teacher+wap", 304.0, 727.0, 64, 16),
    ("student", "main", "LiteFrame", "liteframe-lma", 87.0, 82.0, 64, 16),
    ("vit-b", "encoder", "ViT-B/14", None, 86.0, 215.0, 1024, 256),
    ("fastvit", "encoder", "FastViT", None, 125.0, 60.0, 49, 49),
    ("student-none", "mixer", "no temporal mixer", None, 87.0, 80.0, 64, 16),
    ("student-conv", "mixer", "full convolution", None, 110.0, 120.0, 64, 16),
)
_MS = {
    "teacher": 300.0,
    "teacher+wap": 301.0,
    "student": 45.0,
    "vit-b": 110.0,
    "fastvit": 60.0,
    "student-none": 41.0,
    "student-conv": 60.0,
}
_RATE = 3000.0
_BY_THE_FRAME, _BETWEEN, _BEYOND = How.BY_THE_FRAME.value, How.AT_RATE.value, How.EXTRAPOLATED.value


def toy_stage(ms: float, computed: bool = False, gflops: float | None = None, how: str = "") -> dict[str, Any]:
    """A stage's cell."""
    floor_ms = gflops / _RATE * 1e3 if gflops else None
    floor = {"floor_ms": floor_ms, "bound": "compute", "times_floor": ms / floor_ms} if floor_ms else None
    return {
        "ms": ms,
        "p10": None if computed else 0.98 * ms,
        "p90": None if computed else 1.1 * ms,
        "n": 0 if computed else 5,
        "samples": [] if computed else [ms] * 5,
        "computed": computed,
        "flops": gflops * 1e9 if gflops else None,
        "floor": floor,
        "times_floor": floor["times_floor"] if floor else None,
        "peak_mib": None if computed else 1500.0 + ms / 10,
        "how": how,
    }


def _row(suite: str, method: str, frames: int | None, stages: dict[str, Any], **more: Any) -> dict[str, Any]:
    computed = any(stage["computed"] for stage in stages.values())
    model = sum(stages[n]["ms"] for n in ("encode", "project", "prefill")) if "prefill" in stages and frames else None
    empty = {"tokens_encoder": None, "tokens_llm": None, "tokens_per_frame": None, "prompt_tokens": None}
    return {
        "suite": suite, "arm": method, "frames": frames, "batch": 1, "image_size": 448, "status": "ok", "note": "",
        "computed": computed, "stages": stages, "model_ms": model, "ttft_ms": None, "share": None, "run_ms": None,
        "frames_per_s": frames / model * 1e3 if model and frames else None, **empty, **more,
    }  # fmt: skip


def toy_latency(device: str = "cpu") -> dict[str, Any]:
    """A whole record; on a GPU with batches, a method out of memory, and 7 ms in all around the model's stages."""
    about = {name: gflops for name, _, _, _, _, gflops, _, _ in _ARMS}
    given = {name: (encoder, llm) for name, _, _, _, _, _, encoder, llm in _ARMS}
    rows: list[dict[str, Any]] = []
    for frames in (4, 8, 16):
        for method in ("teacher", "teacher+wap", "student", "vit-b", "fastvit"):
            stages = {
                "encode": toy_stage(frames * _MS[method], gflops=frames * about[method]),
                "project": toy_stage(2.0 * frames),
            }
            rows.append(_row("encoder", method, frames, stages))
    for frames in (1024, 4096) if device == "gpu" else ():
        rows.append(_row("encoder", "student", frames, {"encode": toy_stage(frames * 45.0), "project": toy_stage(9.0)}))
    for method in ("student", "student-none", "student-conv"):
        rows.append(_row("mixer", method, 4, {"encode": toy_stage(4 * _MS[method], gflops=4 * about[method])}))
    for tokens in (256, 1024, 4096):
        computed = device == "cpu" and tokens == 4096
        stages = {"prefill": toy_stage(tokens * 0.5, computed, gflops=tokens * 1.0, how=_BETWEEN)}
        rows.append(_row("prefill", "llm", None, stages, tokens_llm=tokens, prompt_tokens=tokens))
    for method, most in (("teacher", 64), ("teacher+wap", 512), ("student", 512), ("vit-b", 64), ("fastvit", 64)):
        for frames in (8, 64, 512):
            if frames > most:
                continue
            computed, tokens_llm = device == "cpu" and frames > 16, frames * given[method][1]
            stages = {
                "encode": toy_stage(frames * _MS[method], computed, frames * about[method], _BY_THE_FRAME),
                "project": toy_stage(2.0 * frames, computed, how=_BY_THE_FRAME),
                "prefill": toy_stage(0.5 * tokens_llm, computed, how=_BETWEEN if tokens_llm < 4096 else _BEYOND),
            }
            around = {"host_to_device": toy_stage(4.0), "normalize": toy_stage(2.0), "first_token": toy_stage(1.0)}
            stages |= around if device == "gpu" else {}
            tokens = {"tokens_encoder": frames * given[method][0], "tokens_llm": tokens_llm}
            tokens |= {"tokens_per_frame": given[method][1], "prompt_tokens": tokens_llm + 40}
            rows.append(_row("pipeline", method, frames, stages, **tokens))
            rows[-1]["ttft_ms"] = rows[-1]["model_ms"] + 7.0 if device == "gpu" else None
            if device == "gpu" and frames == 8:
                rows.append({**rows[-1], "suite": "throughput", "batch": 8})
                failed = {"status": "out of memory", "stages": {}, "model_ms": None, "frames_per_s": None}
                rows.append({**rows[-1], "batch": 32, **failed})
    if device == "gpu":
        for how, ms in (("eager", 2880.0), ("compiled + graphs", 1920.0)):
            stages = {"encode": toy_stage(ms, gflops=64 * about["student"])}
            rows.append(_row("execution", "student", 64, stages, execution=how))
        rows.append(_row("float8", "student", 64, {"encode": toy_stage(1440.0)}, execution="float8 + compiled"))
        whole = {name: toy_stage(100.0) for name in ("encode", "project", "prefill", "first_token")}
        rows.append(_row("fastest", "student", 64, whole, execution="compiled + graphs"))
        for how, ms in (("in order", 390.0), ("overlapped", 360.0)):
            stages, note = {"to_first_token": toy_stage(ms)}, "frames from the host's memory"
            rows.append(_row("streamed", "student", 64, stages, execution=how, note=note))
    return {
        "kind": "latency",
        "environment": {"device": f"a {device}", "device_type": "cuda" if device == "gpu" else "cpu", "threads": 2},
        "settings": {"host": "internvl3-1b", "image_size": 448, "question_tokens": 40, "context_tokens": 16384,
                     "memory": "cuda allocated" if device == "gpu" else "resident set"},
        "limits": {"bf16_gflops": _RATE, "fp32_gflops": 900.0, "bandwidth_gbs": 12.0, "seconds": 1.0},
        "arms": [
            {
                "name": name, "group": group, "label": label, "note": "", "accuracy_relative": relative,
                "image_size": 448, "parameters_m": parameters, "gflops_per_frame": gflops,
                "tokens_encoder_per_frame": encoder, "tokens_per_frame": llm, "frames_per_group": 1,
            }
            for name, group, label, relative, parameters, gflops, encoder, llm in _ARMS
        ],
        "rows": rows,
        "dropped": [
            {"suite": "encoder", "arm": "mobilenet-v5", "frames": 16, "batch": 1, "reason": "no time left"},
            {"suite": "throughput", "arm": "teacher", "frames": 64, "batch": 8, "reason": "no time left"},
            {"suite": "encoder", "arm": "mobilenet-v5", "frames": 32, "batch": 1, "reason": "no time left"},
            {"suite": "all", "arm": "fastvit", "frames": None, "batch": 1, "reason": "cannot be made"},
        ],
        "seconds": 700.0,
        "complete": True,
    }  # fmt: skip
