"""The claims of the paper, each with what of it can be measured here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from liteframe.paper import accuracy_claims as accuracy
from liteframe.paper import shape_claims as shapes
from liteframe.paper import time_claims as time
from liteframe.paper.cells import LONGEST
from liteframe.paper.evidence import Evidence
from liteframe.paper.verdicts import BEYOND, Finding, Verdict, judge

NEEDS_WEIGHTS = "needs the published weights of InternVL3-8B and the benchmarks, which this ground has not"
TIMES_AS_MEASURED = "Times are taken as they were measured; their noise is not in the interval."
SHARES_WAPS_ADVANTAGE = (
    "The student imitates WAP, and the LLM that reads it was taught on WAP's tokens, so it shares WAP's advantage over "
    "the others; there is no student on the control host."
)


@dataclass(frozen=True)
class Claim:
    """Something that the paper says.

    Attributes:
        text: in our words.
        where: section, table or figure of the paper.
        parts: what is measured of it.
        note: what a reader of the verdict has to know, a sentence; stands beside it and beside its parts.
    """

    text: str
    where: str
    parts: Callable[[Evidence], Sequence[Finding]]
    note: str = ""

    def judged(self, evidence: Evidence) -> Verdict:
        """By the rule of `verdicts`."""
        return judge(self.parts(evidence))


def _beyond(reason: str) -> Callable[[Evidence], list[Finding]]:
    return lambda evidence: [Finding("", BEYOND, why=reason)]


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "At 16x, WAP is more accurate than plain pooling and subsampling.", "3.1, Table 1", accuracy.wap_against_pools
    ),
    Claim(
        "At 16x, WAP is more accurate than elaborate merging and pruning (those that the paper names).",
        "3.1, Table 1",
        accuracy.wap_against_rivals,
    ),
    Claim("Accuracy grows about with the logarithm of the frame count.", "3.2, Fig. 3 left", accuracy.logarithmic),
    Claim(
        "At a fixed number of visual tokens, WAP at every ratio beats no compression.",
        "3.2, Fig. 3 right",
        accuracy.ratios_against_none,
    ),
    Claim(
        "There, the highest ratio (16x, so the most frames) is best.", "3.2, Fig. 3 right", accuracy.highest_ratio_best
    ),
    Claim(
        "Once tokens are reduced after the encoder, the encoder is what takes the time.", "3.2, Fig. 1", time.bottleneck
    ),
    Claim("(By construction.) The student has 87 M parameters, the teacher 304 M.", "4.1, 5.1", shapes.sizes),
    Claim(
        "The depth-wise temporal convolution is faster and cheaper than the other mixers.",
        "4.1, Table 2",
        shapes.mixer_costs,
    ),
    Claim(
        "It is also more accurate than full spatio-temporal (joint) attention.",
        "4.1, Table 5",
        accuracy.mixer_against_joint,
    ),
    Claim(
        "Learning compressed tokens is better than learning the teacher's tokens as they are.",
        "4.2",
        accuracy.targets,
        SHARES_WAPS_ADVANTAGE,
    ),
    Claim("Adapting the language model to the student makes it more accurate.", "4.3", accuracy.adaptation),
    Claim(
        "After that it makes use of up to 512 frames.",
        "4.3",
        _beyond(f"the videos of this ground have {LONGEST} frames"),
    ),
    Claim(
        "With 8 times the frames the student is more accurate than the host model.",
        "5.2.1, Table 3",
        accuracy.more_frames_more_accuracy,
    ),
    Claim(
        "At its most frames it is more accurate than the host at its most.",
        "5.2.1, Table 3",
        accuracy.best_against_best,
    ),
    Claim(
        "With 8 times the frames it takes up to 35 % less time end to end.", "5.2.1, Table 3", time.eight_times_frames
    ),
    Claim(
        "At the time that the host takes for 8 frames it is more accurate.",
        "5.2.1, Table 3",
        accuracy.at_the_teachers_time,
        TIMES_AS_MEASURED,
    ),
    Claim(
        "It lies above the post-hoc methods (those that the paper names) in accuracy against time.",
        "5.2.1, Fig. 2",
        accuracy.frontier,
        TIMES_AS_MEASURED,
    ),
    Claim("The encoder is 5.3 times faster at 64 frames.", "reported by readers", shapes.encoder_factor),
    Claim(
        "The language model's prefill is 12.7 times faster at 64 frames.", "reported by readers", shapes.prefill_factor
    ),
    Claim(
        "With the LLM frozen, the student alone is more accurate than all post-hoc methods.",
        "5.2.2, Fig. 6",
        accuracy.frozen_against_rivals,
        SHARES_WAPS_ADVANTAGE,
    ),
    Claim("With the LLM frozen, it is also faster than all of them.", "5.2.2, Fig. 6", time.frozen_is_faster),
    Claim(
        "(Ours.) At 16x, WAP is more accurate than the other reductions before the LLM.",
        "-",
        accuracy.wap_against_others,
    ),
    Claim(
        "(Ours.) The depth-wise temporal convolution is more accurate than temporal attention and full convolution.",
        "-",
        accuracy.mixer_against_others,
    ),
    Claim("Averages and single scores on Video-MME, MLVU and LongVideoBench.", "Table 3", _beyond(NEEDS_WEIGHTS)),
    Claim("Tiles of large frames, each encoded on its own, are best on HLVid.", "5.2.3", _beyond(NEEDS_WEIGHTS)),
)
