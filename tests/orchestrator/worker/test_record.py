"""What a trial leaves in MLflow: the names and formats that the interface promises."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from orchestrator.planning.config import flat
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.storage.keys import key_of
from orchestrator.worker import record
from trials import formats
from trials.config import TrialConfig
from trials.context import Outcomes
from trials.graph.execute import TrialResult
from trials.sparsity import masks

Finished = tuple[Plan, PlannedTrial, TrialResult]


@pytest.fixture(scope="module")
def folder(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts of the finished trial."""
    planned, trial, result = finished
    where = tmp_path_factory.mktemp("artifacts")
    dataset = planned.sources_of(trial.config).dataset
    record.write_all(record.trial_files(trial, result.results, dataset, checkpoint=True), where)
    return where


def header(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def test_every_promised_file_is_there(folder: Path) -> None:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {
        "config/trial.yaml",
        "masks/essential.safetensors", "masks/denoised.safetensors", "masks/final.safetensors",
        "masks/sparsity.json", "tickets/tickets.safetensors", "tickets/examples.png",
            "tickets/gallery.json",
        "checkpoints/final.safetensors", "outcomes/correct.safetensors",
    }  # fmt: skip


def test_a_mask_is_one_bit_a_weight_under_its_parameter_name(
    folder: Path, finished: Finished
) -> None:
    path = folder / "masks/final.safetensors"
    found = header(path)
    keep = finished[2].results["issp"].keep
    assert found["format"] == "lotus-keepmask-v1"
    shapes = json.loads(found["shapes"])
    assert shapes == {name: list(mask.shape) for name, mask in keep.items()}
    assert all(".attn." in name or ".mlp." in name for name in shapes)
    for name, bits in load_file(path).items():
        assert bits.dtype == torch.uint8
        flat_bits = keep[name].flatten()
        assert bits.numel() == -(-flat_bits.numel() // 8)
        for place in (0, 1, 7, 8, 9):  # little bit order
            assert bool(bits[place // 8] >> (place % 8) & 1) == bool(flat_bits[place])
    loaded = formats.load_mask(path)
    assert all(torch.equal(loaded[name], keep[name]) for name in keep)


def test_the_masks_nest_and_their_sparsity_is_listed(folder: Path) -> None:
    loaded = {
        name: formats.load_mask(folder / f"masks/{name}.safetensors")
        for name in ("essential", "denoised", "final")
    }
    assert masks.contains(loaded["essential"], loaded["final"])
    assert masks.sparsity(loaded["essential"]) == pytest.approx(0.3, abs=1e-3)
    assert masks.sparsity(loaded["final"]) == pytest.approx(0.6, abs=1e-3)
    listed = json.loads((folder / "masks/sparsity.json").read_text())
    assert listed.keys() == loaded.keys()
    for name, layers in listed.items():
        for layer, sparsity in layers.items():
            assert sparsity == pytest.approx(1 - float(loaded[name][layer].double().mean()))


def test_the_tickets_say_what_they_are(folder: Path, finished: Finished) -> None:
    planned, trial, result = finished
    path = folder / "tickets/tickets.safetensors"
    said = header(path)
    assert len(said.pop("sha256")) == 64
    assert said == {
        "format": "lotus-tickets-v1",
        "patches": "16",
        "split": "train",
        "patch_drop": "0.1",
        "data_digest": planned.sources_of(trial.config).sources.data.digest,
    }
    assert load_file(path)["keep"].shape == (64, 2)
    keep, _ = formats.load_tickets(path)
    assert torch.equal(keep, result.results["tickets"].train)
    assert set(keep.sum(1).tolist()) == {15}  # ceil(0.9 * 16)


def test_the_examples_can_be_looked_at(folder: Path) -> None:
    with Image.open(folder / "tickets/examples.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 200


def test_the_checkpoint_loads_in_plain_timm(folder: Path, finished: Finished) -> None:
    import timm

    path = folder / "checkpoints/final.safetensors"
    said = header(path)
    model = timm.create_model(said["timm_model"], **json.loads(said["timm_kwargs"]))
    state = load_file(path)
    model.load_state_dict(state)
    assert said["lotus_key"] == finished[1].key
    assert json.loads(said["mean"]) == [0.3]
    assert json.loads(said["std"]) == [0.38]
    for name, keep in formats.load_mask(folder / "masks/final.safetensors").items():
        assert (state[name][~keep] == 0).all()
        assert (state[name][keep] != 0).any()
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_the_configuration_gives_the_trial_again(folder: Path, finished: Finished) -> None:
    raw = yaml.safe_load((folder / "config/trial.yaml").read_text())
    assert TrialConfig.model_validate(raw) == finished[1].config


def test_outcomes_are_kept_image_by_image(folder: Path, finished: Finished) -> None:
    found = formats.load_mask(folder / "outcomes/correct.safetensors")
    results = finished[2].results
    assert torch.equal(found["final.test"], results["final"].test.correct)
    assert torch.equal(found["dense.validation"], results["dense"].validation.correct)
    assert torch.equal(found["issp.validation"], results["issp"].validation.correct)


def test_no_checkpoint_is_written_unless_asked_for(finished: Finished, tmp_path: Path) -> None:
    planned, trial, result = finished
    dataset = planned.sources_of(trial.config).dataset
    files = record.trial_files(trial, result.results, dataset, checkpoint=False)
    record.write_all(files, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_an_arm_without_masks_and_tickets_writes_neither(
    finished: Finished, tmp_path: Path
) -> None:
    planned, trial, result = finished
    kept = {n: r for n, r in result.results.items() if n in ("dense", "finetune", "final")}
    dataset = planned.sources_of(trial.config).dataset
    record.write_all(record.trial_files(trial, kept, dataset, checkpoint=False), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config", "outcomes"]


PROMISED = {
    "dense/val_accuracy", "essential/val_accuracy", "essential/sparsity", "issp/val_accuracy",
    "issp/sparsity", "finetune/train_loss", "finetune/val_loss", "finetune/val_accuracy",
    "final/val_accuracy", "final/test_accuracy", "final/test_accuracy_ticket", "final/sparsity",
    "final/sparsity_model", "final/macs", "final/train_images_per_s", "time/dense_s",
    "time/finetune_s", "time/total_s", "cache/hits", "cache/saved_s",
    "final/deployed_val_accuracy", "final/deployed_test_accuracy", "final/deployed_val_lost",
    "final/deployed_val_gained", "final/deployed_test_lost", "final/deployed_test_gained",
    "final/macs_selector", "final/macs_deployed", "final/macs_training", "final/val_n",
    "final/test_n", "dense/val_balanced_accuracy", "dense/test_balanced_accuracy",
    "final/val_balanced_accuracy", "final/test_balanced_accuracy",
    "final/deployed_val_balanced_accuracy", "final/deployed_test_balanced_accuracy",
}  # fmt: skip
"""`final/epochs_to_near_dense` beside these, where an epoch came near."""


def test_every_promised_metric_is_on_the_trial(tracked_trial: Any) -> None:
    run = next(r for r in tracked_trial.tracker.runs() if r.data.tags["lotus.kind"] == "trial")
    assert run.data.metrics.keys() >= PROMISED
    final = tracked_trial.store.get(tracked_trial.trial.graph.final)[0]
    near = final.epochs_to_near_dense
    assert run.data.metrics.get("final/epochs_to_near_dense") == near
    assert run.data.metrics["final/test_accuracy"] == final.test.accuracy
    assert run.data.metrics["final/sparsity"] == pytest.approx(0.6, abs=1e-3)
    assert run.data.metrics["cache/hits"] == 2  # dense and the weights under it
    assert run.data.metrics["cache/saved_s"] < run.data.metrics["time/total_s"]
    for name in ("train_loss", "val_loss", "val_accuracy"):
        points = tracked_trial.tracker.client.get_metric_history(
            run.info.run_id, f"finetune/{name}"
        )
        assert [point.step for point in points] == [1, 2]


def test_params_and_tags_are_those_of_the_interface(tracked_trial: Any) -> None:
    run = next(r for r in tracked_trial.tracker.runs() if r.data.tags["lotus.kind"] == "trial")
    params = run.data.params
    axes = {
        "arm": "lotus", "sparsity": "0.3", "patch_drop": "0.1", "mask_data_fraction": "0.1",
        "seed": "0",
    }  # fmt: skip
    assert axes.items() <= params.items()
    assert params["model.name"] == "vit_tiny_patch16_224"
    assert params["issp.merge"] == "vote_topk"
    trial = tracked_trial.trial.config
    assert params.keys() >= {name for name in flat(trial) if trial.reads(name)}
    assert not [name for name in params if name.startswith("reduction.")], "nothing is reduced"
    tags = run.data.tags
    assert run.info.run_name == "lotus-s0.30-d0.10-f0.10-seed0"
    assert run.info.status == "FINISHED"
    assert tags["lotus.key"] == tracked_trial.trial.key
    assert tags["lotus.arm"] == "lotus"
    assert tags["lotus.attempts"] == "1"
    for name, node in tracked_trial.trial.graph.stages().items():
        assert tags[f"lotus.stage.{name}"] == key_of(node)


def test_artifacts_arrive_and_the_dense_checkpoint_stands_on_its_stage(tracked_trial: Any) -> None:
    client = tracked_trial.tracker.client
    runs = {r.data.tags["lotus.kind"]: r.info.run_id for r in tracked_trial.tracker.runs()}
    paths = {a.path for a in client.list_artifacts(runs["trial"], "checkpoints")}
    assert paths == {"checkpoints/final.safetensors"}
    assert {a.path for a in client.list_artifacts(runs["trial"])} == {
        "checkpoints", "config", "masks", "outcomes", "tickets",
    }  # fmt: skip
    stage = [a.path for a in client.list_artifacts(runs["stage"], "checkpoints")]
    assert stage == ["checkpoints/dense.safetensors"]


def test_outcomes_hold_what_is_deployed_image_by_image(
    results_of: dict[str, Any], tmp_path: Path
) -> None:
    final = results_of["final"]
    # The tiny model has learned too little for a ticket to change what it gets right.
    own = {
        name: Outcomes(torch.arange(len(getattr(final, name).correct)) % by == 0, 0.0)
        for name, by in (("deployed_validation", 3), ("deployed_test", 5))
    }
    path = tmp_path / "correct.safetensors"
    record.write_outcomes(results_of | {"final": replace(final, **own)}, path)
    found = formats.load_mask(path)
    assert torch.equal(found["deployed.validation"], own["deployed_validation"].correct)
    assert torch.equal(found["deployed.test"], own["deployed_test"].correct)
    assert torch.equal(found["final.test"], final.test.correct)
