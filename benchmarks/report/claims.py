"""The claims of the paper, each with what of it can be measured here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from liteframe.bench.methods import tomllib_load

from . import accuracy_claims, time_claims
from .evidence import Evidence
from .verdicts import BEYOND, Part, Reason, Verdict, judge
from .wording import by_seed, decided_by, measured, why, words


@dataclass(frozen=True)
class Claim:
    """Something that the paper says.

    Attributes:
        text: in our words.
        where: section, table or figure of the paper.
        rows: what is measured of it, see `claims.toml`.
        note: what a reader of the verdict has to know, a sentence.
    """

    text: str
    where: str
    rows: Sequence[Mapping[str, Any]]
    note: str = ""

    def parts(self, evidence: Evidence, beyond: Evidence | None = None) -> list[Part]:
        """Each judged on its own; `beyond` has what goes past the paper, if there is any."""
        past = evidence if beyond is None else beyond
        return [part for row in self.rows for part in _parts(past if row.get("past") else evidence, row)]

    def judged(self, evidence: Evidence, beyond: Evidence | None = None) -> Verdict:
        """By the rule of `verdicts`."""
        return judge(self.parts(evidence, beyond))


def _parts(evidence: Evidence, row: Mapping[str, Any]) -> Iterator[Part]:
    if "measured" in row:
        yield from getattr(time_claims, row["measured"])(evidence)
    elif "beyond" in row:
        yield Part("", BEYOND, reasons=(Reason(row["beyond"]),))
    elif row.get("grows"):
        yield accuracy_claims.growth(evidence, row)
    elif "at_time_of" in row:
        yield from accuracy_claims.at_times(evidence, row)
    else:
        yield from accuracy_claims.differences(evidence, row)


@cache
def claims() -> list[Claim]:
    """Every claim of `claims.toml`."""
    notes = words()["notes"]
    return [
        Claim(said["text"], said["where"], said["parts"], notes[said["note"]] if "note" in said else "")
        for said in tomllib_load(__file__)["claim"]
    ]


Judged = Sequence[tuple[Claim, Verdict]]


def judged_claims(evidence: Evidence, beyond: Evidence | None = None) -> Judged:
    """Every claim with its verdict."""
    return [(claim, claim.judged(evidence, beyond)) for claim in claims()]


def claims_table(judged: Judged) -> pd.DataFrame:
    """Claim, where it stands in the paper, verdict, and the number that decides."""
    rows = [
        (claim.text, claim.where, f"**{verdict.verdict}**", ". ".join(filter(None, [decided_by(verdict), claim.note])))
        for claim, verdict in judged
    ]
    return pd.DataFrame(rows, columns=["claim of the paper", "where", "verdict", "decided by"])


def parts_table(judged: Judged) -> pd.DataFrame:
    """All parts of every claim, with each seed's own number."""
    rows = [
        {"claim": claim.text, "its verdict": verdict.verdict, "part": part.what, "verdict": part.verdict}
        | {"measured": measured(part.measured), "by seed": by_seed(part.measured), "why": why(part)}
        for claim, verdict in judged
        for part in verdict.parts
    ]
    return pd.DataFrame(rows)
