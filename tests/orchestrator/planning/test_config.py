"""Sweep files: what they mean, what they expand to, and that nothing else can come out."""

import copy
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.planning.assuming import Assuming
from orchestrator.planning.config import SweepConfig, flat
from orchestrator.planning.naming import trial_name, used_axes
from orchestrator.planning.plan import plan
from orchestrator.planning.problems import SweepError
from orchestrator.planning.sweepfile import bundled, load_sweep, resolved_yaml

Tiny = Callable[..., SweepConfig]

INTERFACE = """\
name: cifar10-vit-small
experiment: lotus
data: {name: cifar10, root: ../shared/data, validation: 5000, validation_from: train}
model: {name: vit_small_patch16_224, pretrained: true, kwargs: {}}
dense:     {epochs: 8, lr: 2.0e-5, batch_size: 64}
tickets:   {score: cls, block: -1, sink: cls_mean, removal: gather}
essential: {tolerance: 0.01, evaluate: one_shot, detector: first_violation}
issp:      {ingredients: 5, steps: 50, merge: vote_topk, target_sparsity: 0.5, rounds: 1}
finetune:  {epochs: 5}
search:
  method: grid
  sparsity: [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]
  patch_drop: [0.0, 0.1, 0.3]
  mask_data_fraction: [0.1, 0.3, 1.0]
  arm: [lotus]
  seed: [0, 1, 2]
resources: {cpu: 1, gpu: 0}
retry: {max_failures: 3}
retention: {checkpoints: best}
tracking: {uri: sqlite:///lotus/mlflow.db}
storage: {path: lotus/store}
"""


def points(sweep: SweepConfig) -> list[dict[str, Any]]:
    """Every point of a sweep."""
    return [point for _, point in sweep.trials()]


