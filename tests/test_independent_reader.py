"""A reader who has only numpy, safetensors and MLflow's REST interface checks a trial."""

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load

from tests.orchestrator.programs import mlflow_server

pytestmark = pytest.mark.slow


class Rest:
    """MLflow over HTTP, nothing else."""

    def __init__(self, base: str) -> None:
        self.base = base

    def post(self, path: str, **body: Any) -> Any:
        request = urllib.request.Request(
            f"{self.base}/api/2.0/mlflow/{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.base}/api/2.0/mlflow/{path}", timeout=30) as answer:
            return json.load(answer)

    def artifact(self, run_id: str, path: str) -> bytes:
        query = urllib.parse.urlencode({"run_uuid": run_id, "path": path})
        with urllib.request.urlopen(f"{self.base}/get-artifact?{query}", timeout=30) as answer:
            content: bytes = answer.read()
            return content


@pytest.fixture(scope="module")
def rest(finished_sweep: Path) -> Iterator[Rest]:
    with mlflow_server(finished_sweep.parent) as base:
        yield Rest(base)


@pytest.fixture(scope="module")
def runs(rest: Rest) -> dict[str, Any]:
    """Run name -> run, of the sweep's children."""
    experiment = rest.get("experiments/get-by-name?experiment_name=tiny")["experiment"]
    found = rest.post(
        "runs/search", experiment_ids=[experiment["experiment_id"]], max_results=1000
    )["runs"]
    return {run["info"]["run_name"]: run for run in found}


def entries(run: Any, kind: str) -> dict[str, Any]:
    return {one["key"]: one["value"] for one in run["data"].get(kind, [])}


def read_mask(content: bytes, tmp_path: Path) -> dict[str, NDArray[np.bool_]]:
    path = tmp_path / "mask.safetensors"
    path.write_bytes(content)
    with safe_open(path, framework="np") as file:
        header = file.metadata()
    assert header["format"] == "lotus-keepmask-v1"
    shapes = json.loads(header["shapes"])
    return {
        name: np.unpackbits(bits, bitorder="little", count=int(np.prod(shapes[name])))
        .astype(bool)
        .reshape(shapes[name])
        for name, bits in load(content).items()
    }


def test_masks_counts_magnitudes_and_checkpoint_hold_for_an_outsider(
    rest: Rest, runs: dict[str, Any], tmp_path: Path
) -> None:
    best = entries(runs["tiny"], "tags")["lotus.best_name"]
    lotus = runs["lotus-s0.30-d0.25-f0.50-seed0"]
    run_id = lotus["info"]["run_id"]
    essential = read_mask(rest.artifact(run_id, "masks/essential.safetensors"), tmp_path)
    final = read_mask(rest.artifact(run_id, "masks/final.safetensors"), tmp_path)
    total = sum(mask.size for mask in essential.values())

    assert all((essential[name] | ~final[name]).all() for name in essential), "final in essential"
    assert sum(int(m.sum()) for m in essential.values()) == total - round(0.3 * total)
    assert sum(int(m.sum()) for m in final.values()) == total - round(0.6 * total)

    (dense_run,) = (
        run["info"]["run_id"]
        for run in runs.values()
        if entries(run, "tags").get("lotus.stage") == "dense"
        and entries(run, "params")["seed"] == "0"
    )
    dense = load(rest.artifact(dense_run, "checkpoints/dense.safetensors"))
    names = [name for name in dense if name in essential]
    flat = np.concatenate([np.abs(dense[name]).ravel() for name in names])
    kept = np.concatenate([essential[name].ravel() for name in names])
    assert flat[kept].min() >= flat[~kept].max(), "the essential mask is the top of |w|"

    content = rest.artifact(runs[best]["info"]["run_id"], "checkpoints/final.safetensors")
    mask = read_mask(
        rest.artifact(runs[best]["info"]["run_id"], "masks/final.safetensors"), tmp_path
    )
    weights = load(content)
    assert all((weights[name][~mask[name]] == 0).all() for name in mask)


def test_the_final_checkpoint_loads_into_plain_timm(
    rest: Rest, runs: dict[str, Any], tmp_path: Path
) -> None:
    import timm
    from safetensors.torch import load_file

    best = entries(runs["tiny"], "tags")["lotus.best_name"]
    path = tmp_path / "final.safetensors"
    path.write_bytes(rest.artifact(runs[best]["info"]["run_id"], "checkpoints/final.safetensors"))
    with safe_open(path, framework="np") as file:
        header = file.metadata()
    model = timm.create_model(header["timm_model"], **json.loads(header["timm_kwargs"]))
    assert str(model.load_state_dict(load_file(path))) == "<All keys matched successfully>"


def test_tickets_have_one_row_per_training_image_and_equal_counts(
    rest: Rest, runs: dict[str, Any], tmp_path: Path
) -> None:
    run_id = runs["lotus-s0.30-d0.25-f0.50-seed0"]["info"]["run_id"]
    path = tmp_path / "tickets.safetensors"
    path.write_bytes(rest.artifact(run_id, "tickets/tickets.safetensors"))
    with safe_open(path, framework="np") as file:
        header, rows = file.metadata(), file.get_tensor("keep")
    assert header["format"] == "lotus-tickets-v1"
    assert header["split"] == "train"
    assert rows.shape == (200, 2)
    keep = np.unpackbits(rows, axis=1, bitorder="little", count=int(header["patches"]))
    assert set(keep.sum(1)) == {12}


def test_runs_are_nested_tagged_and_terminated(rest: Rest, runs: dict[str, Any]) -> None:
    parent = runs["tiny"]["info"]["run_id"]
    keys = []
    for name, run in runs.items():
        if name == "tiny":
            continue
        tags = entries(run, "tags")
        assert run["info"]["status"] == "FINISHED"
        assert tags["mlflow.parentRunId"] == tags["lotus.sweep"] == parent
        assert tags["lotus.kind"] in ("trial", "stage")
        assert len(tags["lotus.key"]) == 64
        keys.append(tags["lotus.key"])
    assert len(keys) == len(set(keys))


def test_every_metric_of_the_interface_stands_on_a_lotus_trial(runs: dict[str, Any]) -> None:
    metrics = set(entries(runs["lotus-s0.30-d0.25-f0.50-seed0"], "metrics"))
    wanted = """dense/val_accuracy essential/val_accuracy essential/sparsity issp/val_accuracy
    issp/sparsity finetune/train_loss finetune/val_loss finetune/val_accuracy final/val_accuracy
    final/test_accuracy final/test_accuracy_ticket final/sparsity final/sparsity_model final/macs
    final/train_images_per_s time/finetune_s time/dense_s time/total_s cache/hits cache/saved_s"""
    assert set(wanted.split()) <= metrics


def test_the_best_model_is_served_with_signature_and_example(
    rest: Rest, runs: dict[str, Any], finished_sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{finished_sweep.parent}/mlflow.db")
    (model,) = mlflow.search_logged_models(
        experiment_ids=[runs["tiny"]["info"]["experiment_id"]], output_format="list"
    )
    loaded = mlflow.pyfunc.load_model(model.model_uri)
    assert loaded.metadata.signature is not None
    example = loaded.input_example
    probabilities = loaded.predict(np.asarray(example, dtype=np.uint8))
    assert probabilities.shape == (2, 10)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
