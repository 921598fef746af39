"""Tables of plain text and of Markdown, and numbers as they stand in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain text, columns two spaces apart."""
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (header, *rows)
    ]
    return "\n".join(lines)


def grid(corner: str, cells: Mapping[tuple[str, int], str]) -> str:
    """A table of plain text, a line a name and a column a number; a dash where there is no cell."""
    counts = sorted({count for _, count in cells})
    names = dict.fromkeys(name for name, _ in cells)
    lines = [[name, *(cells.get((name, count), "-") for count in counts)] for name in names]
    return aligned([corner, *map(str, counts)], lines)


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, first column to the left and the others to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    lines = ["| " + " | ".join(str(cell) for cell in cells) + " |" for cells in (header, rule, *rows)]
    return "\n".join(lines)


def milliseconds(value: float) -> str:
    """Three figures: 0.123, 1.23, 12.3, 123, 1234."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def or_dash(value: float | None) -> str:
    """Three decimals, or a dash for None."""
    return "-" if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """Three decimals with a sign, or a dash for None."""
    return "-" if value is None else f"{value:+.3f}"
