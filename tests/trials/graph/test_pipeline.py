from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.arms import BY_NAME, MASKED, TICKETED, ArmName
from trials.config import TrialConfig
from trials.data.datasets import Counts
from trials.graph.pipeline import TrialGraph, pipeline
from trials.graph.sources import Sources
from trials.stage import Node, Source, closure
from trials.stages.probe import as_one_shot

ARMS: tuple[str, ...] = get_args(ArmName)
COUNTS = Counts(train=1000, validation=200, test=500, classes=10, channels=1)
WHOLE = Sources(Source("data", "d"), Source("weights", "w"), fresh_head=False, counts=COUNTS)
FRESH = Sources(Source("data", "d"), None, fresh_head=True, counts=COUNTS)
Graph = Callable[..., TrialGraph]

BASE = {"pretrained", "dense", "finetune", "profile", "final"}
PHASE1, PHASE2 = {"attention", "tickets"}, {"essential", "denoise", "issp"}
STAGES = {
    "dense": BASE,
    "tickets": BASE | PHASE1,
    "essential": BASE | {"essential"},
    "issp": BASE | PHASE2,
    "lotus": BASE | PHASE1 | PHASE2,
    "reduced": BASE,
    "random_tickets": BASE | PHASE1,
    "random_patches": BASE | PHASE1 | PHASE2,
    "random_mask": BASE | PHASE1 | {"control"},
    "magnitude": BASE | PHASE1 | {"control"},
}


def identity(node: Any) -> Any:
    """All that may tell two pieces of work apart, as a store would see it."""
    if isinstance(node, tuple):
        return tuple(identity(one) for one in node)
    if not isinstance(node, Node):
        return node
    inputs = tuple((name, identity(value)) for name, value in sorted(node.inputs.items()))
    return node.stage.name, node.config.model_dump_json(), node.seed, inputs


@pytest.fixture(scope="module")
def graph(tiny_trial: Callable[..., TrialConfig]) -> Graph:
    def make(sources: Sources = WHOLE, **changes: Any) -> TrialGraph:
        return pipeline(tiny_trial(**changes), sources)

    return make


def test_every_arm_is_described() -> None:
    assert set(ARMS) == STAGES.keys()


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_has_exactly_its_stages(graph: Graph, arm: str) -> None:
    made = graph(arm=arm)
    assert made.stages().keys() == STAGES[arm]
    needed = {id(node) for node in closure(made.final)}
    assert all(id(node) in needed for node in made.stages().values()), "a stage nobody needs"


@pytest.mark.parametrize("arm", ARMS)
def test_the_arms_inputs_of_the_recovery(graph: Graph, arm: str) -> None:
    made = graph(arm=arm)
    inputs = made.finetune.inputs
    patches = made.finetune.config.patches  # type: ignore[attr-defined]
    drawn = arm in ("random_patches", "random_tickets")
    expected = "random" if drawn else "ticket" if arm in TICKETED else "all"
    assert patches == expected
    assert inputs["tickets"] is made.tickets
    assert inputs["mask"] is made.mask
    assert inputs["model"] is (made.issp if arm in MASKED else made.dense)
    assert made.final.inputs["mask"] is made.mask
    assert made.final.inputs["tickets"] is made.tickets


AXES: dict[str, tuple[Any, Any]] = {
    "sparsity": (0.2, 0.3),
    "patch_drop": (0.1, 0.3),
    "mask_data_fraction": (0.1, 0.5),
    "tickets": ({"removal": "gather"}, {"removal": "zero"}),
    "issp": ({"merge": "vote_topk"}, {"merge": "mean_score_topk"}),
}
USES = {
    "dense": set(),
    "tickets": {"patch_drop", "tickets"},
    "essential": {"sparsity"},
    "issp": {"sparsity", "mask_data_fraction", "issp"},
    "lotus": set(AXES),
    "reduced": set(),
    "random_tickets": {"patch_drop", "tickets"},
    "random_patches": set(AXES),
    "random_mask": {"patch_drop", "tickets"},
    "magnitude": {"patch_drop", "tickets"},
}


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_ignores_the_axes_that_it_does_not_use(graph: Graph, arm: str, axis: str) -> None:
    a, b = (identity(graph(arm=arm, **{axis: value}).final) for value in AXES[axis])
    assert (a != b) == (axis in USES[arm])


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_depends_on_the_seed_and_the_data(graph: Graph, arm: str) -> None:
    moved = Sources(Source("data", "other"), WHOLE.weights, False, COUNTS)
    made = [graph(arm=arm), graph(arm=arm, seed=1), graph(moved, arm=arm)]
    assert len({identity(one.final) for one in made}) == 3