def test_the_file_of_the_interface_loads_and_expands(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(INTERFACE)
    sweep = load_sweep(path)
    assert (sweep.name, sweep.experiment_name) == ("cifar10-vit-small", "lotus")
    assert len(points(sweep)) == 7 * 3 * 3 * 3
    assert sweep.storage.path == str(Path("lotus/store").absolute())
    assert sweep.tracking.uri == f"sqlite:///{Path('lotus/mlflow.db').absolute()}"


def test_the_defaults_are_one_lotus_trial(tiny: Tiny) -> None:
    sweep = tiny()
    ((trial, point),) = sweep.trials()
    assert point == {
        "sparsity": 0.3, "patch_drop": 0.1, "mask_data_fraction": 0.1, "arm": "lotus", "seed": 0,
    }  # fmt: skip
    assert (trial.arm, trial.sparsity, trial.seed) == ("lotus", 0.3, 0)
    assert trial.issp == sweep.issp
    assert sweep.experiment_name == "tiny"


def test_an_override_sets_one_value_and_leaves_the_rest(tiny: Tiny) -> None:
    plain, changed = tiny(), tiny("", "finetune.lr=0.5", "search.seed=[3, 4]", "search.arm=issp")
    assert changed.finetune.lr == 0.5
    assert changed.finetune.epochs == plain.finetune.epochs == 2
    assert [(p["arm"], p["seed"]) for p in points(changed)] == [("issp", 3), ("issp", 4)]
    assert changed.dense == plain.dense


def test_an_override_can_add_a_dotted_axis(tiny: Tiny) -> None:
    sweep = tiny("", "search.issp.merge=[vote_topk, majority]")
    assert [t.issp.merge for t, _ in sweep.trials()] == ["vote_topk", "majority"]


def test_the_last_of_two_overrides_counts(tiny: Tiny) -> None:
    assert tiny("", "dense.lr=0.1", "dense.lr=0.2").dense.lr == 0.2


def test_one_block_and_a_list_of_it_are_the_same(tiny: Tiny) -> None:
    block = "{sparsity: [0.1, 0.2], arm: [essential, lotus], seed: 1}"
    assert points(tiny(f"search: {block}\n")) == points(tiny(f"search: [{block}]\n"))


def test_a_list_of_blocks_is_their_union(tiny: Tiny) -> None:
    sweep = tiny("search: [{seed: [0, 1]}, {seed: [1, 2], issp.merge: [majority]}]\n")
    found = [(t.seed, t.issp.merge) for t, _ in sweep.trials()]
    assert found == [(0, "vote_topk"), (1, "vote_topk"), (1, "majority"), (2, "majority")]
    assert sweep.axes["seed"] == [0, 1, 2]
    assert sweep.axes["issp.merge"] == ["majority"]


def test_dotted_axes_reach_nested_keys(tiny: Tiny) -> None:
    sweep = tiny("search: {model.kwargs.depth: [1, 2], issp.spread: [[0.5, 2.0]]}\n")
    depths = [(t.model.kwargs["depth"], t.issp.spread) for t, _ in sweep.trials()]
    assert depths == [(1, (0.5, 2.0)), (2, (0.5, 2.0))]
    assert all(t.model.kwargs["embed_dim"] == 16 for t, _ in sweep.trials())


def test_auto_stands_beside_numbers(tiny: Tiny) -> None:
    assert [p["sparsity"] for p in points(tiny("search: {sparsity: [auto, 0.2]}\n"))] == [
        "auto",
        0.2,
    ]
    assert [p["sparsity"] for p in points(tiny("search: {sparsity: auto}\n"))] == ["auto"]


def test_a_level_above_the_target_is_fine_where_nothing_follows_it(tiny: Tiny) -> None:
    assert len(points(tiny("search: {arm: [essential], sparsity: [0.9]}\n"))) == 1
    relative = "search: {issp.sparsity_reference: [relative], sparsity: [0.9]}\n"
    assert len(points(tiny(relative))) == 1


@pytest.mark.parametrize(("small", "large"), [(1, 2), (3, 7), (7, 12), (12, 99)])
def test_a_larger_random_sample_contains_every_smaller_one(
    small: int, large: int, tiny: Tiny
) -> None:
    block = (
        "search: {{method: random, samples: {}, seed: [0, 1, 2], patch_drop: [0, 0.1, 0.2, 0.3]}}\n"
    )
    a, b = points(tiny(block.format(small))), points(tiny(block.format(large)))
    assert len(a) == min(small, 12)
    assert len(b) == min(large, 12)
    assert b[: len(a)] == a
    assert len({tuple(p.values()) for p in b}) == len(b)


def test_random_draws_differ_by_their_seed_only(tiny: Tiny) -> None:
    block = "search: {{method: random, samples: 4, sampling_seed: {}, seed: [0, 1, 2, 3, 4, 5]}}\n"
    first, again, other = (points(tiny(block.format(seed))) for seed in (0, 0, 1))
    assert first == again != other


def test_yaml_merging_shares_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "name: m\ndata: {name: digits}\nmodel: {name: vit_tiny_patch16_224, pretrained: false}\n"
        "tickets: {weights: adapted}\ndense: &recipe {lr: 0.5, flip: true}\n"
        "finetune: {<<: *recipe, weights: current, lr: 0.25}\n"
    )
    sweep = load_sweep(path)
    assert (sweep.dense.lr, sweep.finetune.lr, sweep.finetune.flip) == (0.5, 0.25, True)


def test_names_are_those_of_the_interface(tiny: Tiny) -> None:
    sweep = tiny(
        "search:\n"
        "  - {arm: [lotus, dense, tickets, essential, issp, magnitude], sparsity: [0.3]}\n"
        "  - {sparsity: [auto, 0.125], patch_drop: 0.0, seed: 7, issp.merge: [union_kept]}\n"
        "  - {arm: [magnitude], issp.sparsity_reference: [relative]}\n"
    )
    assert [trial_name(used_axes(t, p), sweep) for t, p in sweep.trials()] == [
        "lotus-s0.30-d0.10-f0.10-seed0",
        "dense-seed0",
        "tickets-d0.10-seed0",
        "essential-s0.30-seed0",
        "issp-s0.30-f0.10-seed0",
        "magnitude-d0.10-seed0",
        "lotus-sauto-d0.00-f0.10-seed7-issp.merge=union_kept",
        "lotus-s0.125-d0.00-f0.10-seed7-issp.merge=union_kept",
        "magnitude-s0.30-d0.10-f0.10-seed0-issp.sparsity_reference=relative",
    ]


