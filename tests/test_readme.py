"""The README shows what the committed records say, and its Python works."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["readme_results", "results"])
def test_readme_and_results_are_those_of_the_records(name: str) -> None:
    script = ROOT / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(["--check"]) == 0, f"run `python {script.relative_to(ROOT)}`"


def test_python_example_gives_the_shapes_it_says() -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "use.md").read_text(), re.DOTALL)
    assert code is not None
    checked = re.sub(r"^(.*\.shape)\s+# (\([^)]*\)).*$", r"assert \1 == \2", code[1], flags=re.MULTILINE)
    assert checked.count("assert") == 2
    with torch.device("meta"):  # where shapes are all that there is: the encoder is the paper's
        exec(checked, {})


def test_files_that_it_names_are_there() -> None:
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"\]\((benchmarks/[^)]+)\)", text):
        assert (ROOT / path).exists(), path
