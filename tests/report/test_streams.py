"""The table of what a bounded memory answers."""

from __future__ import annotations

from pathlib import Path

from liteframe.system.json_files import write_json
from report.streams import blocks


def test_cells_are_means_over_the_models_by_what_is_held_and_when(tmp_path: Path) -> None:
    def rows(accuracy: float) -> list[dict[str, object]]:
        return [
            {"method": method, "clips": clips, "when": when, "accuracy": accuracy + added}
            for when, seen in (("at half", 16), ("at the end", 32))
            for method, clips, added in (("everything", seen, 0.2), ("window", 8, 0.0), ("merge", 8, 0.1))
        ]

    models = [{"model": 1, "rows": rows(0.5)}, {"model": 2, "rows": rows(0.6)}]
    write_json(tmp_path / "stream.json", {"models": models})
    head, _, *lines = blocks(tmp_path)["memories"].splitlines()
    assert head.split(" | ")[1:] == ["all, at half", "8 clips, at half", "all, at the end", "8 clips, at the end |"]
    cells = {line.split(" | ")[0]: line.split(" | ")[1:] for line in lines}
    assert cells["| everything is kept"] == ["0.750", "", "0.750", " |"]
    assert cells["| neighbours merged by loss and age (`--forget merge`)"] == ["", "0.650", "", "0.650 |"]
    assert cells["| the newest (`--forget window`)"][1] == "0.550"
