"""The claims on the page: how many are what, a line each with the number that decides, and all parts below."""

from __future__ import annotations

from collections.abc import Sequence

from liteframe.bench.page import markdown
from liteframe.paper.claims import CLAIMS, Claim
from liteframe.paper.evidence import Evidence
from liteframe.paper.verdicts import HOLDS, MISSING, VERDICTS, Finding, Verdict

Judged = Sequence[tuple[Claim, Verdict]]


def judged_claims(evidence: Evidence) -> list[tuple[Claim, Verdict]]:
    """Every claim with its verdict."""
    return [(claim, claim.judged(evidence)) for claim in CLAIMS]


def counts(judged: Judged) -> str:
    """How many claims have which verdict, in one line."""
    found = [verdict.verdict for _, verdict in judged]
    said = "; ".join(f"{verdict}: {found.count(verdict)}" for verdict in VERDICTS)
    return f"Of {len(found)} claims: {said}."


def claims_table(judged: Judged) -> str:
    """Claim, where it stands in the paper, verdict, and the number that decides."""
    rows = [
        [claim.text, claim.where, f"**{verdict.verdict}**", ". ".join(filter(None, [_deciding(verdict), claim.note]))]
        for claim, verdict in judged
    ]  # fmt: skip
    return markdown(["claim of the paper", "where", "verdict", "decided by"], rows).replace("---:", "---")


def _deciding(verdict: Verdict) -> str:
    finding = verdict.deciding
    if finding is None:
        return ""
    parts = [part for part in verdict.findings if part.verdict in VERDICTS]
    if verdict.verdict == MISSING and len(parts) > 1:
        lacking = sum(part.verdict == MISSING for part in parts)
        example = "; ".join(filter(None, [finding.measured and f"{finding.what}: {finding.measured}", finding.why]))
        return ", ".join(filter(None, [f"{lacking} of {len(parts)} parts lack something", example]))
    said = [finding.measured, finding.why] if verdict.verdict != HOLDS else [finding.measured]
    return ": ".join(filter(None, [finding.what, "; ".join(filter(None, said))]))


def parts_list(judged: Judged) -> str:
    """All parts of every claim, with each seed's own number."""
    blocks = []
    for claim, verdict in judged:
        note = f". {claim.note}" if claim.note else ":"
        lines = "\n".join(f"- {_part(finding)}" for finding in verdict.findings)
        blocks.append(f"**{claim.text}** ({claim.where}) {verdict.verdict}{note}\n\n{lines}")
    return "\n\n".join(blocks)


def _part(finding: Finding) -> str:
    said = "; ".join(filter(None, [finding.measured, finding.by_seed, f"*{finding.verdict}*", finding.why]))
    return f"{finding.what}: {said}" if finding.what else said
