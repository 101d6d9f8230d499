from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan
from orchestrator.planning.problems import SweepError

Tiny = Callable[..., SweepConfig]


def problems(sweep: SweepConfig) -> list[str]:
    with pytest.raises(SweepError) as caught:
        plan(sweep)
    return [str(problem) for problem in caught.value.problems]


def test_every_misfit_of_a_sweep_is_said_at_once_and_once(tiny: Tiny) -> None:
    found = problems(
        tiny(
            "search: {arm: [lotus, dense], tickets.block: [-1, 7, 9]}\n",
            "model.kwargs.num_classes=3",
        )
    )
    assert len(found) == 3
    assert found[0].startswith("model.kwargs.num_classes = 3: the data has 10 classes")
    assert [text.split(":")[0] for text in found[1:]] == [
        "search.tickets.block = 7",
        "search.tickets.block = 9",
    ]


def test_a_setting_is_a_problem_only_where_an_arm_reads_it(tiny: Tiny) -> None:
    assert plan(tiny("search: {arm: [dense]}\n", "tickets.block=7")).trials
    assert problems(tiny("search: {arm: [tickets]}\n", "tickets.block=7"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet18", "is a resnet of timm"),
        ("vit_tiny_r_s16_p8_224", "a dropped patch would still be seen"),
        ("vit_small_patch16_224.nonsense", "no weights nonsense"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_by_plan_in_one_line(
    lotus: Callable[..., tuple[int, str, str]],
    sweep_file: Callable[..., Path],
    name: str,
    said: str,
) -> None:
    code, _, shown = lotus("plan", str(sweep_file()), "--set", f"model.name={name}")
    title, problem = shown.strip().splitlines()
    assert code == 2
    assert title.endswith(": 1 problem")
    assert said in problem


def test_a_plan_shows_the_score_that_follows_from_the_model(tiny: Tiny) -> None:
    (trial,) = plan(tiny("search: {arm: [tickets]}\n")).trials
    assert trial.config.tickets.score == "cls"
    gap = ("model.kwargs.class_token=false", "model.kwargs.global_pool=avg")
    (trial,) = plan(tiny("search: {arm: [tickets]}\n", *gap)).trials
    assert trial.config.tickets.score == "received"


def test_rounds_that_train_for_too_long_are_refused_at_the_level_that_has_most(tiny: Tiny) -> None:
    section = (
        "issp={preset: progressive, start: adapted, target_sparsity: 0.8, train_fraction: 0.4}"
    )
    long = tiny(
        "", section, "finetune.epochs=10", "search.sparsity=[0.0, 0.7]", "search.arm=[issp]"
    )
    (found,) = problems(long)
    assert found.startswith("issp: round ")
    assert "of 10 leaves no step for fine-tuning: the rounds train " in found
    assert found.endswith("raise finetune.epochs or lower issp.train_fraction")
    short = tiny("", section, "finetune.epochs=10", "search.sparsity=[0.7]", "search.arm=[issp]")
    assert plan(short).trials, "two rounds are enough from 0.7"


def test_pretrained_weights_with_a_fresh_head_are_not_looked_at_as_they_are(
    tiny: Tiny, tmp_path: Path
) -> None:
    from trials.formats import save_checkpoint
    from trials.model import vit

    model = tiny().model.model_copy(update={"pretrained": False})
    made = vit.create(model, classes=10, channels=1, seed=0)
    save_checkpoint(made.state, tmp_path / "own.safetensors", {})
    headless = {n: t for n, t in made.state.items() if not n.startswith("head.")}
    save_checkpoint(headless, tmp_path / "fresh.safetensors", {})

    def sweep(file: str, evaluate: str) -> SweepConfig:
        section = f"essential={{start: pretrained, evaluate: {evaluate}}}"
        return tiny("", f"model.pretrained={tmp_path / file}", section)

    (found,) = problems(sweep("fresh.safetensors", "one_shot"))
    assert found == (
        "essential.start = pretrained with evaluate: one_shot and a fresh head compares random "
        "outputs: write evaluate: after_finetune"
    )
    assert plan(sweep("own.safetensors", "one_shot")).trials
    assert plan(sweep("fresh.safetensors", "after_finetune")).trials
