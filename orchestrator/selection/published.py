"""What the papers of the seed systems claim: one row each, with their own numbers.

The numbers are those of the papers and of their released code, on the models and data that are
named. What this sweep measured stands in `claimed.py`. Accuracies in percent, as published.
"""

from dataclasses import dataclass, field
from typing import Literal

Asks = Literal["loses", "more", "alike"]
"""How a claim is judged. loses: no more than the published loss and the tolerance. more: above 0.
alike: equal within the tolerance."""

Axis = Literal["reduction.keep", "reduction.r", "sparsity"]
"""What a claim's levels are values of; the sparsity is that of the final model."""

ISP_READINGS = ("isp_published_votes", "isp_code")
"""Presets of ISP whose denoiser can act, the paper's first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which systems a claim is about; a field that is None or empty says nothing.

    Attributes:
        method: of token reduction; fuse, trained: its settings.
        presets: of ISSP, the preferred one first.
        mask: one-shot magnitude, or a random mask, on whole images.
    """

    method: str | None = None
    fuse: bool | None = None
    trained: bool | None = None
    presets: tuple[str, ...] = ()
    mask: Literal["magnitude", "chance"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One claim of one paper.

    Attributes:
        source: paper; claim: what it says; numbers: its own, with model and data.
        a: what the claim is about; b: what that is compared with, None = the dense model with equal
            training. Without `a` no comparison of two settings decides it.
        levels: level -> published difference of a to b in points; empty = judged otherwise.
        asks, axis: see the types.
        needs: what a sweep has to run for it.
    """

    id: str
    source: str
    claim: str
    numbers: str
    needs: str
    a: Which | None = None
    b: Which | None = None
    axis: Axis = "sparsity"
    levels: dict[float, float] = field(default_factory=dict)
    asks: Asks = "loses"
    added_tolerance: bool = True


_DYNAMICVIT = "DynamicViT (Rao et al., NeurIPS 2021)"
_EVIT = "EViT (Liang et al., ICLR 2022)"
_TOME = "ToMe (Bolya et al., ICLR 2023)"
_ISP = "ISP (Jaiswal et al., ICML 2023)"
_ES = "Essential Sparsity (Jaiswal et al., NeurIPS 2023)"
_DATA_LTH = "Data-LTH"
_AT_LEVELS = "at a final sparsity of 0.6, 0.7 or 0.8"
_CIFAR10 = "CLIP ViT-B/32, CIFAR-10, 60 / 70 / 80 %"

PUBLISHED: tuple[Published, ...] = (
    Published(
        id="dynamicvit_dense",
        source=_DYNAMICVIT,
        claim="Pruned by its predictors, it loses little against dense",
        numbers="DeiT-S, ImageNet: dense 79.8; keep 0.9 / 0.8 / 0.7: 79.8 / 79.6 / 79.3 "
        "at 4.0 / 3.4 / 2.9 of 4.6 GMACs",
        needs="`reduction.method: [dynamicvit]` at `reduction.keep` 0.9, 0.8 or 0.7",
        a=Which(method="dynamicvit"),
        axis="reduction.keep",
        levels={0.9: 0.0, 0.8: -0.2, 0.7: -0.5},
    ),
    Published(
        id="evit_dense",
        source=_EVIT,
        claim="Fine-tuned with fusion, it loses little against dense",
        numbers="DeiT-S, ImageNet: dense 79.8; keep 0.9 / 0.8 / 0.7 / 0.6 / 0.5: "
        "79.8 / 79.8 / 79.5 / 78.9 / 78.5",
        needs="`reduction.method: [evit]` at a `reduction.keep` from 0.9 to 0.5 in steps of 0.1",
        a=Which(method="evit", fuse=True, trained=True),
        axis="reduction.keep",
        levels={0.9: 0.0, 0.8: 0.0, 0.7: -0.3, 0.6: -0.9, 0.5: -1.3},
    ),
    Published(
        id="evit_fusion",
        source=_EVIT,
        claim="With fusion and without, it is about as accurate",
        numbers="DeiT-S, ImageNet, keep 0.9 / 0.8 / 0.7 / 0.6 / 0.5: with 79.8 / 79.8 / 79.5 / "
        "78.9 / 78.5, without 79.9 / 79.7 / 79.4 / 79.1 / 78.4",
        needs="`reduction.fuse: [true, false]` with `reduction.method: [evit]`",
        a=Which(method="evit", fuse=True, trained=True),
        b=Which(method="evit", fuse=False, trained=True),
        axis="reduction.keep",
        levels={0.9: -0.1, 0.8: 0.1, 0.7: 0.1, 0.6: -0.2, 0.5: 0.1},
        asks="alike",
    ),
    Published(
        id="tome_untrained",
        source=_TOME,
        claim="Without any training, merging loses about two points",
        numbers="ImageNet, r 13: ViT-S/16 81.41 to 79.30, ViT-B/16 84.57 to 82.60",
        needs="`reduction.method: [tome]`, `reduction.r: [13]`, `reduction.train: [false]`",
        a=Which(method="tome", trained=False),
        axis="reduction.r",
        levels={13: -2.11},
    ),
    Published(
        id="tome_trained",
        source=_TOME,
        claim="Trained with merging, it loses less than half a point",
        numbers="DeiT-S, ImageNet, r 13: 79.8 to 79.36",
        needs="`reduction.method: [tome]`, `reduction.r: [13]`, `reduction.train: [true]`",
        a=Which(method="tome", trained=True),
        axis="reduction.r",
        levels={13: -0.44},
    ),
    Published(
        id="data_lth",
        source=_DATA_LTH,
        claim="From scratch, training on the selector's patches is as good as training on all, and "
        "better than training on as many random ones, tested on the selector's patches",
        numbers="no number is cited: the tables could not be read",
        needs="its three-way test: the same training from scratch on the selector's patches, on "
        "random ones and on all of them",
    ),
    Published(
        id="isp_one_shot",
        source=_ISP,
        claim="ISP beats one-shot magnitude at equal sparsity",
        numbers=f"{_CIFAR10}: 96.82 / 95.18 / 91.20 against 95.31 / 86.56 / 75.85 (dense 97.6)",
        needs=f"the preset isp_published_votes and the arm of one-shot magnitude, {_AT_LEVELS}",
        a=Which(presets=ISP_READINGS),
        b=Which(mask="magnitude"),
        levels={0.6: 1.51, 0.7: 8.62, 0.8: 15.35},
        asks="more",
    ),
    Published(
        id="isp_progressive",
        source=_ISP,
        claim="ISP beats progressive pruning at equal sparsity",
        numbers=f"{_CIFAR10}: 96.82 / 95.18 / 91.20 against 95.25 / 90.87 / 78.11",
        needs=f"the presets isp_published_votes and progressive_published, {_AT_LEVELS}",
        a=Which(presets=ISP_READINGS),
        b=Which(presets=("progressive_published",)),
        levels={0.6: 1.57, 0.7: 4.31, 0.8: 13.09},
        asks="more",
    ),
    Published(
        id="isp_lottery",
        source=_ISP,
        claim="ISP beats lottery tickets with rewinding at equal sparsity",
        numbers=f"{_CIFAR10}: 96.82 / 95.18 / 91.20 against 96.53 / 94.88 / 87.28",
        needs=f"the presets isp_published_votes and lth, {_AT_LEVELS}",
        a=Which(presets=ISP_READINGS),
        b=Which(presets=("lth",)),
        levels={0.6: 0.29, 0.7: 0.30, 0.8: 3.92},
        asks="more",
    ),
    Published(
        id="isp_schedule",
        source=_ISP,
        claim="Its schedule alone, without the denoiser, beats progressive pruning",
        numbers="CLIP ViT-B/32, CIFAR-100, 80 %: 70.32 against 60.93 (dense 89.35)",
        needs="the presets progressive and progressive_published, at a final sparsity of 0.8",
        a=Which(presets=("progressive",)),
        b=Which(presets=("progressive_published",)),
        levels={0.8: 9.39},
        asks="more",
    ),
    Published(
        id="isp_denoiser",
        source=_ISP,
        claim="Its denoiser adds to that",
        numbers="CLIP ViT-B/32, CIFAR-100, 80 %: 71.09 with it, 70.32 without",
        needs="the presets isp_published_votes and progressive, at a final sparsity of 0.8",
        a=Which(presets=ISP_READINGS),
        b=Which(presets=("progressive",)),
        levels={0.8: 0.77},
        asks="more",
    ),
    Published(
        id="one_shot_chance",
        source=_ISP,
        claim="One-shot magnitude beats a random mask of equal sparsity",
        numbers=f"{_CIFAR10}: 95.31 / 86.56 / 75.85 against 74.51 / 69.84 / 64.96",
        needs=f"one-shot magnitude and random masks on all patches, {_AT_LEVELS}",
        a=Which(mask="magnitude"),
        b=Which(mask="chance"),
        levels={0.6: 20.80, 0.7: 16.72, 0.8: 10.89},
        asks="more",
    ),
    Published(
        id="es_free",
        source=_ES,
        claim="30 to 40 % of the weights go in one shot for at most 1 point, after fine-tuning",
        numbers="ViT and DINO base, CIFAR-10 and -100: 30 to 40 % (figures only)",
        needs="one-shot magnitude with fine-tuning at a sparsity of 0.3 or 0.4, and the dense arm",
        a=Which(mask="magnitude"),
        levels={0.3: -1.0, 0.4: -1.0},
        added_tolerance=False,
    ),
    Published(
        id="es_lottery_masks",
        source=_ES,
        claim="In that range one-shot masks are those of lottery tickets",
        numbers="cosine of the masks above 98 %",
        needs="the preset lth and one-shot magnitude, at a final sparsity from 0.3 to 0.5",
    ),
)
"""In the order of the report. A claim without `a` is judged by a row of `claimed.JUDGES`."""
