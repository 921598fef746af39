"""What a scan has found out, as a text in a row of `liteframe check`: training need not read the file for it again."""

from __future__ import annotations

import base64
import json
import os
import zlib
from dataclasses import asdict, fields
from functools import cache
from typing import Any

import numpy as np

from liteframe.data.decoding.orientation import Orientation
from liteframe.data.decoding.pyav.packet_table import MOST_PACKETS
from liteframe.data.decoding.pyav.scan import Scan

_VERSION = 2
_MOST_BYTES = 1 << 15
_MOST_UNPACKED = 8 * MOST_PACKETS
_TIMES = ("pts_T", "seconds_T", "key_pts_K")
_SCAN = {field.name: field for field in fields(Scan)}


def to_text(scan: Scan) -> str:
    """The scan of a file that was read as a whole for it; empty where another one costs little, or its text is long."""
    if not scan.whole_read:
        return ""
    told: dict[str, Any] = {name: getattr(scan, name) for name in _SCAN if name not in ("path", "orientation")}
    times = [told.pop(name) for name in _TIMES]
    counts = [-1 if array is None else len(array) for array in times]
    packed_times = b"".join(_packed(array) for array in times if array is not None)
    head = json.dumps({**told, "orientation": asdict(scan.orientation), "counts": counts, "by": _made_by()}).encode()
    text = base64.b64encode(zlib.compress(head + b"\n" + packed_times)).decode()
    return text if len(text) <= _MOST_BYTES else ""


def from_text(text: object, path: str, size: object, mtime_ns: object) -> Scan | None:
    """The scan of `path` that a text tells; None where it was made by others, of another file, or is no such text."""
    if not isinstance(text, str) or not 0 < len(text) <= _MOST_BYTES:
        return None
    try:
        found = os.stat(path)
        if (found.st_size, found.st_mtime_ns) != (size, mtime_ns):
            return None
        unpacked = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), _MOST_UNPACKED)
        head, _, data = unpacked.partition(b"\n")
        return _scan(path, json.loads(head), data)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError, zlib.error):
        return None


def _scan(path: str, told: dict[str, Any], data: bytes) -> Scan | None:
    if told.pop("by") != _made_by():
        return None
    counts, orientation = told.pop("counts"), Orientation(**told.pop("orientation"))
    times: dict[str, np.ndarray | None] = {}
    for name, count in zip(_TIMES, counts, strict=True):
        times[name] = None if count < 0 else _unpacked(data[: 8 * count], name == "seconds_T")
        data = data[8 * max(count, 0) :]
        if count > 0 and len(times[name]) != count:  # type: ignore[arg-type]
            return None
    scan = Scan(path=path, orientation=orientation, **told, **times)  # type: ignore[arg-type]
    return scan if _fits(scan) else None


def _packed(times: np.ndarray) -> bytes:
    """Whole numbers by the steps between them, which are mostly the same."""
    return (
        times.astype("<f8").tobytes() if times.dtype.kind == "f" else np.diff(times, prepend=0).astype("<i8").tobytes()
    )


def _unpacked(data: bytes, seconds: bool) -> np.ndarray:
    return np.frombuffer(data, "<f8").astype(np.float64) if seconds else np.cumsum(np.frombuffer(data, "<i8"))


def _fits(scan: Scan) -> bool:
    """Whether each value is of its kind, and the numbers fit each other."""
    kinds: dict[Any, Any] = {"str": str, "int": int, "float": (int, float), "bool": bool}
    typed = [(getattr(scan, name), kinds[field.type]) for name, field in _SCAN.items() if field.type in kinds]
    if not all(isinstance(value, kind) for value, kind in typed) or scan.rotation not in (0, 90, 180, 270):
        return False
    lengths = [len(times) for times in (scan.pts_T, scan.seconds_T) if times is not None]
    ascend = all((np.diff(times) > 0).all() for times in (scan.pts_T, scan.seconds_T) if times is not None)
    positive = min(scan.frames, scan.width, scan.height, scan.fps, scan.time_base) > 0
    return positive and ascend and all(length == scan.frames for length in lengths)


@cache
def _made_by() -> list[Any]:
    """Other FFmpegs may find other frames."""
    import av

    return [_VERSION, av.__version__, sorted(_SCAN)]