def test_no_two_arms_are_the_same_trial(graph: Graph) -> None:
    plain = [identity(graph(arm=arm, patch_drop=0.0).final) for arm in ARMS]
    assert len(set(plain)) == len(ARMS)


@pytest.mark.parametrize("name", ["pretrained", "dense", "attention", "tickets"])
def test_arms_share_what_they_have_in_common(graph: Graph, name: str) -> None:
    nodes = [getattr(graph(arm=arm), name) for arm in ARMS]
    assert len({identity(node) for node in nodes if node is not None}) == 1


@pytest.mark.parametrize("name", ["essential", "denoise", "issp"])
def test_lotus_shares_its_pruning_with_issp_whatever_patches_it_drops(
    graph: Graph, name: str
) -> None:
    made = graph(arm="lotus", patch_drop=0.5), graph(arm="issp")
    assert len({identity(getattr(one, name)) for one in made}) == 1


def test_the_merge_shares_the_candidates(graph: Graph) -> None:
    a, b = (graph(issp={"merge": merge}) for merge in ("vote_topk", "union_kept"))
    assert identity(a.denoise) == identity(b.denoise)
    assert identity(a.issp) != identity(b.issp)


def test_one_shot_levels_are_shared_by_all_fractions_and_drops(graph: Graph) -> None:
    a = graph(sparsity=0.2, mask_data_fraction=0.1, patch_drop=0.1)
    b = graph(sparsity=0.2, mask_data_fraction=1.0, patch_drop=0.5)
    assert identity(a.essential) == identity(b.essential)


def test_stages_without_randomness_are_shared_by_all_seeds(graph: Graph) -> None:
    a, b = (graph(seed=seed, dense={"epochs": 0}) for seed in (0, 1))
    for name in ("pretrained", "dense", "attention", "tickets", "essential", "profile"):
        assert identity(getattr(a, name)) == identity(getattr(b, name)), name
    for name in ("denoise", "issp", "finetune", "final"):
        assert identity(getattr(a, name)) != identity(getattr(b, name)), name


def test_random_weights_and_a_fresh_head_come_from_the_seed(graph: Graph) -> None:
    assert identity(graph(FRESH, seed=0).pretrained) != identity(graph(FRESH, seed=1).pretrained)
    assert graph(WHOLE).pretrained.seed is None


@pytest.mark.parametrize("weights", ["pretrained", "adapted"])
def test_the_chosen_weights_are_scored_and_read(graph: Graph, weights: str) -> None:
    made = graph(tickets={"weights": weights}, essential={"weights": weights})
    chosen = made.pretrained if weights == "pretrained" else made.dense
    assert made.attention is not None
    assert made.essential is not None
    assert made.attention.inputs["model"] is chosen
    assert made.essential.inputs["scored"] is chosen
    assert made.essential.inputs["model"] is made.dense


@pytest.mark.parametrize("arm", ARMS)
def test_the_recovery_starts_from_the_chosen_weights(graph: Graph, arm: str) -> None:
    made = graph(arm=arm, finetune={"weights": "pretrained"})
    assert made.finetune.inputs["model"] is made.pretrained
    fresh = graph(arm=arm, finetune={"weights": "random"}).finetune.inputs["model"]
    assert isinstance(fresh, Node)
    assert fresh.config.weights == "random"  # type: ignore[attr-defined]
    assert fresh.inputs["weights"] is None
    assert fresh.seed == 0


@pytest.mark.parametrize("distill", [0.0, 0.5])
def test_the_dense_model_teaches_only_when_it_is_asked(graph: Graph, distill: float) -> None:
    made = graph(finetune={"distill": distill})
    assert made.finetune.inputs["teacher"] is (made.dense if distill else None)


