from typing import get_args

import pytest
import torch

from tests.trials.reduction.models import build, settings
from trials.errors import ModelError
from trials.model import vit
from trials.reduction import REDUCERS, attach, reducer_of
from trials.reduction.config import Method
from trials.sparsity.masks import prunable


def test_every_method_has_a_reducer() -> None:
    assert set(REDUCERS) == set(get_args(Method)) - {"none"}


def test_only_dynamicvit_adds_weights() -> None:
    for method in get_args(Method):
        model = build()
        before = set(model.state_dict())
        attach(settings(method), model, seed=0)
        added = set(model.state_dict()) - before
        assert bool(added) == (method == "dynamicvit")
        assert all(name.startswith("reducer.") for name in added)


def test_no_mask_sees_a_predictor() -> None:
    kwargs = {
        "img_size": 8,
        "patch_size": 2,
        "in_chans": 1,
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
    }
    cfg = vit.ModelConfig(name="vit_tiny_patch16_224", pretrained=False, kwargs=kwargs)
    plain = vit.create(cfg, classes=10, channels=1, seed=3)
    reduced = vit.reducing(plain, settings("dynamicvit"), seed=0)
    assert any(name.startswith("reducer.") for name in reduced.state)
    assert list(prunable(plain)) == list(prunable(reduced))


def test_predictors_are_in_the_models_mode_and_move_with_it() -> None:
    model = build().train()
    attach(settings("dynamicvit"), model, seed=0)
    assert model.reducer.training
    assert not model.eval().reducer.training
    assert {p.dtype for p in model.to(torch.float64).reducer.parameters()} == {torch.float64}


def test_a_reducer_is_refused_as_its_method_is() -> None:
    model = build(class_token=False, global_pool="avg")
    for call in (
        lambda: reducer_of(settings("evit"), model),
        lambda: attach(settings("evit"), model, seed=0),
    ):
        with pytest.raises(ModelError, match="reads the class token"):
            call()
    assert reducer_of(settings("none"), model) is None
