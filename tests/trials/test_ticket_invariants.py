"""What must hold for tickets of every score, sink, scope and kind of model."""

from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import pytest
import torch
from torch import Tensor

from trials.model.attention_maps import attention_maps
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.stages.attention import AttentionConfig, score_images
from trials.stages.tickets import Scope
from trials.tokens import tickets
from trials.tokens.kept import Kept, Removal
from trials.tokens.tickets import PAD, Score, Sink

SELECT: dict[str, Callable[..., Tensor]] = {
    "image": tickets.select_patches,
    "global": tickets.select_globally,
}
PREFIXES: dict[str, dict[str, Any]] = {
    "cls": {},
    "registers": {"reg_tokens": 3},
    "bare": {"global_pool": "avg", "class_token": False},
}
IMAGES, PATCHES, COLUMNS = 5, 16, 4


class Setting(NamedTuple):
    """One way to make a ticket."""

    kind: str
    score: Score
    sink: Sink
    scope: Scope


MAPS = [score for score in get_args(Score) if score != "nested"]
"""Scores that are read from maps of attention; of nested ones see `reduction/test_nested.py`."""

SETTINGS = [
    Setting(kind, score, sink, scope)
    for kind in PREFIXES
    for score in MAPS
    for sink in get_args(Sink)
    for scope in get_args(Scope)
    if kind != "bare" or score == "received"
]


class Case(NamedTuple):
    """A setting on the tiny model: its scores, and how they are turned into tickets."""

    setting: Setting
    model: Model
    scores: Tensor

    def keep(self, count: int, scores: Tensor | None = None) -> Tensor:
        return SELECT[self.setting.scope](self.scores if scores is None else scores, count)


@pytest.fixture(params=SETTINGS, ids=["-".join(setting) for setting in SETTINGS], scope="module")
def case(
    request: pytest.FixtureRequest,
    make_checkpoint: Callable[..., Checkpoint],
    cpu: torch.device,
    x: Tensor,
) -> Case:
    setting: Setting = request.param
    model = Model.of(make_checkpoint(**PREFIXES[setting.kind]), cpu)
    cfg = AttentionConfig(score=setting.score, sink=setting.sink)
    return Case(setting, model, score_images(cfg, model, x))


def logits(case: Case, x: Tensor, keep: Tensor, removal: Removal = "gather") -> Tensor:
    with torch.no_grad():
        return case.model(x, Kept.of_tickets(keep, removal))


def test_the_table_holds_every_setting_that_a_model_can_have_once() -> None:
    assert len(set(SETTINGS)) == len(SETTINGS) == (3 + 3 + 1) * 3 * 2


def test_totals_are_exact_and_no_image_is_left_without_a_patch(case: Case) -> None:
    for count in range(1, PATCHES + 1):
        rows = case.keep(count).sum(1)
        assert int(rows.sum()) == count * IMAGES
        assert int(rows.min()) >= 1
        if case.setting.scope == "image":
            assert rows.tolist() == [count] * IMAGES


def test_tickets_nest_in_the_count(case: Case) -> None:
    for count in range(1, PATCHES):
        assert bool((case.keep(count + 1) | ~case.keep(count)).all())


def test_indices_are_unique_ascending_and_in_range_with_padding_at_the_end(case: Case) -> None:
    for count in range(1, PATCHES + 1):
        keep = case.keep(count)
        kept = tickets.indices(keep)
        for row, bits in zip(kept, keep, strict=True):
            real = row[row != PAD]
            assert real.tolist() == bits.nonzero()[:, 0].tolist()
            assert bool((row[len(real) :] == PAD).all())
        assert tickets.is_padded(kept) == (len(keep.sum(1).unique()) > 1)


def test_every_image_keeps_its_best_patch(case: Case) -> None:
    best = case.scores.argmax(1)
    for count in range(1, PATCHES + 1):
        assert bool(case.keep(count)[torch.arange(IMAGES), best].all())


def test_no_dropped_patch_beats_a_kept_one_that_is_not_its_images_best(case: Case) -> None:
    keep = case.keep(6)
    threshold = case.scores.masked_fill(keep, -1.0)
    threshold = threshold.amax(1, keepdim=True)
    if case.setting.scope == "global":
        threshold = threshold.amax().expand_as(threshold)
    first = tickets.select_patches(case.scores, 1)
    assert bool((case.scores >= threshold)[keep & ~first].all())


def test_the_ticket_of_the_mirrored_scores_is_the_mirrored_ticket(case: Case) -> None:
    mirrored = case.scores.view(IMAGES, -1, COLUMNS).flip(-1).flatten(1)
    plain = tickets.indices(case.keep(7))
    flipped = tickets.flip(plain, COLUMNS)
    assert torch.equal(flipped, tickets.indices(case.keep(7, mirrored)))
    assert torch.equal(tickets.flip(flipped, COLUMNS), plain)


def test_gathering_equals_hiding_the_dropped_keys(case: Case, x: Tensor) -> None:
    keep = case.keep(9)
    gathered = logits(case, x, keep)
    torch.testing.assert_close(gathered, logits(case, x, keep, "attention_mask"))
    with torch.no_grad():
        assert (gathered - case.model(x)).abs().max() > 1e-3


@pytest.mark.parametrize("removal", ["gather", "attention_mask", "zero", "mean"])
def test_an_images_logits_do_not_depend_on_the_others_of_its_batch(
    case: Case, x: Tensor, removal: Removal
) -> None:
    keep = case.keep(9)
    alone = [logits(case, x[i : i + 1], keep[i : i + 1], removal) for i in range(IMAGES)]
    torch.testing.assert_close(logits(case, x, keep, removal), torch.cat(alone))


def test_prefix_tokens_stay_and_positions_are_embedded_before_the_gather(
    case: Case, x: Tensor
) -> None:
    seen: list[Tensor] = []
    hook = case.model.module.blocks[0].register_forward_pre_hook(
        lambda _, args: seen.append(args[0])
    )
    with torch.no_grad():
        case.model(x)
    keep = case.keep(6)
    logits(case, x, keep)
    hook.remove()
    whole, short = seen
    prefix = case.model.module.num_prefix_tokens
    assert short.shape[1] == prefix + int(keep.sum(1).max())
    assert torch.equal(short[:, :prefix], whole[:, :prefix])
    for image, bits in enumerate(keep):
        own = short[image, prefix : prefix + int(bits.sum())]
        assert torch.equal(own, whole[image, prefix:][bits])


def test_the_order_of_the_kept_tokens_does_not_matter(case: Case, x: Tensor) -> None:
    kept = tickets.indices(case.keep(6))
    order = torch.randperm(kept.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain, mixed = (
            case.model(x, Kept(rows, tickets.is_padded(kept))) for rows in (kept, kept[:, order])
        )
    torch.testing.assert_close(plain, mixed)


@pytest.mark.parametrize("sink", get_args(Sink))
@pytest.mark.parametrize("kind", PREFIXES)
def test_real_attention_rows_sum_to_one_and_cls_mean_keeps_their_ranking(
    model: Callable[..., Any], x: Tensor, kind: str, sink: Sink
) -> None:
    module = model(**PREFIXES[kind])
    with torch.no_grad():
        maps = attention_maps(module, x, [0, 1])
    for attn in maps:
        fixed = tickets.fix_sink(attn, sink, module.num_prefix_tokens)
        for rows in (attn, fixed):
            torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:-1]))
        if sink == "cls_mean":
            ranked = fixed[..., 1:].gather(-1, attn[..., 1:].argsort(-1))
            assert bool((ranked.diff(dim=-1) >= 0).all())
