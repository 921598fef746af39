"""Names in 16 bytes each, against a dict of them."""

from __future__ import annotations

import random
from collections.abc import Generator

import pytest

from liteframe.data.sources.id_keys import id_key
from liteframe.data.sources.row_block import RowBlock, blocks_of_videos
from liteframe.data.sources.row_names import ListNames, NameTable, named_apart
from liteframe.data.sources.video_row import ParsedRow, VideoRow
from liteframe.errors import ManifestError


def test_a_table_of_names_is_a_dict_of_them() -> None:
    rng, table, known, uses = random.Random(0), NameTable(), dict[str, int](), dict[str, int]()
    for place in range(20_000):
        name = str(rng.randrange(12_000))
        assert (name in table) == (name in known)
        if name in known:
            uses[name] += 1
            assert table.use(name) == uses[name]
        else:
            table.add(name, place)
            known[name], uses[name] = place, 1
    assert all(table.place(name) == place for name, place in known.items()) and "x" not in table


def row(name: str, gives_id: bool = False, foreign: bool = False) -> ParsedRow:
    return ParsedRow(VideoRow(f"/{name}", name), gives_id, foreign)


def slow_names(names: list[str]) -> list[str]:
    taken, uses = list[str](), dict[str, int]()
    for name in names:
        new = name
        while new in taken:
            uses[name] = uses.get(name, 1) + 1
            new = f"{name}@{uses[name]}"
        taken.append(new)
    return taken


@pytest.mark.parametrize("seed", range(5))
def test_names_that_come_again_are_numbered(seed: int) -> None:
    rng, names = random.Random(seed), ListNames()
    wanted = [rng.choice("ab") + "".join(f"@{rng.randrange(2, 5)}" for _ in range(rng.randrange(3))) for _ in range(99)]
    rows = [row(name) for name in wanted]
    for number, parsed in enumerate(rows, 1):
        names.add(parsed, f"x.jsonl:{number}")
    assert [parsed.row.id for parsed in rows] == slow_names(wanted)


def test_an_id_of_a_manifests_own_stays_or_is_refused_with_the_place_of_the_first() -> None:
    names = ListNames()
    names.add(row("a"), "2024/x.parquet: row 7")
    with pytest.raises(ManifestError, match=r"row 12: field 'id': 'a' is the id of 2024/x.parquet: row 7 already"):
        names.add(row("a", gives_id=True), "2024/x.parquet: row 12")
    foreign = row("a", gives_id=True, foreign=True)
    names.add(foreign, "2024/x.parquet: row 13")
    assert foreign.row.id == "a@2"
    names.add(row("b"), "/folder/99999999999999999999")


def block(names: list[str]) -> RowBlock:
    (made,) = blocks_of_videos([VideoRow("", name) for name in names], source=0)
    return made


def each(*blocks: RowBlock) -> Generator[RowBlock, None, None]:
    yield from blocks


def test_lists_after_one_another_are_told_apart() -> None:
    taken = NameTable()
    first, second, third = block(["a", "b", "a@1"]), block(["a", "c", "a@1"]), block(["d", "e"])
    assert list(named_apart(each(first), 0, taken)) == [first] and first.ids == ["a", "b", "a@1"]
    assert list(named_apart(each(second, third), 1, taken)) == [second, third]
    assert second.ids == ["a@1@1", "c", "a@1@1@1"] and third.ids == ["d", "e"]
    for renamed in (second, third):
        named_so = block(renamed.ids)
        assert renamed.id_keys == named_so.id_keys and renamed.listed == named_so.listed


def test_many_names_at_once_are_taken_in_as_one_by_one() -> None:
    rng, table, known = random.Random(0), NameTable(), dict[str, int]()
    for number in range(400):
        names = {str(rng.randrange(40_000)): number for _ in range(rng.randrange(1, 60))}
        new = not any(name in known for name in names)
        assert table.add_new([id_key(name) for name in names], list(names.values())) == new
        if new:
            known.update(names)
        else:
            single = next((name for name in names if name not in known), None)
            if single is not None:
                table.add(single, number)
                known[single] = number
    assert len(known) > 2000 and all(table.place(name) == place for name, place in known.items())
    assert all((str(number) in table) == (str(number) in known) for number in range(40_000))
    assert not table.add_new([id_key("x"), id_key("x")], [1, 2]) and "x" not in table
    assert table.use(next(iter(known))) == 2, "what is moved as the table grows keeps its uses"
