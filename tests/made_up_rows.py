"""Rows of a sweep, made up."""

from __future__ import annotations

from liteframe.bench.records import RowRecord

_FRAMES = (8, 16, 32, 64, 128)
_ACCURACY = {
    "teacher": (0.724, 0.85, 0.925, 0.963),
    "teacher+average": (0.482, 0.548, 0.602, 0.648),
    "teacher+max": (0.478, 0.57, 0.668, 0.758),
    "teacher+subsample": (0.49, 0.551, 0.588, 0.651),
    "teacher+wap": (0.472, 0.559, 0.662, 0.744),
    "liteframe-ctd": (0.491, 0.561, 0.67, 0.74, 0.807),
    "liteframe-lma": (0.69, 0.794, 0.876, 0.926, 0.95),
}
_ENCODE = {"teacher": (3.6, 5.6, 10.0, 18.6), "liteframe": (1.6, 2.1, 3.6, 6.8, 13.8)}
_PREFILL = {"full": (2.4, 3.8, 8.1, 18.7), "few": (1.3, 1.35, 1.6, 2.0, 3.0)}
_DECODE = (8.1, 8.6, 9.4, 11.8, 15.2)


def fake_rows(shift: float = 0.0) -> list[RowRecord]:
    """Made-up numbers of a plausible shape, for tests of tables and pictures; ``shift`` is added to each accuracy."""
    rows = []
    for method, accuracies in _ACCURACY.items():
        encode = _ENCODE["teacher" if method.startswith("teacher") else "liteframe"]
        prefill = _PREFILL["full" if method == "teacher" else "few"]
        for index, base_accuracy in enumerate(accuracies):
            accuracy, frames = min(1.0, base_accuracy + shift), _FRAMES[index]
            base = {
                "decode": _DECODE[index],
                "preprocess": 0.4 + 0.02 * frames,
                "encode": encode[index],
                "project": 0.1,
                "prefill": prefill[index],
            }
            rows.append(
                RowRecord.from_samples(
                    method,
                    frames,
                    tokens=frames * (16 if method == "teacher" else 1),
                    tokens_encoder=frames * (64 if method.startswith("teacher") else 4),
                    accuracy={
                        "accuracy": accuracy,
                        "accuracy_low": max(0.0, accuracy - 0.02),
                        "accuracy_high": min(1.0, accuracy + 0.02),
                        "questions": 1600,
                        "videos": 400,
                        "per_type": {"needle": accuracy - 0.1, "persist": min(1.0, accuracy + 0.1)},
                    },
                    samples={name: [value * f for f in (0.95, 1, 1.02, 1, 1.3)] for name, value in base.items()},
                    peak_mib={"encode": 800.0 + frames, "prefill": 810.0},
                    floor={"encode": {"floor_ms": 0.5, "bound": "compute", "times_floor": encode[index] / 0.5}},
                )
            )
    return rows