ALL_ARMS = "[dense, tickets, essential, issp, lotus, random_patches, random_mask, magnitude]"


def test_an_arm_ignores_the_axes_that_it_does_not_use(tiny: Tiny) -> None:
    planned = plan(
        tiny(
            f"search: {{arm: {ALL_ARMS}, sparsity: [0.1, 0.2], patch_drop: [0.1, 0.2, 0.3], "
            "mask_data_fraction: [0.1, 0.2, 0.3, 0.4], seed: [0, 1]}\n"
        )
    )
    per_seed = Counter(t.config.arm for t in planned.trials if t.config.seed == 0)
    assert per_seed == {
        "dense": 1, "tickets": 3, "essential": 2, "issp": 2 * 4, "lotus": 2 * 3 * 4,
        "random_patches": 2 * 3 * 4, "random_mask": 3, "magnitude": 3,
    }  # fmt: skip
    assert len(planned.trials) == 2 * sum(per_seed.values())
    names = [t.name for t in planned.trials]
    assert len(set(names)) == len(names)
    assert len({t.key for t in planned.trials}) == len(names)
    dense = next(t for t in planned.trials if t.config.arm == "dense")
    assert dense.axes == {"arm": "dense", "seed": 0}


@pytest.mark.parametrize("name", sorted(bundled()))
def test_the_bundled_sweeps_load_and_plan_wherever_somebody_is(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = load_sweep(name)
    assert sweep.name == name
    find = Assuming()
    planned = plan(sweep, find=find)
    assert (find.said == []) == (name == "digits")
    assert len(planned.trials) == len({t.name for t in planned.trials}) >= 8
    assert set(planned.shared) < set(planned.nodes)


BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_sweeps_of_the_log_load_and_plan(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BENCHMARKS.parents[1])
    sweep = load_sweep(path)
    assert sweep.name == path.stem
    planned = plan(sweep, find=Assuming())
    assert len(planned.trials) == len({t.name for t in planned.trials}) >= 8


def test_the_resolved_file_gives_the_same_trials(tiny: Tiny, tmp_path: Path) -> None:
    sweep = tiny(
        "search: [{sparsity: [auto, 0.3], seed: [0, 1], issp.merge: [majority]}, "
        "{method: random, samples: 2, patch_drop: [0.1, 0.2, 0.3]}]\n"
    )
    path = tmp_path / "resolved.yaml"
    path.write_text(resolved_yaml(sweep))
    again = load_sweep(path)
    assert again == sweep
    assert list(again.trials()) == list(sweep.trials())
    assert resolved_yaml(again) == resolved_yaml(sweep)
    written = yaml.safe_load(path.read_text())
    assert written["dense"]["schedule"] == "linear"  # a default that the file does not name


PRESETS = "[default, lotus_literal, isp_paper, lth]"
# The tiny model is random, so `lth` has nothing to start from or go back to.
OWN = "{start: adapted, weights: current, steps: 3}"
NAMED = [
    "issp: {preset: lotus_literal, lr: 1.0e-3}\n",
    "issp: {preset: isp_paper, weights: ingredient_mean}\nsearch: {issp.rounds: [1, 2]}\n",
    f"issp: {OWN}\nsearch: {{issp.preset: {PRESETS}, sparsity: [0.2]}}\n",
    f"issp: {OWN}\nsearch: [{{issp.preset: {PRESETS}}}, {{seed: 1}}]\n",
]


@pytest.mark.parametrize("extra", NAMED)
def test_a_resolved_file_with_presets_gives_the_same_trials(
    extra: str, tiny_text: str, tmp_path: Path
) -> None:
    path, resolved = tmp_path / "sweep.yaml", tmp_path / "resolved.yaml"
    body = "".join(line for line in tiny_text.splitlines(True) if not line.startswith("issp"))
    path.write_text(body + extra)
    sweep = load_sweep(path)
    resolved.write_text(resolved_yaml(sweep))
    again = load_sweep(resolved)
    assert [t.key for t in plan(again).trials] == [t.key for t in plan(sweep).trials]
    assert list(again.trials()) == list(sweep.trials())
    assert resolved_yaml(again) == resolved_yaml(sweep)


def test_trials_are_yielded_in_plain_settings_beside_the_presets_name(tiny: Tiny) -> None:
    sweep = tiny(
        "",
        f"search.issp.preset={PRESETS}",
        "issp={ingredients: 8, start: adapted, weights: current}",
    )
    found = {t.issp.preset: t.issp for t, _ in sweep.trials()}
    assert [i.merge for i in found.values()] == [
        "vote_topk", "union_pruned", "isp_literal", "vote_topk",
    ]  # fmt: skip
    assert [i.rounds for i in found.values()] == [1, 1, 5, "auto"]
    assert {i.ingredients for i in found.values()} == {8}, "what is written wins"
    section = "issp={preset: lth, start: adapted, weights: current}"
    ((trial, _),) = tiny("", section, "search.issp.merge=majority").trials()
    assert trial.issp.look_ahead == "recovery"
    assert trial.issp.merge == "majority", "an axis is written too"
    assert flat(trial)["issp.preset"] == "lth"
    assert flat(trial)["issp.round_fraction"] == 0.2


def test_two_ways_to_say_a_reading_are_one_trial(tiny: Tiny) -> None:
    named = tiny("", "issp={preset: lotus_literal}")
    plain = tiny(
        "",
        "issp={levels: [0.4, 0.5, 0.6, 0.7], ingredients: 4, merge: union_pruned, "
        "sparsity_reference: relative}",
    )
    assert [t.key for t in plan(named).trials] == [t.key for t in plan(plain).trials]


@pytest.mark.parametrize(
    ("section", "used"),
    [
        ({"merge": "vote_topk"}, False),
        ({"merge": "isp_literal"}, False),
        ({"merge": "vote_topk", "levels": [0.5, 0.7]}, False),
        ({"merge": "union_kept", "final_trim": True}, False),
        ({"merge": "union_kept", "final_trim": True, "stop_within": 0.05}, False),
        ({"merge": "union_kept"}, True),
        ({"merge": "majority", "final_trim": True}, True),
        ({"merge": "union_kept", "levels": [0.5, 0.7], "final_trim": True}, True),
        ({"merge": "vote_topk", "stop_within": 0.1}, True),
        ({"preset": "lotus_literal"}, True),
    ],
    ids=str,
)
def test_a_control_uses_the_axes_of_issp_only_where_it_follows_it(
    section: dict[str, Any], used: bool, tiny: Tiny
) -> None:
    sweep = tiny("", f"issp={section}", "search.arm=magnitude", "search.sparsity=[0.1, 0.2]")
    trials = plan(sweep).trials
    assert len(trials) == (2 if used else 1)
    assert ("sparsity" in trials[0].axes) == ("mask_data_fraction" in trials[0].axes) == used
    assert (trials[0].graph.issp is not None) == used


def test_the_resolved_file_hides_the_password(tiny: Tiny) -> None:
    sweep = tiny("tracking: {uri: 'postgresql://me:s3cret@db:5432/mlflow'}\n")
    text = resolved_yaml(sweep)
    assert "s3cret" not in text
    assert "postgresql://me:***@db:5432/mlflow" in text
    assert sweep.tracking.uri.endswith("me:s3cret@db:5432/mlflow")


def test_the_environment_names_the_tracking_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(INTERFACE.replace("tracking: {uri: sqlite:///lotus/mlflow.db}\n", ""))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert load_sweep(path).tracking.uri == "http://server:5000"


def test_a_file_that_names_no_storage_uses_the_cluster_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(INTERFACE.replace("storage: {path: lotus/store}\n", ""))
    monkeypatch.chdir(tmp_path)
    for found, wanted in (
        ("s3://stages/store", "s3://stages/store"),
        ("", f"{tmp_path}/lotus/store"),
    ):
        monkeypatch.setenv("LOTUS_STORE", found)
        assert load_sweep(path).storage.path == wanted


def test_flat_names_are_dotted_and_lists_stay_values() -> None:
    raw = {"a": {"b": 1, "c": {"d": [1, 2]}, "e": {}}, "f": None}
    assert flat(raw) == {"a.b": 1, "a.c.d": [1, 2], "a.e": {}, "f": None}


VALID: dict[str, Any] = {
    "name": "fuzz",
    "data": {"name": "digits", "validation": 100},
    "model": {"name": "vit_tiny_patch16_224", "pretrained": False, "kwargs": {"depth": 2}},
    "dense": {"epochs": 1, "lr": 0.1},
    "tickets": {"weights": "adapted"},
    "essential": {"levels": [0.1, 0.2]},
    "issp": {"steps": 1, "spread": [0.3, 3.0]},
    "finetune": {"weights": "current"},
    "search": {"sparsity": ["auto", 0.3], "seed": [0], "issp.merge": ["majority"]},
    "resources": {"cpu": 1},
    "tracking": {"uri": "sqlite:////tmp/x.db"},
    "storage": {"path": "/tmp/x"},
}

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["", "auto", "lotus", "majority", "1", ".inf", "a.b", "\ud800", "x" * 300]),
    st.text(max_size=5),
    st.dates(),
    st.binary(max_size=3),
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["lr", "seed", "axes", "issp.lr", "a", "."]), inner)
    ),
    max_leaves=5,
)


