"""`liteframe check`: every video and every row of a list, as a table, a summary and a file of rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal

from liteframe.data.checking.output import CheckOutput
from liteframe.data.checking.probe import check_many
from liteframe.data.checking.rows import CheckRow, Table
from liteframe.data.checking.source_check import STOPS, SourceCheck, check_source
from liteframe.data.limits import most_processes, require_seconds, require_whole
from liteframe.data.remote.cache import RemoteCache
from liteframe.system.printable import printable
from liteframe.system.progress import say

_MOST_VERIFIED = 1_000_000
_SCREEN, _FIRST_BAD = 30, 10


def check(
    source: str,
    output: str | None = None,
    processes: int = 2,
    deadline_s: float = 60.0,
    verify_frames: int = 16,
    root: str | None = None,
    remote_cache: RemoteCache | None = None,
    full: bool = False,
    truncated: bool = False,
) -> list[CheckRow]:
    """Checks every row and video of a list or folder, prints a table and a summary to stdout, and writes `output`.

    Lines of the table come as files are done, in whatever order that is, and so do the rows of `output`, which are put
    in order in the end. What is there of an earlier check, which ended or was ended, is not checked again where the
    files are the same.

    Returns a row for each file, in the order of the list, and behind them one for each row of the list that cannot be
    read, with its place as `path`.

    Raises:
        ManifestError: `source` as a whole cannot be read.
        ConfigError: `output` cannot be written, or holds anything else.
    """
    with CheckOutput(output, source) if output is not None else nullcontext() as out:
        found = check_source(source, root)
        bad = [CheckRow(where, False, why, lacks={"unreadable_row": 1}) for where, why in found.unreadable.items()]
        shown = Table(found.rows_of)
        kept = (out.kept(path, full, truncated) if out else None for path in found.rows_of)
        rows = {row.path: found.complete(row) for row in kept if row is not None}
        if rows:
            print(
                f"check: {len(rows)} of {len(found.rows_of)} files are in {output} and unchanged; not checked again",
                file=sys.stderr,
            )
        if found.rows_of:
            _say(shown.head())
        for row in rows.values():
            _say(shown.line(row))
        left = [path for path in found.rows_of if path not in rows]
        try:
            for row in check_many(left, processes, deadline_s, True, verify_frames, remote_cache, full, truncated):
                row = rows[row.path] = found.complete(row)
                if out is not None:
                    for part in found.by_part(row):
                        out.append(part)
                _say(shown.line(row))
        except (KeyboardInterrupt, SystemExit):  # the latter of SIGTERM
            print(_what_was_kept(len(rows), len(found.rows_of), output), file=sys.stderr)
            raise
        files = [rows[path] for path in found.rows_of]
        if out is not None:
            for row in bad:
                out.append(row)
            out.finish([*(part for row in files for part in found.by_part(row)), *bad])
    _report(files, found)
    return [*files, *bad]


def _what_was_kept(done: int, total: int, output: str | None) -> str:
    if output is None:
        return f"check: {done} of {total} files were checked, and nothing is kept; with --output FILE it would be"
    return f"check: {done} of {total} files are in {output}; the same command goes on with the others"


def _report(files: Sequence[CheckRow], found: SourceCheck) -> None:
    usable = [row for row in files if row.ok]
    frames, verified = sum(row.frames for row in usable), sum(row.verified for row in usable)
    _say(
        f"{len(usable)} of {len(files)} files usable, {frames} frames, "
        f"{sum(row.duration for row in usable):.1f} s of video"
    )
    if verified < frames:
        _say(f"{verified} of these frames were decoded: of long videos start, end and random places; --full takes all")
    bad = [row for row in files if not row.ok]
    if len(files) > _SCREEN and bad:  # the table has scrolled away
        _say(f"not usable{f', the first {_FIRST_BAD}' if len(bad) > _FIRST_BAD else ''}:")
        for row in bad[:_FIRST_BAD]:
            _say(f"  {printable(row.path)}: {printable(row.error)}")
    _say(found.text())


def _say(text: str) -> None:
    """Prints `text`, with what the terminal or pipe has no bytes for as escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    say(text.encode(encoding, "backslashreplace").decode(encoding))


def check_command(
    source: str,
    output: str | None = None,
    processes: int = 2,
    deadline_s: float = 60.0,
    verify_frames: int = 16,
    root: str | None = None,
    cache: str | None = None,
    cache_gigabytes: float = 50.0,
    full: bool = False,
    truncated: Literal["error", "use"] = "error",
) -> int:
    """Decode the videos of a list or folder (short ones whole, long ones in places), and say what files and rows lack.

    Args:
        source: A list (JSONL, JSON, Parquet), or a folder that is searched for video files.
        output: A JSONL file to write, one row a file with `path` and, where it cannot be used, `error`; where the list
            takes parts of a file, one row a part, with `start` and `end`. It can serve as a manifest. What it holds
            already is not checked again if the file has its size and time of change still, so a check that was ended
            goes on by the same command.
        processes: How many files to check at the same time.
        deadline_s: Seconds without progress after which a file is given up and listed as not usable; one that goes on
            has 20 times as many and a second for each 32 KiB.
        verify_frames: At how many random positions a frame that is sought is compared with one that is read in order.
        root: Folder or URL that the paths of the list are relative to and do not leave; by default the list's own
            folder, and then they may.
        cache: Folder that videos behind URLs are fetched into.
        cache_gigabytes: Most that this folder may hold.
        full: Decode all frames of long videos, too. Without it, a video of more than 2400 frames is decoded at its
            start, its end and random places, at least 1200 frames; `verified` tells how many.
        truncated: `use` takes what is there of videos that are cut short, as `data.truncated` does.

    Returns:
        0 if all files can be used and all conversations read, 1 if any cannot.
    """
    require_whole("--processes", processes, most_processes())
    require_whole("--verify_frames", verify_frames, _MOST_VERIFIED, least=0)
    require_seconds("--deadline_s", deadline_s)
    remote_cache = RemoteCache(cache, cache_gigabytes) if cache is not None else None
    rows = check(source, output, processes, deadline_s, verify_frames, root, remote_cache, full, truncated == "use")
    return 0 if rows and all(row.ok and not any(kind in row.lacks for kind in STOPS) for row in rows) else 1
