from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from liteframe.bench.records import STAGES, RowRecord, from_fields, rows_of, write_record
from liteframe.errors import DataError
from liteframe.system.json_files import read_json, write_json

_ACCURACY = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "questions": 8, "videos": 2}


def test_row_adds_up_and_keeps_its_samples() -> None:
    samples = {
        "decode": [9.0, 8.0, 10.0],
        "preprocess": [1.0],
        "encode": [3.0, 5.0, 4.0],
        "project": [0.2, 0.1, 0.3],
        "prefill": [2.0, 2.0, 7.0],
        "first_token": [0.5],
    }
    row = RowRecord.from_samples("teacher", 8, _ACCURACY, samples, tokens=128, tokens_encoder=512)
    assert (row.decode_ms, row.encode_ms, row.project_ms, row.prefill_ms) == (9.0, 4.0, 0.2, 2.0)
    assert row.model_ms == pytest.approx(row.encode_ms + row.project_ms + row.prefill_ms) == pytest.approx(6.2)
    assert row.total_ms == pytest.approx(6.2 + 9.0 + 1.0)
    assert row.tokens_per_frame == 16 and row.extra_ms == {"first_token": 0.5}
    assert row.spread["model"]["median"] == pytest.approx(7.1)  # of the runs 5.2, 7.1, 11.3
    assert "total" not in row.spread  # stages were timed in different runs
    assert row.samples["encode"] == [3.0, 5.0, 4.0]
    assert from_fields(RowRecord, json.loads(json.dumps(row.to_dict())), "a row") == row


def test_impossible_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="no samples of decode, preprocess, project, prefill"):
        RowRecord.from_samples("teacher", 8, _ACCURACY, {"encode": [1.0]}, tokens=1)
    good = {"arm": "a", "frames": 8, "tokens": 8, **{f"{name}_ms": 1.0 for name in STAGES}}
    with pytest.raises(ValueError, match="must lie in"):
        RowRecord(**{**good, **_ACCURACY, "accuracy": 1.2})
    with pytest.raises(ValueError, match="less than no time"):
        RowRecord(**{**good, **_ACCURACY, "encode_ms": -1})
    with pytest.raises(DataError, match="'prefill_ms'"):
        rows_of({"rows": [{k: v for k, v in {**good, **_ACCURACY}.items() if k != "prefill_ms"}]})
    with pytest.raises(DataError, match="no list 'rows'"):
        rows_of({})


def test_json_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "record.json"
    data = {
        "samples": [1.5, -2e-05, 3],
        "nested": {"words": ["a", "b"], "empty": [], "mixed": [1, "x"]},
        "text": "[1,\n 2]",
    }
    write_json(path, data)
    assert read_json(path) == data
    assert "[1.5, -2e-05, 3]" in path.read_text()
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"x": float("nan")})

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_json(path, {"x": 1})
    assert read_json(path) == data and [file.name for file in path.parent.iterdir()] == ["record.json"]


def test_record_carries_environment_and_settings(tmp_path: Path) -> None:
    path = write_record(tmp_path / "r.json", "latency", {"device": "cpu"}, {"seed": 1}, {"samples": [1, 2]})
    assert read_json(path) == {
        "kind": "latency", "environment": {"device": "cpu"}, "settings": {"seed": 1}, "samples": [1, 2],
    }  # fmt: skip
    path.write_text("{")
    with pytest.raises(DataError, match=r"r\.json"):
        read_json(path)


def test_rows_survive_a_report(fake_rows: Callable[..., list[RowRecord]]) -> None:
    rows = fake_rows()
    assert rows_of({"rows": [row.to_dict() for row in rows]}) == rows