def places(raw: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in nested lists and mappings."""
    parts = (
        raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    )
    return [path, *(p for key, part in parts for p in places(part, (*path, key)))]


@st.composite
def mutants(draw: st.DrawFn) -> dict[str, Any]:
    """The valid sweep with up to three things replaced, removed or added."""
    raw = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([p for p in places(raw) if p]))
        target: Any = raw
        for key in path[:-1]:
            target = target[key]
        what = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if what == "remove":
            del target[path[-1]]
        elif what == "add" and isinstance(target, dict):
            target[draw(st.sampled_from(["axes", "seed", "issp.lr", "arm", "x", "<<"]))] = draw(
                values
            )
        else:
            target[path[-1]] = draw(values)
    return raw


def attempt(path: Path) -> tuple[SweepConfig | None, SweepError | None]:
    """The sweep, or why it was refused; anything else fails the test."""
    try:
        return load_sweep(path), None
    except SweepError as error:
        return None, error


@settings(max_examples=200, deadline=None)
@given(raw=mutants())
def test_any_mutation_is_refused_in_words_or_usable(
    raw: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "mutant.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    sweep, refused = attempt(path)
    if sweep is None:
        assert refused is not None
        assert refused.problems
        assert str(refused).startswith(f"{path}: {len(refused.problems)} problem")
        assert str(refused).encode()
        return
    for trial, _ in sweep.trials():
        assert all(math.isfinite(v) for v in flat(trial).values() if isinstance(v, float))
    assert yaml.safe_load(resolved_yaml(sweep))["name"] == sweep.name


def test_a_detector_that_auto_cannot_use_is_refused_with_the_reason(tiny: Tiny) -> None:
    auto = "search: {sparsity: auto}\n"
    with pytest.raises(SweepError) as refused:
        tiny(f"essential: {{detector: changepoint, levels: [0.1, 0.2], refine: 0.05}}\n{auto}")
    assert "essential.levels: 2 above 0, but detector changepoint needs at least 3" in str(
        refused.value
    )
    assert "essential.refine = 0.05: narrows the bracket of first_violation" in str(refused.value)
    tiny(f"essential: {{detector: knee, levels: [0.1, 0.2]}}\n{auto}")
    tiny("essential: {detector: changepoint, levels: [0.1]}\nsearch: {sparsity: 0.3}\n")
    for width in (0, 1, -0.1):
        with pytest.raises(SweepError, match="refine"):
            tiny(f"essential: {{refine: {width}}}\n{auto}")
