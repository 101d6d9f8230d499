"""Keys: the same work has the same key everywhere, other work another one."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan
from orchestrator.storage.keys import canonical, identity, key_of
from trials.config import TrialConfig
from trials.data.config import DataConfig
from trials.data.datasets import Counts
from trials.graph.pipeline import pipeline
from trials.graph.sources import Sources
from trials.model.vit import ModelConfig
from trials.stage import STAGES, Node, Source, StageConfig
from trials.stages.dense import DenseConfig

Tiny = Callable[..., SweepConfig]


def keys(sweep: SweepConfig) -> dict[str, str]:
    """Stage name -> key of the only trial."""
    (trial,) = plan(sweep).trials
    return {name: key_of(node) for name, node in trial.graph.stages().items()}


def changed(sweep: SweepConfig, other: SweepConfig) -> set[str]:
    """The stages whose keys differ."""
    a, b = keys(sweep), keys(other)
    assert a.keys() == b.keys()
    return {name for name in a if a[name] != b[name]}


def by_hand() -> dict[str, Node[Any]]:
    """The default `lotus` trial on constants: no data set and no file is read."""
    trial = TrialConfig(
        data=DataConfig(name="digits"),
        model=ModelConfig(name="vit_tiny_patch16_224", pretrained=Path("weights.safetensors")),
        seed=3,
    )
    data, weights = Source("data", "d" * 64), Source("weights", "e" * 64)
    counts = Counts(train=10, validation=10, test=10, classes=10, channels=1)
    return pipeline(trial, Sources(data, weights, False, counts)).stages()


# Every stored result becomes unreadable when one of these changes. If that is meant, raise the
# version of the stage, write it into the change log, and take the new value here.
PINNED = {
    "pretrained": "30136bd92e63f713d0eca18271f4d5f729238b3c7b763681fc22a0bd24ebfcd2",
    "dense": "ece49903804d73c3b921f13e794297020845669998aeaa840f0b5a20158b648f",
    "attention": "9842cef98c135105c9d5848ae7eca0270fa724ed02a3d2437b630e4ea05b92f5",
    "tickets": "53448770620a76c374d554aa7db50b728d7f2eb69eef6c305b3834b0bbaace88",
    "essential": "c18f0d32cec7c049b387e6f05cea78605e400a663157e805fb57b3fce3673555",
    "denoise": "1275a1df833318e54b6e6cc5f5b93102efb85b144420274b70808e5e4f8832b3",
    "issp": "79aeeb43583475026439716681f503cec1e62c76e974043c268bc8c8081b43af",
    "finetune": "9aee32ec538556dfda86886238af2b22cc3e2df6b942b3bc57101ecce686c47b",
    "profile": "da14ca81dae09765397daa809f2028ac52dcf6cf5089b6397fe5637928e47217",
    "final": "6549df4ce93ccef1812d800ff1618e33c9900b155a151ad8a310e077b87f8e64",
}


@pytest.mark.parametrize("name", sorted(PINNED))
def test_a_key_is_what_it_always_was(name: str) -> None:
    assert key_of(by_hand()[name]) == PINNED[name]


def test_what_a_key_is_made_of_can_be_read() -> None:
    nodes = by_hand()
    found = identity(nodes["dense"])
    assert found.keys() == {"stage", "version", "config", "seed", "inputs"}
    assert (found["stage"], found["version"], found["seed"]) == ("dense", 1, 3)
    assert found["inputs"] == {"data": {"data": "d" * 64}, "model": PINNED["pretrained"]}
    assert found["config"]["schedule"] == "linear"  # a default: it is in the key
    later = {"no_decay", "layer_decay", "train"}  # at their defaults: as before there were any
    assert found["config"].keys() == DenseConfig.model_fields.keys() - later


def test_a_key_is_the_digest_of_canonical_json() -> None:
    assert (
        canonical({"b": [1, 2.5, None, True], "a": "é"}) == '{"a":"\\u00e9","b":[1,2.5,null,true]}'
    )
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in PINNED.values())
    with pytest.raises(ValueError, match="float"):
        canonical({"a": float("nan")})


class Setting(StageConfig):
    """Two settings, to compare a default that is written with one that is not."""

    a: int = 1
    b: float = 2.0


DEFAULT = Setting()


def node(config: StageConfig = DEFAULT, seed: int | None = 0, **inputs: Any) -> Node[Any]:
    """A call of some stage."""
    return Node(STAGES["dense"], config, seed, inputs)


def test_every_part_of_a_call_is_in_its_key() -> None:
    base = key_of(node(x=Source("data", "1")))
    assert key_of(node(Setting(a=1, b=2.0), x=Source("data", "1"))) == base
    others = [
        node(Setting(a=2), x=Source("data", "1")),
        node(seed=1, x=Source("data", "1")),
        node(seed=None, x=Source("data", "1")),
        node(x=Source("data", "2")),
        node(x=Source("weights", "1")),
        node(y=Source("data", "1")),
        node(x=None),
        node(x=node()),
        node(x=(node(),)),
        node(x=(node(), node(seed=1))),
        node(x=(node(seed=1), node())),
        Node(STAGES["finetune"], Setting(), 0, {"x": Source("data", "1")}),
    ]
    found = {key_of(other) for other in others}
    assert len(found | {base}) == len(others) + 1


def test_the_version_of_a_stage_is_in_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    old = node()
    newer = dataclasses.replace(STAGES["dense"], version=STAGES["dense"].version + 1)
    assert key_of(Node(newer, Setting(), 0, {})) != key_of(old)


def test_estimates_are_not_in_a_key() -> None:
    assert key_of(Node(STAGES["dense"], Setting(), 0, {}, lambda: 1.0)) == key_of(node())


@pytest.mark.parametrize(
    "override",
    [
        "data.root=/somewhere/else",
        "resources.cpu=2",
        "resources.gpu=0.5",
        "resources.gpu=auto",
        "resources.max_concurrent_trials=1",
        "retry.max_failures=0",
        "retention.checkpoints=all",
        "name=other",
        "experiment=other",
    ],
)
def test_no_key_depends_on_where_and_how_it_runs(override: str, tiny: Tiny) -> None:
    assert changed(tiny(), tiny("", override)) == set()


def test_no_key_depends_on_store_and_tracking(tiny: Tiny, tmp_path: Path) -> None:
    other = tiny("", f"storage.path={tmp_path}/b", f"tracking.uri=sqlite:///{tmp_path}/b.db")
    assert changed(tiny(), other) == set()


ALL = {
    "pretrained", "dense", "attention", "tickets", "essential", "denoise", "issp", "finetune",
    "profile", "final",
}  # fmt: skip
AFTER = {"finetune", "final"}


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("finetune.lr=0.5", AFTER),
        ("finetune.epochs=3", AFTER),
        ("finetune.distill=0.5", AFTER),
        ("finetune.flip=true", AFTER),
        ("finetune.weights=random", AFTER),
        ("issp.merge=majority", {"issp"} | AFTER),
        ("issp.schedule=cubic", {"denoise", "issp"} | AFTER),
        ("issp.ingredients=3", {"denoise", "issp"} | AFTER),
        ("issp.spread=[0.5, 2.0]", {"denoise", "issp"} | AFTER),
        ("issp.target_sparsity=0.7", {"denoise", "issp"} | AFTER),
        ("issp.steps=pass", {"denoise", "issp"} | AFTER),
        ("issp.subset=own", {"denoise", "issp"} | AFTER),
        ("issp.final_trim=true", {"issp"} | AFTER),
        ("issp.weights=ingredient_mean", {"denoise", "issp"} | AFTER),
        ("search.mask_data_fraction=0.5", {"denoise", "issp"} | AFTER),
        ("search.sparsity=0.2", {"essential", "denoise", "issp"} | AFTER),
        ("search.patch_drop=0.2", {"tickets", "profile"} | AFTER),
        ("tickets.sink=none", {"attention", "tickets"} | AFTER),
        ("tickets.score=rollout", {"attention", "tickets"} | AFTER),
        ("tickets.removal=zero", {"profile"} | AFTER),
        ("dense.lr=0.5", ALL - {"pretrained", "profile"}),
        ("dense.train=head", ALL - {"pretrained", "profile"}),
        ("dense.no_decay=timm", ALL - {"pretrained", "profile"}),
        ("dense.train=all", set()),
        ("dense.no_decay=vectors", set()),
        ("dense.layer_decay=1", set()),
        ("finetune.layer_decay=0.8", AFTER),
        ("issp.no_decay=timm", {"denoise", "issp"} | AFTER),
        ("data.split_seed=1", ALL),
        ("model.eval_precision=bfloat16", ALL),
        ("model.eval_precision=float32", set()),
        ("data.train_images=65", ALL),
        ("model.kwargs.depth=1", ALL),
        ("search.seed=1", ALL - {"profile"}),
    ],
)  # fmt: skip
def test_a_setting_changes_its_stage_and_what_follows(
    override: str, stages: set[str], tiny: Tiny
) -> None:
    assert changed(tiny("", "issp.merge=vote_topk"), tiny("", override)) == stages


def test_stages_without_randomness_are_shared_across_seeds(tmp_path: Path, tiny: Tiny) -> None:
    import torch

    from trials.formats import save_checkpoint
    from trials.model import vit

    sweep = tiny("search: {seed: [0, 1]}\n")
    model = sweep.model.model_copy(update={"pretrained": False})
    made = vit.create(model, classes=10, channels=1, seed=0)
    save_checkpoint(made.state, tmp_path / "w.safetensors", {})
    kept = tiny(
        "search: {seed: [0, 1]}\n", f"model.pretrained={tmp_path}/w.safetensors", "dense.epochs=0"
    )
    a, b = (t.graph.stages() for t in plan(kept).trials)
    shared = {name for name in a if key_of(a[name]) == key_of(b[name])}
    assert shared == {"pretrained", "dense", "attention", "tickets", "essential", "profile"}
    assert {a[name].seed for name in shared} == {None}
    assert {a[name].seed for name in ("denoise", "finetune")} == {0}
    before = {t.key for t in plan(kept).trials}
    # The path of the weights is in no key, their content is.
    (tmp_path / "moved").mkdir()
    moved = (tmp_path / "w.safetensors").rename(tmp_path / "moved/v.safetensors")
    again = tiny("search: {seed: [0, 1]}\n", f"model.pretrained={moved}", "dense.epochs=0")
    assert {t.key for t in plan(again).trials} == before
    made.state["head.bias"] += torch.ones(10)
    save_checkpoint(made.state, moved, {})
    assert {t.key for t in plan(again).trials}.isdisjoint(before)