@given(rounds=st.integers(1, 5))
def test_every_round_starts_from_the_one_before(graph: Graph, rounds: int) -> None:
    made = graph(issp={"rounds": rounds})
    assert made.issp is not None
    nodes = closure(made.final)
    merges = [node for node in nodes if node.stage.name == "issp"]
    soups = [node for node in nodes if node.stage.name == "denoise"]
    assert len(merges) == len(soups) == rounds
    assert merges[-1] is made.issp
    assert merges[0].inputs["within"] is soups[0].inputs["within"] is None
    for before, soup, merge in zip(merges, soups[1:], merges[1:], strict=False):
        assert soup.inputs["within"] is merge.inputs["within"] is before
        assert merge.inputs["candidates"] is soup
    assert [node.config.round for node in merges] == list(range(1, rounds + 1))  # type: ignore[attr-defined]


@pytest.mark.parametrize("weights", ["current", "rewind", "ingredient_mean"])
def test_mean_weights_are_computed_only_when_they_are_used(graph: Graph, weights: str) -> None:
    made = graph(issp={"weights": weights}).denoise
    assert made is not None
    assert made.config.mean_weights == (weights == "ingredient_mean")  # type: ignore[attr-defined]


@pytest.mark.parametrize("arm", ["essential", "issp", "lotus", "random_patches"])
def test_auto_sparsity_is_read_off_the_one_shot_curve(graph: Graph, arm: str) -> None:
    levels = [0.1, 0.3, 0.5]
    made = graph(arm=arm, sparsity="auto", essential={"levels": levels})
    assert made.pick is not None
    assert made.essential is not None
    curve = made.pick.inputs["curve"]
    assert isinstance(curve, tuple)
    assert [node.config.sparsity for node in curve] == levels  # type: ignore[attr-defined]
    assert made.essential.inputs["picked"] is made.pick
    assert made.essential.config.sparsity is None  # type: ignore[attr-defined]
    by_hand = graph(arm=arm, sparsity=0.3)
    assert by_hand.pick is None
    assert identity(curve[1]) == identity(by_hand.essential), "the curve is shared with a grid"


def test_refinement_is_a_chain_of_probes_between_curve_and_pick(graph: Graph) -> None:
    levels = [0.1, 0.2, 0.5]
    made = graph(arm="lotus", sparsity="auto", essential={"levels": levels, "refine": 0.02})
    assert made.pick is not None
    curve, probes = made.pick.inputs["curve"], made.pick.inputs["probes"]
    assert isinstance(curve, tuple)
    assert isinstance(probes, tuple)
    halvings, looks = 4, 5  # 0.3 / 0.02 = 15 cells; half of 0.5 / 0.02 = 25, less levels, halvings
    assert len(probes) == halvings + looks
    for number, node in enumerate(probes):
        assert node.inputs["probes"] == probes[:number]
        assert node.inputs["curve"] == curve
        assert node.inputs["scored"] is curve[0].inputs["scored"]
        at_level = as_one_shot(node, 0.2)
        assert identity(at_level) == identity(curve[1]), "as if the level had been named"
    assert made.curve == (*curve, *probes)
    assert graph(sparsity=0.3, essential={"refine": 0.02}).curve == ()


def test_the_tolerance_and_the_levels_matter_only_to_auto(graph: Graph) -> None:
    for changes in ({"tolerance": 0.05}, {"levels": [0.2]}, {"refine": 0.05}):
        grid = {identity(graph(essential=e).final) for e in ({}, changes)}
        auto = {identity(graph(essential=e, sparsity="auto").final) for e in ({}, changes)}
        assert (len(grid), len(auto)) == (1, 2)


def test_after_finetune_brings_the_recipe_and_the_seed_into_the_curve(graph: Graph) -> None:
    plain = graph().essential
    recovered = graph(essential={"evaluate": "after_finetune"}).essential
    assert plain is not None
    assert recovered is not None
    assert (plain.seed, plain.config.epochs, plain.config.recipe) == (None, 0, None)  # type: ignore[attr-defined]
    assert (recovered.seed, recovered.config.epochs) == (0, 2)  # type: ignore[attr-defined]
    assert recovered.config.recipe.lr == 1e-3  # type: ignore[attr-defined]


