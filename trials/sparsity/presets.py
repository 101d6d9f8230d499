"""Readings of ISSP by name. A preset is nothing but settings; those that are written win.

LOTUS (arXiv 2405.00906) does not give the polarity of its union, its levels, steps or final
sparsity, and the ISP paper (Jaiswal et al., ICML 2023) and its released code differ from each
other. Whoever compares with one of them can name it here, and the run records what that means.
"""

from collections.abc import Mapping
from typing import Any, Literal

Preset = Literal[
    "default",
    "lotus_literal",
    "isp_paper",
    "isp_published",
    "isp_published_votes",
    "isp_code",
    "progressive",
    "progressive_published",
    "lth",
]

_ONE_TRAINING = {
    "start": "pretrained",
    "order": "train_first",
    "rate": "one_pass",
    "count_look_ahead": False,
    "rounds": "auto",
}
"""Prune while training: the pretrained weights, one decay of the learning rate, and a prune after
a part of the training, as often as the target needs. Add `sparsity: 0` (no first mask) and
`finetune: {weights: current}`."""

_ISP = _ONE_TRAINING | {
    "schedule": "remaining",
    "round_fraction": 0.15,
    "train_fraction": 0.1,
    "train_growth": "linear",
}
"""ISP's schedule with the CLIP settings: 15 % of what remains a round, and a tenth of an epoch more
of training before each."""

PRESETS: dict[Preset, Mapping[str, Any]] = {
    "default": {},
    # LOTUS section 3: "the merge of the masks created at different sparsity levels using the
    # union", pruned weights united; relative, as torch's global_unstructured acts on a model that
    # is pruned already. Predicts "more than 50 %" removed and so may reproduce its collapse.
    "lotus_literal": {
        "levels": (0.4, 0.5, 0.6, 0.7),
        "ingredients": 4,
        "merge": "union_pruned",
        "sparsity_reference": "relative",
    },
    # ISP with its rounds as we first read them: pruned before it is trained, from the adapted
    # model, at a constant rate. Kept for what was measured with it; `isp_published` is the paper's.
    "isp_paper": {
        "merge": "isp_literal",
        "rounds": 5,
        "schedule": "remaining",
        "round_fraction": 0.15,
        "round_training": "progressive",
        "ingredients": 5,
        "steps": 50,
    },
    # ISP, Algorithms 1 and 2 with the CLIP settings: N = 5, C = 50, one-shot adjustment, which
    # leaves the denoiser nothing to say (DESIGN 10).
    "isp_published": _ISP
    | {"merge": "isp_literal", "ingredients": 5, "steps": 50, "spread": (0.3, 3.0)},
    # The same with a merge that can differ from one-shot pruning.
    "isp_published_votes": _ISP
    | {"merge": "vote_topk", "ingredients": 5, "steps": 50, "spread": (0.3, 3.0)},
    # github.com/VITA-Group/instant_soup, isp_dynamic.py: 10 % of what remains a round, five
    # ingredients at one rate with a tenth of the batches each, warm-up 500, union of the kept sets
    # inside the parent, no adjustment a round; within five points of the target one global prune.
    "isp_code": _ONE_TRAINING
    | {
        "merge": "union_kept",
        "schedule": "remaining",
        "round_fraction": 0.1,
        "train_fraction": 0.075,
        "train_growth": "linear",
        "ingredients": 5,
        "steps": "pass",
        "subset": "own",
        "spread": (1.0, 1.0),
        "look_ahead_warmup": 500,
        "stop_within": 0.05,
        "final_trim": True,
        "trim_when": "stopped",
    },
    # ISP without its denoiser: its schedule, and the weights' own magnitudes.
    "progressive": _ISP | {"merge": "vote_topk", "ingredients": 1, "steps": 0},
    # What ISP's tables call progressive (interval_pruning.py): two epochs, then ten points of all
    # weights, and again.
    "progressive_published": _ONE_TRAINING
    | {
        "merge": "vote_topk",
        "schedule": "linear",
        "round_fraction": 0.1,
        "train_fraction": 2.0,
        "train_growth": "constant",
        "ingredients": 1,
        "steps": 0,
    },
    # Lottery tickets: train to the end, remove a fifth of what is left, go back to the pretrained
    # weights, and again (Frankle and Carbin 2019; rewinding to the start).
    "lth": {
        "start": "pretrained",
        "order": "prune_first",
        "round_training": "none",
        "rounds": "auto",
        "schedule": "remaining",
        "round_fraction": 0.2,
        "merge": "vote_topk",
        "ingredients": 1,
        "look_ahead": "recovery",
        "weights": "rewind",
    },
}

EssentialPreset = Literal["default", "es_published"]

ESSENTIAL_PRESETS: dict[EssentialPreset, Mapping[str, Any]] = {
    "default": {},
    # Essential Sparsity (Jaiswal et al., NeurIPS 2023), section 3: one-shot magnitude of the
    # pretrained weights, the same fine-tuning at every level, dense included, one point lost.
    "es_published": {
        "criterion": "magnitude",
        "start": "pretrained",
        "weights": "pretrained",
        "evaluate": "after_finetune",
        "reference": "level_zero",
        "detector": "first_violation",
        "tolerance": 0.01,
        "levels": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    },
}
