"""Readings of ISSP by name. A preset is nothing but settings; those that are written win.

LOTUS (arXiv 2405.00906) does not give the polarity of its union, its levels, steps or final
sparsity, and the ISP paper (Jaiswal et al., ICML 2023) and its released code differ from each
other. Whoever compares with one of them can name it here, and the run records what that means.
"""

from collections.abc import Mapping
from typing import Any, Literal

Preset = Literal["default", "lotus_literal", "isp_paper", "isp_code"]

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
    # ISP, Algorithms 1 and 2 with the CLIP settings: 15 % of what remains a round, N = 5, C = 50,
    # one-shot adjustment. For its "without rewinding" add `finetune: {weights: current}`.
    "isp_paper": {
        "merge": "isp_literal",
        "rounds": 5,
        "schedule": "remaining",
        "round_fraction": 0.15,
        "round_training": "progressive",
        "ingredients": 5,
        "steps": 50,
    },
    # github.com/VITA-Group/instant_soup: 10 % of what remains a round, five ingredients with a
    # tenth of the batches each, union of the kept sets inside the parent, no adjustment a round;
    # stops within five points of the target and then prunes globally to it.
    "isp_code": {
        "merge": "union_kept",
        "rounds": 10,
        "schedule": "remaining",
        "round_fraction": 0.1,
        "subset": "own",
        "steps": "pass",
        "stop_within": 0.05,
        "final_trim": True,
        "ingredients": 5,
    },
}
