"""The nested selection of Data-LTH: who is left after three stages of EViT, and for how long."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from tests.trials import models
from trials.model.module import Model
from trials.reduction import evit, walk
from trials.reduction.nested import nested_scores, selecting, survivors
from trials.tokens.tickets import select_patches

KEEPS = (1.0, 0.9, 0.75, 0.5, 0.1)


@pytest.fixture(params=["vit", "deit-distilled", "dinov2-reg"])
def model(request: pytest.FixtureRequest, made: models.Make) -> Model:
    return made(request.param, depth=4)


def composed(model: Model, x: Tensor, keep: float) -> list[list[list[int]]]:
    """Of each image the patches left after each stage, gathered by hand, token by token."""
    module, prefix, found = model.module, model.module.num_prefix_tokens, []
    stages = selecting(keep).stages(len(module.blocks))
    for image in x:
        tokens = module.norm_pre(module._pos_embed(module.patch_embed(image[None])))
        places, left = list(range(tokens.shape[1] - prefix)), []
        for number, block in enumerate(module.blocks):
            attn, normed = block.attn, block.norm1(tokens)
            qkv = attn.qkv(normed).view(1, tokens.shape[1], 3, attn.num_heads, attn.head_dim)
            q, k, _ = (one[0].transpose(0, 1) for one in qkv.unbind(2))
            rows = (attn.q_norm(q) @ attn.k_norm(k).transpose(1, 2) * attn.scale).softmax(-1)
            tokens = tokens + block.ls1(attn(normed))
            if number in stages:
                attention = rows[:, 0].mean(0)[prefix:].tolist()
                count = -(-round(keep * len(places) * 10**9) // 10**9)
                best = sorted(range(len(places)), key=lambda i: (-attention[i], i))[:count]
                kept = sorted(best)
                tokens = torch.cat([tokens[:, :prefix], tokens[:, prefix:][:, kept]], 1)
                places = [places[i] for i in kept]
                left.append(places)
            tokens = tokens + block.ls2(block.mlp(block.norm2(tokens)))
        found.append(left)
    return found


@pytest.mark.parametrize("sharp", [1.0, 10.0])
@pytest.mark.parametrize("keep", KEEPS)
def test_the_highest_scores_are_exactly_who_is_left_after_three_gathers(
    model: Model, keep: float, sharp: float
) -> None:
    """Also where the last stage attends to few, so that most who stay get less than who left."""
    with torch.no_grad():
        x = models.images(4)
        model.module.blocks[3].attn.qkv.weight *= sharp
        scores, by_hand = nested_scores(model.module, x, keep), composed(model, x, keep)
        reducer = evit.reducer(selecting(keep), model.module)
        walked = walk.forward(model.module, x, reducer).state
    assert walked is not None
    count = walked.places.shape[1]
    kept = select_patches(scores, count)
    for image, left in enumerate(by_hand):
        assert kept[image].nonzero()[:, 0].tolist() == left[-1]
        assert walked.places[image].tolist() == left[-1]


@pytest.mark.parametrize("keep", KEEPS)
def test_the_whole_part_of_a_score_is_the_stage_at_which_a_patch_leaves(
    model: Model, keep: float
) -> None:
    with torch.no_grad():
        x = models.images(4)
        scores, by_hand = nested_scores(model.module, x, keep), composed(model, x, keep)
    for row, left in zip(scores, by_hand, strict=True):
        for place, score in enumerate(row.tolist()):
            stage = sum(place in there for there in left)
            assert stage <= score <= stage + 1
            if stage < len(left):
                assert score <= stage + 0.5, "who leaves has at most half of the attention"


def test_the_selectors_head_is_not_run(model: Model) -> None:
    x = models.images(4)
    with torch.no_grad():
        before = nested_scores(model.module, x, 0.75)
        for head in (model.module.head, model.module.fc_norm):
            for parameter in head.parameters():
                parameter.fill_(torch.nan)
        assert torch.equal(nested_scores(model.module, x, 0.75), before)


def test_broken_attention_is_seen_in_every_score(model: Model) -> None:
    with torch.no_grad():
        model.module.blocks[0].norm1.weight.fill_(torch.nan)
        assert nested_scores(model.module, models.images(4), 0.5).isnan().all(1).all()


@pytest.mark.parametrize(
    ("keep", "left"), [(0.95, 170), (0.9, 144), (0.85, 121), (0.8, 101), (0.75, 84), (1.0, 196)]
)
def test_as_many_are_left_of_196_as_in_the_released_code(keep: float, left: int) -> None:
    sizes = SimpleNamespace(patches=196, prefix=1, depth=12)
    assert survivors(keep, sizes) == left  # type: ignore[arg-type]
