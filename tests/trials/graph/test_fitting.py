from collections.abc import Callable
from typing import Any

import pytest

from tests.trials.models import MODELS, config
from trials.config import TrialConfig
from trials.data.datasets import Counts
from trials.errors import ModelError
from trials.graph.execute import run_trial
from trials.graph.fitting import fitted, misfits, model_of, require
from trials.graph.pipeline import pipeline
from trials.graph.sources import Sources
from trials.stage import Source

DIGITS = Counts(train=100, validation=40, test=40, classes=10, channels=1)
Make = Callable[..., TrialConfig]


@pytest.fixture
def trial(tiny_trial: Make) -> Make:
    """A trial of a kind of model; keyword arguments replace whole sections."""

    def make(kind: str = "vit", extra: dict[str, Any] | None = None, **changes: Any) -> TrialConfig:
        return tiny_trial(model=config(kind, **(extra or {})), **changes)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_the_score_follows_the_model_where_nobody_wrote_one(kind: str, trial: Make) -> None:
    plain = trial(kind)
    found = fitted(plain, DIGITS)
    assert plain.tickets.score is None
    assert found.tickets.score == ("cls" if MODELS[kind].class_token else "received")
    assert fitted(found, DIGITS) is found
    assert not list(misfits(plain, ["lotus"], DIGITS))
    for score in ("cls", "rollout", "received"):
        written = trial(kind, tickets={"score": score, "sink": "none"})
        assert fitted(written, DIGITS) is written


def test_the_first_register_is_no_class_token_whose_attention_is_evened_out(trial: Make) -> None:
    sinks = {kind: fitted(trial(kind), DIGITS).tickets.sink for kind in MODELS}
    assert {kind for kind, sink in sinks.items() if sink == "none"} == {"reg-gap", "differential"}
    other = trial("reg-gap", tickets={"sink": "outlier_mean"})
    assert fitted(other, DIGITS).tickets.sink == "outlier_mean"


def test_stages_read_the_score_that_follows_and_their_keys_say_so(trial: Make) -> None:
    def attention(kind: str, **tickets: Any) -> dict[str, Any]:
        sources = Sources(Source("data", "0" * 64), None, True, DIGITS)
        node = pipeline(trial(kind, tickets=tickets), sources).attention
        assert node is not None
        return node.config.identity()

    usual = {"score": "cls", "block": -1, "sink": "cls_mean"}
    assert attention("vit") == attention("vit", score="cls") == usual
    assert attention("siglip") == usual | {"score": "received"}
    assert attention("reg-gap") == usual | {"score": "received", "sink": "none"}
    kind = {"score": "received", "sink": "none", "attention": "differential"}
    assert attention("differential") == usual | kind


def test_only_what_the_formula_never_said_has_its_macs_in_the_key(trial: Make) -> None:
    def profile(kind: str) -> dict[str, Any]:
        sources = Sources(Source("data", "0" * 64), None, True, DIGITS)
        node = pipeline(trial(kind), sources).profile
        assert node is not None
        return node.config.model_dump()

    assert "counted" not in profile("vit")
    assert "counted" not in profile("reg-gap")
    assert profile("siglip")["counted"]
    assert profile("dinov2-swiglu")["counted"]


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "too few classes": (
        {"extra": {"num_classes": 5}},
        "model.kwargs.num_classes",
        "has 10 classes",
    ),
    "three channels": ({"extra": {"in_chans": 3}}, "model.kwargs.in_chans", "have 1 channel;"),
    "class-token score without one": (
        {"kind": "reg-gap", "tickets": {"score": "cls"}},
        "tickets.score",
        "write received",
    ),
    "rollout without a class token": (
        {"kind": "siglip", "tickets": {"score": "rollout"}},
        "tickets.score",
        "write received",
    ),
    "rollout of differences": (
        {"kind": "differential-parallel-things", "tickets": {"score": "rollout"}},
        "tickets.score",
        "may be negative",
    ),
    "no such block": ({"tickets": {"block": 2}}, "tickets.block", "has blocks 0 to 1"),
    "no such block from the end": ({"tickets": {"block": -3}}, "tickets.block", "blocks 0 to 1"),
    "a pool that sees equal counts only": (
        {"extra": {"global_pool": "prr"}, "tickets": {"scope": "global"}},
        "tickets.scope",
        "write image",
    ),
    "hidden patches in a model that drops some": (
        {"extra": {"patch_drop_rate": 0.5}, "tickets": {"removal": "attention_mask"}},
        "model.kwargs.patch_drop_rate",
        "remove it",
    ),
    "gathered patches in an Eva that drops some": (
        {"kind": "eva02", "extra": {"patch_drop_rate": 0.5}},
        "model.kwargs.patch_drop_rate",
        "remove it",
    ),
    "an odd width": (
        {"extra": {"embed_dim": 34}, "essential": {"pattern": "2:4"}, "sparsity": 0.5},
        "essential.pattern",
        "has 34 inputs, which do not divide into groups of 4",
    ),
}


@pytest.mark.parametrize(("settings", "setting", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_said_before_anything_runs(
    trial: Make, settings: dict[str, Any], setting: str, message: str
) -> None:
    wrong = trial(**settings)
    found = list(misfits(wrong, ["lotus"], DIGITS))
    assert [name for name, _ in found] == [setting]
    assert message in found[0][1]
    with pytest.raises(ModelError, match=message):
        require(wrong, DIGITS)
    with pytest.raises(ModelError, match=message):
        run_trial(wrong)


def test_what_an_arm_does_not_use_is_no_misfit(trial: Make) -> None:
    for name in ("class-token score without one", "no such block", "an odd width"):
        settings, _, _ = WRONG[name]
        assert not list(misfits(trial(**settings), ["dense"], DIGITS))


def test_one_mean_for_all_channels_or_one_each(trial: Make) -> None:
    coloured = Counts(train=1, validation=1, test=1, classes=10, channels=3)

    def of(mean: tuple[float, ...]) -> TrialConfig:
        model = config("vit", in_chans=3).model_copy(update={"mean": mean})
        return trial().model_copy(update={"model": model})

    assert not list(misfits(of((0.5,)), ["dense"], coloured))
    assert not list(misfits(of((0.5, 0.4, 0.3)), ["dense"], coloured))
    ((setting, message),) = misfits(of((0.5, 0.4)), ["dense"], coloured)
    assert (setting, message) == (
        "model.mean",
        ": 2 values; write 3, one per channel, or one for all",
    )


def test_a_model_gets_the_classes_and_channels_of_the_data(trial: Make) -> None:
    plain = trial()
    del plain.model.kwargs["in_chans"]
    found = model_of(plain, Counts(train=1, validation=1, test=1, classes=7, channels=2))
    assert (found.logits, found.channels) == (7, 2)
