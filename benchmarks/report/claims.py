"""The claims of the paper, each with what of it can be measured here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from . import accuracy_claims, time_claims
from .evidence import Evidence
from .verdicts import BEYOND, VERDICTS, Part, Reason, Verdict, judge
from .wording import by_seed, decided_by, measured, why, words


@dataclass(frozen=True)
class Claim:
    """Something that the paper says.

    Attributes:
        text: in our words.
        where: section, table or figure of the paper.
        parts: what is measured of it.
        note: what a reader of the verdict has to know, a sentence.
    """

    text: str
    where: str
    parts: Callable[[Evidence], Sequence[Part]]
    note: str = ""

    def judged(self, evidence: Evidence) -> Verdict:
        """By the rule of `verdicts`."""
        return judge(self.parts(evidence))


def _beyond(name: str) -> Callable[[Evidence], list[Part]]:
    return lambda evidence: [Part("", BEYOND, reasons=(Reason(name),))]


def claims() -> list[Claim]:
    """Every claim of `wording.toml`."""
    functions = {**vars(accuracy_claims), **vars(time_claims)}
    return [
        Claim(
            said["text"],
            said["where"],
            functions[said["parts"]] if "parts" in said else _beyond(said["beyond"]),
            words()["notes"].get(said.get("note"), ""),
        )
        for said in words()["claim"]
    ]


Judged = Sequence[tuple[Claim, Verdict]]


def judged_claims(evidence: Evidence) -> Judged:
    """Every claim with its verdict."""
    return [(claim, claim.judged(evidence)) for claim in claims()]


def counts(judged: Judged) -> dict[str, int]:
    """How many claims have which verdict."""
    found = [verdict.verdict for _, verdict in judged]
    return {verdict: found.count(verdict) for verdict in VERDICTS}


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
        (
            claim.text,
            verdict.verdict,
            part.what,
            part.verdict,
            measured(part.measured),
            by_seed(part.measured),
            why(part),
        )
        for claim, verdict in judged
        for part in verdict.parts
    ]
    return pd.DataFrame(rows, columns=["claim", "its verdict", "part", "verdict", "measured", "by seed", "why"])
