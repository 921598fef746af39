"""Keeps a run's sweep among the committed records: `python benchmarks/keep_run.py runs/tiny-seed4`.

The report is copied to `benchmarks/records/<name of the run>`, over an older copy. The pages average the seeds that the
paper's cells have, and show those alone.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from liteframe.bench.records import rows_of
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
    rows_of(read_json(run / "report.json"), str(run / "report.json"))
    target = records / run.name
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / "report.json", target / "report.json")
    print(f"kept: report.json of {run} in {target}")
    return target


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/keep_run.py RUN")
    try:
        keep(Path(sys.argv[1]))
    except LiteFrameError as error:
        sys.exit(f"error: {error}")
