"""What the page says in words; numbers in it come from the records and from the constants of the work."""

from __future__ import annotations

import numpy as np

from liteframe.evaluation.paired import SAMPLES
from liteframe.paper.cells import ALL_SEEDS, DENSE_TOKENS, FRAMES, LONGEST, TWO_SEEDS
from liteframe.paper.claims import SHARES_WAPS_ADVANTAGE
from liteframe.paper.evidence import REPORTS, Evidence

SEEDS, TWO = (" and ".join(", ".join(map(str, seeds)).rsplit(", ", 1)) for seeds in (ALL_SEEDS, TWO_SEEDS))


def introduction(evidence: Evidence) -> str:
    """What is measured on what, and the words that the page uses."""
    return f"""\
# The paper's claims, measured on the tiny world

[LiteFrame](https://arxiv.org/abs/2605.17260) was measured on InternVL3-8B and four benchmarks of real videos. Here its
comparisons are made on a ground that anybody can make again on two CPU cores: the tiny world (`liteframe pipeline
tiny`), {_videos(evidence)}. The host has 2.3 M parameters, its image encoder (the
teacher) 0.9 M, the student 0.4 M. What is right at this size need not be at the paper's, and the other way round.
Chance is 0.25.

- **WAP** (weighted average pooling) makes one token of each block of patches: their mean, weighted by how much each
  patch is like its frame's class token.
- **CTD** (compressed token distillation) teaches a small encoder, the student, to give WAP's tokens of the teacher by
  itself; the language model stays as it is, *frozen*.
- **LMA** (language model adaptation) then trains the language model (by LoRA) and the student together on questions.
- **Post-hoc** is what reduces the tokens of an encoder that has already run on every frame, without training.
- **At 16x** the language model sees one token for 16 that it would see without reduction: here {DENSE_TOKENS // 16}
  a frame for {DENSE_TOKENS}.

`make paper` measures what is missing; `liteframe paper --page` makes this page from `benchmarks/records/paper/`, where
each cell has a record with the answer to every single question. Seeds {SEEDS} are three worlds, each with a teacher
and a student of its own; mixers and ablations have seeds {TWO}. In brackets stands a 95 % interval: videos are drawn
anew {SAMPLES:,} times, those of each seed on their own; how far another training of the same world would fall is not
in it. Where arms are compared at equal model time, the times are taken as they were measured, and their noise is not in
it either; what the unfavourable ends of their own intervals would give stands beside it. Where seeds stand in square
brackets, the others have not been measured yet."""


def _videos(evidence: Evidence) -> str:
    if not evidence.videos:
        return f"held-out videos of {LONGEST} frames"
    counts = {(np.unique(video_Q).size, video_Q.size) for video_Q in evidence.videos.values()}
    videos, questions = sorted(counts)[0]
    each = f"{questions / videos:g} questions each"
    return f"{videos:,} held-out videos of {LONGEST} frames a seed, {each}"


def table_1(evidence: Evidence) -> str:
    """What is fair in Table 1 and what is not."""
    return f"""\
**What the host knows.** Half of the loss that taught the tiny host's language model fell on tokens pooled by WAP over
(1, 2, 2) patches. So the frozen model knows WAP's outputs in space, and those of no rival; a control with a host that
learnt average-pooled tokens instead is in the table *Another host*, and a claim that WAP is better than a reduction
holds only where it does on both (ToMe inside the encoder was tried before the first alone). The WAP tested here is
{_wap(evidence)}; the paper's is the dot product. That scale was chosen on tuning seeds, which are not among these.
The rivals' tokens stand in one `Frame` line a frame, WAP's in one for each group of 4 frames; on a tuning seed a line a
frame was the better of the two for nearly every rival.

All in the first table reduce what the LLM sees 16 times and answer the same questions at the same frames. *WAP less
this* is the paired difference, mean of the {len(FRAMES)} frame counts. The grid ones (average, max, subsampling, WAP)
work on blocks of (4, 2, 2) patches before the projector; the others on what the LLM would see. The last column says
what was asked of a method for a video of {max(FRAMES)} frames, and what it gave. At one token a frame PruMerge and
PruMerge+ are the same by construction, so claims count them once."""


def _wap(evidence: Evidence) -> str:
    """Similarity and scale of WAP, as the records say."""
    for record in evidence.made.values():
        for row in record["rows"]:
            how = row.get("how") or {}
            if row["arm"] == "teacher+wap" and how.get("similarity"):
                return f"the {how['similarity']} with scale {how['scale']:g}"
    return "the cosine with a scale"


OTHER_BUDGETS = """\
**Other budgets.** One that stops short of 16x is not at the same budget, and neither are those inside the LLM, whose
first layers see every token; the teacher reduces nothing."""
CONTROL = """\
**Another host.** The same reductions before a host whose language model learnt average-pooled tokens where the other
learnt WAP's."""
VARIANTS = """\
**Other settings.** ToMe merges within clips of 4 frames and compares tokens, as InternVideo2.5 has it; here beside
merging by the keys of the encoder's last layer, within clips, within each frame and over the whole video. Claims count
the first line alone. Records of before a method said such a setting stand in the line that they are of: ToMe's in that
over the whole video, FastVID's in that of anchors apart."""
RIVALS = """\
ToMe, VisionZip, FastVID, DyCoke, PruneVid and HoliTom were run beside their authors' public code, on the same features
of the tiny host and at the same budgets; PruMerge, FastV and PyramidDrop beside the passages that rank and merge,
written down again; of ToMe inside the encoder the official code was only read. Shares of right answers in the last
column, first of the other way and then of ours, are of the tuning seed 0, 760 questions or as many as said; they are no
evidence for a claim."""
FIGURE_3 = f"""\
Tokens are visual ones; the text of the `Frame` lines between them is not counted. The teacher has no {LONGEST} frames:
at {DENSE_TOKENS} tokens each they are twice the most that its LLM was trained on. The tiny LLM has learnt to
read {DENSE_TOKENS} and {DENSE_TOKENS // 4} tokens a frame, so 4x is a density that it knows, 8x and 16x are not."""
LMA_LEARNS_MORE = """\
LMA trains on this world's questions; the teacher and the post-hoc arms get no such training. The comparison without it
is the student after CTD alone."""


def table_3(evidence: Evidence) -> str:
    """Where the times are from."""
    sources = ", ".join(f"`records/{REPORTS.format(seed=seed)}`" for seed in sorted(evidence.times)) or "none yet"
    threads = sorted({count for count in evidence.threads.values() if count})
    on = f"on a CPU ({', '.join(map(str, threads))} threads)" if threads else "on a CPU"
    return f"Milliseconds are of batch 1 {on}, means of the seeds, from the sweep's reports: {sources}."


FIGURE_6 = f"""\
Model time is encode + project + prefill. What the sweep has not timed is not in the picture.
{SHARES_WAPS_ADVANTAGE}"""
TABLE_5 = f"""\
Seeds {TWO}. *less depth-wise* is the paired difference, mean of the {len(FRAMES)} frame counts. The last line of each
table is the paper's student trained again in the same world from other initial weights, on the same batches: what it
differs by is noise of training, and no claim counts a difference between two students that is not larger at each
seed."""
ABLATIONS = f"""\
Seeds {TWO}; the student after CTD before the frozen LLM, in the last table after LMA. *less the first* is the paired
difference, mean of the {len(FRAMES)} frame counts. The first line of each table is the run's own student, trained once
(for clips at 8x, the cell that has 4 frames); all others were trained once too. WAP *after the student* is WAP by the
mean token, as the student has no class token. The ViT of timm was taught labels of single frames of the same videos,
which CTD never sees."""
