"""How arms are called on the page and in its plots."""

from __future__ import annotations

from liteframe.bench.arm_names import method_name

CTD, LMA = "liteframe-ctd", "liteframe-lma"
"""The student of a run, with the LLM frozen and adapted."""
TOME_INSIDE = "tome-teacher+wap"
TOME_QUARTER = "tome4-teacher+wap"
"""WAP itself behind an encoder that merges: shown beside the claims on WAP and its student, which do not count it."""
OFF_GRID = ("tome", "prumerge", "prumerge+", "visionzip", "fastvid", "dycoke", "prunevid", "holitom")
"""Of the registry of compressors, those off the grid that a cell of `cells` asks; a new one waits for a cell."""
SCOPES = ("tome-keys", "tome-frame", "tome-video")
"""ToMe by other scopes and by keys; no claim counts these."""
VARIANTS = ("teacher+tome", *(f"teacher+{name}" for name in SCOPES), "teacher+fastvid", "teacher+fastvid-apart")
"""Rivals whose settings changed, or matter, each before its other settings."""
INSIDE_LLM = ("teacher+fastv", "teacher+pyramiddrop")
ARMS = {
    "teacher": "teacher, all tokens",
    "teacher+average": "average pooling",
    "teacher+max": "max pooling",
    "teacher+subsample": "subsampling",
    "teacher+wap": "WAP",
    "teacher+wap-8x": "WAP, 8x",
    "teacher+wap-4x": "WAP, 4x",
    **{f"teacher+{name}": method_name(name) for name in OFF_GRID},
    **{f"teacher+{name}": method_name(name) for name in (*SCOPES, "fastvid-apart")},
    TOME_INSIDE: "ToMe inside the encoder, then WAP",
    TOME_QUARTER: "ToMe inside the encoder to a quarter, then WAP",
    **{arm: f"{method_name(arm)} (inside the LLM)" for arm in INSIDE_LLM},
    "liteframe-ctd": "student after CTD, LLM frozen",
    "liteframe-lma": "student after LMA",
}
_NO_RIVALS = ("teacher+wap-8x", "teacher+wap-4x", "teacher+fastvid-apart", *(f"teacher+{name}" for name in SCOPES))
REDUCTIONS = [name for name in ARMS if "teacher+" in name and name not in _NO_RIVALS]
"""All that reduce the teacher's tokens and were asked for 16x; those in `OTHER_BUDGETS` too leave the LLM more."""
OTHER_BUDGETS = ("teacher", "teacher+dycoke", *INSIDE_LLM)
"""Of Table 1, those whose LLM sees more than one token in 16: all, as many as the method leaves, or all at first."""
BEFORE_LLM = [name for name in REDUCTIONS if name not in OTHER_BUDGETS]
"""Reductions whose LLM sees one token in 16 from its first layer on."""
SAME_AS = {"teacher+prumerge+": "teacher+prumerge"}
"""At 1 token a frame, which the first step of both keeps, PruMerge+ has none left to add; claims count them once."""
CONTROL = "control:"
"""Before the names of arms on the host that learnt to read pooled tokens by average pooling."""
MIXERS = {
    "depthwise": "depth-wise convolution (the paper's)",
    "full": "full temporal convolution",
    "attention": "interleaved temporal attention",
    "joint": "joint space-time attention",
    "none": "none (the strides alone mix)",
}
ABLATIONS: dict[str, list[tuple[str, str]]] = {
    "Compression": [
        ("liteframe-ctd", "16x: (4, 2, 2)"),
        ("ctd-4x", "4x: (1, 2, 2)"),
        ("ctd-8x", "8x: (2, 2, 2)"),
        ("ctd-32x", "32x: (8, 2, 2)"),
    ],
    "Place of the strides": [
        ("liteframe-ctd", "after blocks 1 and 2 of 3"),
        ("ctd-late", "after blocks 2 and 3"),
        ("ctd-at-once", "all after block 1"),
    ],
    "Frames of a clip, at 16x": [("liteframe-ctd", "4"), ("ctd-16x-clip8", "8")],
    "Frames of a clip, at 8x": [("ctd-8x", "4"), ("ctd-8x-clip2", "2"), ("ctd-8x-clip8", "8")],
    "Target of CTD": [
        ("liteframe-ctd", "WAP of the teacher"),
        ("ctd-average", "average pooling of it"),
        ("ctd-max", "max pooling of it"),
        ("ctd-dense", "all its tokens, which the LLM gets (16 times more)"),
        ("ctd-dense+average", "all its tokens, average pooling after the student"),
        ("ctd-dense+wap", "all its tokens, WAP after the student"),
    ],
    "Clipping of residuals": [("liteframe-ctd", "none"), ("ctd-clipped", "beyond 3 standard deviations")],
    "Start of the student": [
        ("liteframe-ctd", "from nothing"),
        ("ctd-timm", "from a tiny ViT of timm, taught the labels of frames"),
    ],
    "LMA": [("liteframe-lma", "encoder trained along"), ("lma-frozen", "encoder frozen")],
}
"""Title -> arms and what they are; each is compared with the first."""


def name_of(arm: str) -> str:
    """In words; the arm's own name where there are none."""
    return ARMS.get(arm, arm)