@pytest.mark.parametrize("arm", ["random_mask", "magnitude"])
def test_a_control_follows_issp_where_its_sparsity_is_only_known_afterwards(
    graph: Graph, arm: str
) -> None:
    known = graph(arm=arm)
    assert known.control is not None
    assert known.control.config.sparsity == 0.5  # type: ignore[attr-defined]
    assert known.control.inputs["like"] is None
    for settings in ({"merge": "union_kept"}, {"sparsity_reference": "relative"}):
        made = graph(arm=arm, issp=settings)
        assert made.control is not None
        assert made.control.inputs["like"] is made.issp is not None
        assert made.control.config.sparsity is None  # type: ignore[attr-defined]
        assert made.mask is made.control
    seeds = {one.control.seed for one in (graph(arm=arm), graph(arm=arm, seed=1)) if one.control}
    assert seeds == ({0, 1} if arm == "random_mask" else {None})


def test_building_a_graph_runs_nothing(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trials.stage.Stage.__call__", lambda *a, **k: pytest.fail("a stage ran"))
    for arm in ARMS:
        for node in closure(graph(arm=arm, sparsity="auto").final):
            assert node.work_macs() >= 0


def test_the_estimate_grows_with_the_work_and_is_no_part_of_the_identity(graph: Graph) -> None:
    def work(**changes: Any) -> float:
        return graph(**changes).finetune.work_macs()

    assert work(finetune={"epochs": 4}) == pytest.approx(2 * work(finetune={"epochs": 2}))
    assert work(patch_drop=0.5) < work(patch_drop=0.0)
    assert work(patch_drop=0.5, tickets={"removal": "zero"}) == work(patch_drop=0.0)
    soups = [graph(issp={"ingredients": n}).denoise for n in (2, 4)]
    first, second = (node.work_macs() for node in soups if node is not None)
    assert second == pytest.approx(2 * first)


@pytest.mark.parametrize("criterion", ["wanda", "snip", "sparsegpt"])
def test_all_levels_share_one_calibration(graph: Graph, criterion: str) -> None:
    section = {"criterion": criterion, "levels": [0.1, 0.3], "weights": "pretrained"}
    made = graph(sparsity="auto", essential=section)
    assert made.calibrate is not None
    assert made.pick is not None
    curve = made.pick.inputs["curve"]
    assert isinstance(curve, tuple)
    for node in (*curve, made.essential):
        assert node is not None
        assert node.inputs["scores"] is made.calibrate
        assert node.config.criterion == criterion  # type: ignore[attr-defined]
    assert made.calibrate.inputs["scored"] is made.pretrained
    by_hand = graph(sparsity=0.3, essential=section)
    assert identity(by_hand.essential) == identity(curve[1])


@pytest.mark.parametrize("criterion", ["magnitude", "random", "lamp", "erk_magnitude"])
def test_a_criterion_of_weights_alone_has_no_calibration(graph: Graph, criterion: str) -> None:
    made = graph(essential={"criterion": criterion})
    assert made.calibrate is None
    assert made.essential is not None
    assert made.essential.inputs["scores"] is None
    assert made.essential.seed == (0 if criterion == "random" else None)
    other = graph(essential={"criterion": criterion, "calibration_images": 9})
    assert identity(made.final) == identity(other.final)


@pytest.mark.parametrize("arm", ARMS)
def test_only_arms_with_a_one_shot_mask_calibrate(graph: Graph, arm: str) -> None:
    made = graph(arm=arm, essential={"criterion": "wanda"})
    assert (made.calibrate is not None) == ("essential" in STAGES[arm])
    assert (made.stages().keys() - {"calibrate"}) == STAGES[arm]


@pytest.mark.parametrize("arm", ["random_mask", "magnitude"])
def test_the_controls_stay_what_they_are_whatever_the_criterion(graph: Graph, arm: str) -> None:
    plain = graph(arm=arm)
    for essential in ({"criterion": "wanda"}, {"scope": "layer"}, {"pattern": "2:4"}):
        assert identity(graph(arm=arm, essential=essential).final) == identity(plain.final)


def test_the_choice_of_images_brings_the_seed_unless_all_are_taken(graph: Graph) -> None:
    for images, seed in ((256, 3), (999, 3), (1000, None), (5000, None)):
        section = {"criterion": "snip", "calibration_images": images}
        made = graph(seed=3, essential=section, dense={"epochs": 0}).calibrate
        assert made is not None
        assert made.seed == seed
    whole = [
        graph(essential={"criterion": "snip", "calibration_images": images})
        for images in (1000, 5000)
    ]
    assert identity(whole[0].final) == identity(whole[1].final)


def test_gradients_cost_three_times_what_inputs_do(graph: Graph) -> None:
    def work(criterion: str) -> float:
        made = graph(essential={"criterion": criterion}).calibrate
        assert made is not None
        return made.work_macs()

    assert work("snip") == pytest.approx(3 * work("wanda"))
    assert work("wanda") > 0


OTHERS = {"data": "other_images", "weights": "current", "epochs": 2}


@pytest.mark.parametrize("arm", ARMS)
def test_with_the_other_images_every_arm_trains_on_the_same_ones(graph: Graph, arm: str) -> None:
    default = [graph(arm=arm, mask_data_fraction=f).finetune.config for f in (0.1, 0.5)]
    assert default[0] == default[1], "the default mode must not depend on the fraction"
    made = graph(arm=arm, finetune=OTHERS, mask_data_fraction=0.5).finetune
    assert made.config.other_than == 0.5  # type: ignore[attr-defined]
    assert made.config.patches == "all"  # type: ignore[attr-defined]
    assert made.inputs["tickets"] is None
    assert made.seed == 0, "the fraction is drawn from the seed of the soup"
    a, b = (graph(arm=arm, finetune=OTHERS, mask_data_fraction=f).final for f in (0.1, 0.5))
    assert identity(a) != identity(b)


def test_the_other_images_are_as_many_as_are_left(graph: Graph) -> None:
    works = [
        graph(arm="dense", finetune=OTHERS, mask_data_fraction=f).finetune.work_macs()
        for f in (0.2, 0.6, 0.4)
    ]
    assert works[1] < works[2] < works[0] < graph(arm="dense").finetune.work_macs()
    assert works[0] - works[2] == pytest.approx(works[2] - works[1])


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("weights", ["pretrained", "adapted"])
def test_online_selection_reads_the_scoring_model_where_tickets_train(
    graph: Graph, arm: str, weights: str
) -> None:
    section = {"selection": "online", "score": "rollout", "weights": weights, "select": "lowest"}
    made = graph(arm=arm, tickets=section)
    cfg, scorer = made.finetune.config, made.finetune.inputs["scorer"]
    if arm not in TICKETED or BY_NAME[arm].patches == "random":
        assert (cfg.online, scorer) == (None, None)  # type: ignore[attr-defined]
        return
    assert cfg.online.identity() == {  # type: ignore[attr-defined]
        "score": "rollout", "block": -1, "sink": "cls_mean", "select": "lowest", "scope": "image",
    }  # fmt: skip
    assert made.attention is not None
    assert scorer is made.attention.inputs["model"]
    static = graph(arm=arm, tickets=section | {"selection": "static"})
    assert identity(made.tickets) == identity(static.tickets), "the test images keep their tickets"
    assert made.finetune.work_macs() > static.finetune.work_macs()
    assert static.finetune.inputs["scorer"] is None


@pytest.mark.parametrize("arm", ARMS)
def test_only_a_global_threshold_brings_the_tickets_into_the_profile(
    graph: Graph, arm: str
) -> None:
    plain, spread = graph(arm=arm), graph(arm=arm, tickets={"scope": "global"})
    assert plain.profile.inputs.keys() == {"data"}
    assert spread.profile.inputs.get("tickets") is spread.tickets
    assert (identity(plain.final) != identity(spread.final)) == (arm in TICKETED)
