from collections.abc import Callable
from typing import Any

import pytest
import torch

from trials.context import Context
from trials.data.datasets import Dataset
from trials.errors import ModelError, StageInputError
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.stages.attention import AttentionConfig, PatchScores, attention
from trials.stages.pretrained import Pretrained
from trials.tokens import tickets


@pytest.fixture
def run(small: Dataset, ctx: Context, checkpoint: Checkpoint) -> Callable[..., PatchScores]:
    def score(of: Checkpoint = checkpoint, **cfg: Any) -> PatchScores:
        settings = AttentionConfig.model_validate(cfg)
        return attention(settings, ctx, data=small, model=Pretrained(of))

    return score


@pytest.mark.parametrize("score", ["cls", "rollout", "received"])
@pytest.mark.parametrize("sink", ["none", "cls_mean", "outlier_mean"])
def test_every_patch_of_every_image_gets_a_share_of_attention(
    run: Callable[..., PatchScores], score: str, sink: str
) -> None:
    found = run(score=score, sink=sink)
    for scores, count in ((found.train, 100), (found.validation, 40), (found.test, 40)):
        assert scores.shape == (count, 16)
        assert scores.dtype == torch.float32
        assert bool((scores > 0).all())
        assert bool((scores.sum(1) <= 1 + 1e-5).all())


def test_the_default_reads_the_class_token_in_the_last_block(
    run: Callable[..., PatchScores], small: Dataset, checkpoint: Checkpoint, cpu: torch.device
) -> None:
    model = Model.of(checkpoint, cpu)
    x = model.inputs(torch.tensor(small.test.images))
    with torch.no_grad():
        (attn,) = model.attention(x, [1])
    expected = tickets.fix_sink(attn, "cls_mean").mean(1)[:, 0, 1:]
    torch.testing.assert_close(run().test, expected)
    assert not torch.equal(run(block=0).test, run(block=1).test)
    assert torch.equal(run(block=-1).test, run(block=1).test)


def test_scores_do_not_depend_on_the_batch(
    run: Callable[..., PatchScores], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(score="rollout")
    monkeypatch.setattr("trials.stages.attention.SCORE_BATCH", 7)
    torch.testing.assert_close(run(score="rollout").train, whole.train)


def test_a_model_without_a_class_token_offers_received_only(
    run: Callable[..., PatchScores], make_checkpoint: Callable[..., Checkpoint]
) -> None:
    without = make_checkpoint(global_pool="avg", class_token=False)
    with pytest.raises(StageInputError, match="write `score: received`"):
        run(without)
    found = run(without, score="received")
    torch.testing.assert_close(found.train.sum(1), torch.ones(100))
    assert torch.equal(found.train, run(without, score="received", sink="none").train)


def test_a_block_that_is_not_there_is_refused(run: Callable[..., PatchScores]) -> None:
    with pytest.raises(ModelError, match=r"tickets\.block = 5"):
        run(block=5)
