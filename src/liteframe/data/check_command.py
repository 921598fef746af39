"""`liteframe check`: every video and every row of a list, as a table, a summary and a file of rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext

from liteframe.data.check_output import CheckOutput
from liteframe.data.check_rows import CheckRow, table
from liteframe.data.limits import most_processes, require_seconds, require_whole
from liteframe.data.probe import check_many
from liteframe.data.remote_cache import RemoteCache
from liteframe.data.source_check import STOPS, SourceCheck, check_source

_MOST_VERIFIED = 1_000_000


def check(
    source: str,
    output: str | None = None,
    processes: int = 2,
    deadline_s: float = 60.0,
    verify_frames: int = 16,
    root: str | None = None,
    remote_cache: RemoteCache | None = None,
) -> list[CheckRow]:
    """Checks every row and video of a list or folder, prints a table and a summary to stdout, and writes `output`.

    Rows are appended to `output` as they come. What is there of an earlier check, which ended or was ended, is not
    checked again where the files are the same.

    Returns a row for each file, in the order of the list, and behind them one for each row of the list that cannot be
    read, with its place as `path`.

    Raises:
        ManifestError: `source` as a whole cannot be read.
        ConfigError: `output` cannot be written, or holds anything else.
    """
    with CheckOutput(output, source) if output is not None else nullcontext() as out:
        found = check_source(source, root)
        kept = {path: row for path in found.rows_of if out is not None and (row := out.kept(path)) is not None}
        if kept:
            print(
                f"check: {len(kept)} of {len(found.rows_of)} files are in {output} and unchanged; not checked again",
                file=sys.stderr,
            )
        rows: dict[str, CheckRow] = {path: found.complete(row) for path, row in kept.items()}
        left = [path for path in found.rows_of if path not in kept]
        try:
            for row in check_many(left, processes, deadline_s, True, verify_frames, remote_cache):
                rows[row.path] = found.complete(row)
                if out is not None:
                    out.append(rows[row.path])
        except (KeyboardInterrupt, SystemExit):  # the latter of SIGTERM
            print(_what_was_kept(len(rows), len(found.rows_of), output), file=sys.stderr)
            raise
        files = [rows[path] for path in found.rows_of]
        bad = [CheckRow(where, False, why, lacks={"unreadable_row": 1}) for where, why in found.unreadable.items()]
        if out is not None:
            for row in bad:
                out.append(row)
            out.finish([*files, *bad])
    _report(files, found)
    return [*files, *bad]


def _what_was_kept(done: int, total: int, output: str | None) -> str:
    if output is None:
        return f"check: {done} of {total} files were checked, and nothing is kept; with --output FILE it would be"
    return f"check: {done} of {total} files are in {output}; the same command goes on with the others"


def _report(files: Sequence[CheckRow], found: SourceCheck) -> None:
    if files:
        print(_printable(table(files)))
    usable = [row for row in files if row.ok]
    print(
        f"{len(usable)} of {len(files)} files usable, "
        f"{sum(row.frames for row in usable)} frames, {sum(row.duration for row in usable):.1f} s of video"
    )
    print(_printable(found.text()))


def _printable(text: str) -> str:
    """`text` with what the terminal or pipe has no bytes for as escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def check_command(
    source: str,
    output: str | None = None,
    processes: int = 2,
    deadline_s: float = 60.0,
    verify_frames: int = 16,
    root: str | None = None,
    cache: str | None = None,
    cache_gigabytes: float = 50.0,
) -> int:
    """Probe every video of a list or folder (codec, size, fps, distinct frames), and say what rows lack.

    Args:
        source: A list (JSONL, JSON, Parquet), or a folder that is searched for video files.
        output: A JSONL file to write, one row a file with `path` and, where it cannot be used, `error`. It can serve
            as a manifest. What it holds already is not checked again if the file has its size and time of change still,
            so a check that was ended goes on by the same command.
        processes: How many files to check at the same time.
        deadline_s: Seconds after which a file is given up and listed as not usable.
        verify_frames: At how many random positions a frame that is sought is compared with a full decode.
        root: Folder or URL that the paths of the list are relative to and do not leave; by default the list's own
            folder, and then they may.
        cache: Folder that videos behind URLs are fetched into.
        cache_gigabytes: Most that this folder may hold.

    Returns:
        0 if all files can be used and all conversations read, 1 if any cannot.
    """
    require_whole("--processes", processes, most_processes())
    require_whole("--verify_frames", verify_frames, _MOST_VERIFIED, least=0)
    require_seconds("--deadline_s", deadline_s)
    remote_cache = RemoteCache(cache, cache_gigabytes) if cache is not None else None
    rows = check(source, output, processes, deadline_s, verify_frames, root, remote_cache)
    return 0 if rows and all(row.ok and not any(kind in row.lacks for kind in STOPS) for row in rows) else 1
