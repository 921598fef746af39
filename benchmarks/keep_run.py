"""Keeps a run's sweep among the committed records: `python benchmarks/keep_run.py runs/tiny-seed4`.

The report is copied to `benchmarks/records/<name of the run>`, over an older copy. If the run is one of those that
`tiny-seeds.json` averages, that summary is made again; the pages show those alone.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from liteframe.bench.records import rows_of
from liteframe.bench.seeds import seeds_command
from liteframe.errors import ConfigError, LiteFrameError
from liteframe.system.json_files import read_json

RECORDS = Path(__file__).resolve().parent / "records"


def keep(run: Path, records: Path = RECORDS) -> Path:
    """Copy the run's report to the records and say so.

    Raises:
        ConfigError: the run has no report yet, or its name does not begin with "tiny".
        DataError: the report cannot be read.
    """
    if not (run / "report.json").is_file():
        raise ConfigError(f"{run} has no report.json; run `liteframe bench {run}` first")
    if not run.name.startswith("tiny"):
        raise ConfigError(f"{run}: the name of a run that is kept begins with 'tiny', as `make demo` names it")
    report = read_json(run / "report.json")
    rows_of(report, str(run / "report.json"))
    target = records / run.name
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / "report.json", target / "report.json")
    print(f"kept: report.json of {run} in {target}")
    summary = records / "tiny-seeds.json"
    seeds = read_json(summary).get("seeds", []) if summary.is_file() else []
    if f"seed {report.get('settings', {}).get('seed')}" in seeds:
        _summarise(records, seeds)
    return target


def _summarise(records: Path, seeds: list[str]) -> None:
    """Make ``tiny-seeds.json`` of the same seeds again."""
    paths = {
        f"seed {read_json(path).get('settings', {}).get('seed')}": str(path)
        for path in sorted(records.glob("tiny*/report.json"))
    }
    absent = [seed for seed in seeds if seed not in paths]
    if absent:
        raise ConfigError(f"{records}: tiny-seeds.json names {', '.join(absent)}, whose report is not here")
    seeds_command([paths[seed] for seed in seeds], str(records / "tiny-seeds.json"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/keep_run.py RUN")
    try:
        keep(Path(sys.argv[1]))
    except LiteFrameError as error:
        sys.exit(f"error: {error}")
