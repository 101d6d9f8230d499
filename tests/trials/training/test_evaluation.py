from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trials.context import Context
from trials.data.datasets import Dataset
from trials.errors import StageInputError
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.training.evaluation import evaluate


def test_evaluation_counts_what_the_model_gets_right_in_order(
    small: Dataset, checkpoint: Checkpoint, cpu: torch.device, ctx: Context
) -> None:
    model = Model.of(checkpoint, cpu)
    with torch.no_grad():
        logits = model.module(model.inputs(torch.tensor(small.train.images)))
    labels = torch.tensor(small.train.labels)
    outcomes = evaluate(model, small, "train", ctx)
    assert torch.equal(outcomes.correct, logits.argmax(1) == labels)
    assert outcomes.accuracy == float((logits.argmax(1) == labels).double().mean())
    assert outcomes.loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-5)


def test_evaluation_in_batches_equals_evaluation_at_once(
    small: Dataset,
    checkpoint: Checkpoint,
    cpu: torch.device,
    ctx: Context,
    ticket: Tensor,
) -> None:
    model = Model.of(checkpoint, cpu)
    once = evaluate(model, small, "train", ctx, ticket)
    parts = evaluate(model, small, "train", Context(micro_batch=7), ticket)
    assert torch.equal(once.correct, parts.correct)
    assert once.loss == pytest.approx(parts.loss, rel=1e-5)
    whole = evaluate(model, small, "train", ctx)
    assert whole.loss != once.loss, "the ticket must change what the model sees"


def test_a_model_that_is_not_finite_is_refused_with_what_to_lower(
    small: Dataset, checkpoint: Checkpoint, cpu: torch.device, ctx: Context
) -> None:
    model = Model.of(checkpoint, cpu)
    with torch.no_grad():
        model.module.head.bias[3] = torch.nan
    with pytest.raises(StageInputError, match=r"loss on the test images is nan.*Lower the `lr`"):
        evaluate(model, small, "test", ctx)


def test_evaluation_in_bfloat16_is_the_model_under_autocast(
    small: Dataset, checkpoint: Checkpoint, cpu: torch.device, ctx: Context
) -> None:
    arch = replace(checkpoint.arch, eval_precision="bfloat16")
    model = Model.of(replace(checkpoint, arch=arch), cpu)
    labels = torch.tensor(small.train.labels)
    with torch.no_grad():
        inputs = model.inputs(torch.tensor(small.train.images))
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.module(inputs).float()
    found = evaluate(model, small, "train", ctx)
    assert torch.equal(found.correct, logits.argmax(1) == labels)
    assert found.loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-6)
    exact = evaluate(Model.of(checkpoint, cpu), small, "train", ctx)
    assert found.loss != exact.loss
    assert found.loss == pytest.approx(exact.loss, rel=0.02)
