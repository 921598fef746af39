"""Which rules read the answers to which benchmark."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from liteframe.evaluation.scoring import lmms_eval, vlmevalkit
from liteframe.evaluation.scoring.reading import Rule
from liteframe.evaluation.scoring.strict import strict

LIKELIHOOD = "likelihood"
"""Name of the score that needs logits of the options in place of an answer."""

_VLMEVALKIT: dict[str, Rule] = {
    "video-mme": vlmevalkit.video_mme,
    "mlvu": vlmevalkit.mlvu,
    "longvideobench": vlmevalkit.longvideobench,
    "mvbench": vlmevalkit.mvbench,
}


def rules_for(benchmark: str, seed: int = 0) -> dict[str, Rule]:
    """The rules by name: "strict", "lmms-eval", and "vlmevalkit" where that harness has the benchmark.

    Args:
        benchmark: its name.
        seed: of what lmms-eval draws where it finds no option in an answer.
    """
    lmms: dict[str, Rule] = {
        "video-mme": lmms_eval.first_four,
        "mlvu": lmms_eval.first_four,
        "longvideobench": partial(lmms_eval.longvideobench, seed=seed),
        "egoschema": partial(lmms_eval.egoschema, seed=seed),
        "mvbench": lmms_eval.mvbench,
    }
    shared = lmms_eval.by_options
    rules = {"strict": strict, "lmms-eval": _by_letter(lmms[benchmark]) if benchmark in lmms else shared}
    if benchmark in _VLMEVALKIT:
        rules["vlmevalkit"] = _by_letter(_VLMEVALKIT[benchmark])
    return rules


def _by_letter(rule: Rule) -> Rule:
    return lambda answer, question: replace(rule(answer, question), by_letter=True)
