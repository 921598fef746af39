"""Numbers of 64 bits that stand for ids: ten million ids take 80 MB as these, and over a gigabyte as Python's texts."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable

import numpy as np


def id_key(name: str) -> int:
    """A number of 64 bits that stands for an id; in any process the same."""
    digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def id_keys(names: Iterable[str]) -> np.ndarray:
    """`id_key` of each id, int64 (N,)."""
    return np.fromiter(map(id_key, names), dtype=np.int64)


def numbered(keys_N: np.ndarray) -> np.ndarray:
    """The keys, with others in place of the second, third, ... of those that are equal."""
    order_N = np.argsort(keys_N, kind="stable")
    sorted_N = keys_N[order_N]
    ordinal_N = np.arange(len(keys_N)) - np.searchsorted(sorted_N, sorted_N)
    distinct_N = keys_N.copy()
    for place in np.flatnonzero(ordinal_N).tolist():
        distinct_N[order_N[place]] = id_key(f"{sorted_N[place]} {ordinal_N[place]}")
    return distinct_N


class IdSet(Container[str]):
    """Ids that can be asked for one by one, in 8 bytes each.

    Args:
        keys_N: their `id_key`.
    """

    def __init__(self, keys_N: np.ndarray) -> None:
        self._keys_N = np.sort(keys_N)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        key = id_key(name)
        place = np.searchsorted(self._keys_N, key)
        return bool(place < len(self._keys_N) and self._keys_N[place] == key)
