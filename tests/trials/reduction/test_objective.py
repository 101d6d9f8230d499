import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.trials.reduction.models import settings
from trials.reduction.objective import (
    Losses,
    ratio_loss,
    teacher_loss,
    token_loss,
    wanted_shares,
)

DRAW = torch.Generator().manual_seed(0)
OWN, TEACHER = torch.randn(2, 4, 6, generator=DRAW), torch.randn(2, 4, 6, generator=DRAW)
KEPT = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0]])


def test_the_ratio_loss_is_zero_only_where_every_image_keeps_its_share() -> None:
    even = torch.tensor([[1.0, 1, 0, 0], [0, 1, 0, 1]])
    uneven = torch.tensor([[1.0, 1, 1, 0], [0, 1, 0, 0]])
    assert ratio_loss([even], [0.5]).item() == 0
    assert ratio_loss([uneven], [0.5]).item() == pytest.approx(0.0625)
    assert ratio_loss([even, uneven], [0.5, 0.5]).item() == pytest.approx(0.03125)
    assert ratio_loss([even], [0.4]).item() == pytest.approx(0.01)


@given(st.floats(0.1, 1.0), st.integers(1, 64))
def test_wanted_shares_are_of_what_the_counts_are_of(keep: float, entered: int) -> None:
    published = settings("dynamicvit", keep=keep)
    assert wanted_shares(published, stages=3, whole=64, entered=64) == [
        keep ** (stage + 1) for stage in range(3)
    ]
    entering = published.resolved(tickets=True)
    assert wanted_shares(entering, stages=2, whole=64, entered=entered) == [keep, keep**2]
    capped = wanted_shares(published, stages=1, whole=64, entered=entered)
    assert capped[0] == pytest.approx(min(1.0, keep * 64 / entered))
    assert capped[0] <= 1


def test_the_token_loss_is_that_of_the_kept_tokens() -> None:
    squares = (OWN - TEACHER).square()
    chosen = [squares[0, 0], squares[0, 2], squares[1, 1]]
    mean = token_loss(settings("dynamicvit"), OWN, TEACHER, KEPT)
    torch.testing.assert_close(mean, torch.stack(chosen).mean())
    total = token_loss(settings("dynamicvit", token_reduce="sum"), OWN, TEACHER, KEPT)
    torch.testing.assert_close(total, torch.stack(chosen).sum(-1).mean())
    found = token_loss(settings("dynamicvit", token_loss="kl"), OWN, TEACHER, KEPT)
    pairs = [(OWN[0, 0], TEACHER[0, 0]), (OWN[0, 2], TEACHER[0, 2]), (OWN[1, 1], TEACHER[1, 1])]
    by_hand = [(t.softmax(-1) * (t.log_softmax(-1) - o.log_softmax(-1))).sum() for o, t in pairs]
    torch.testing.assert_close(found, torch.stack(by_hand).mean())


def test_without_a_kept_token_the_token_loss_is_zero_and_has_a_gradient() -> None:
    for kind in ("mse", "kl"):
        own = OWN.clone().requires_grad_(True)
        loss = token_loss(settings("dynamicvit", token_loss=kind), own, TEACHER, 0 * KEPT)
        loss.backward()
        assert loss.item() == 0
        assert own.grad is not None
        assert not own.grad.any()


def test_teacher_and_decision_get_no_gradient() -> None:
    own, teacher = OWN.clone().requires_grad_(True), TEACHER.clone().requires_grad_(True)
    kept = KEPT.clone().requires_grad_(True)
    token_loss(settings("dynamicvit"), own, teacher, kept).backward()
    teacher_loss(own[:, 0], teacher[:, 0]).backward()
    assert own.grad is not None
    assert teacher.grad is None
    assert kept.grad is None


def test_the_teacher_loss_is_a_divergence_per_image() -> None:
    logits, target = OWN[:, 0], TEACHER[:, 0]
    by_hand = (target.softmax(-1) * (target.log_softmax(-1) - logits.log_softmax(-1))).sum() / 2
    torch.testing.assert_close(teacher_loss(logits, target), by_hand)
    assert teacher_loss(logits, logits).item() == pytest.approx(0, abs=1e-6)


def test_the_parts_are_weighted_as_written() -> None:
    parts = Losses(*torch.tensor([1.0, 10.0, 100.0, 1000.0]))
    assert parts.total(settings("dynamicvit")).item() == 1 + 5 + 50 + 2000
    written = settings("dynamicvit", teacher_weight=0, token_weight=2, ratio_weight=1)
    assert parts.total(written).item() == 1 + 200 + 1000
    assert F.relu(parts.ratio) == 1000
