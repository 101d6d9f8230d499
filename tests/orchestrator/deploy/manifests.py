"""The Kubernetes manifests as tests read them: what is applied, and which pods will run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
FOLDER = ROOT / "orchestrator/deploy/kubernetes"

SECRETS = {
    "lotus": {
        "RAY_AUTH_TOKEN",
        "MLFLOW_PASSWORD",
        "MLFLOW_NODES_PASSWORD",
        "MLFLOW_SECRET_KEY",
        "POSTGRES_PASSWORD",
        "S3_ACCESS_KEY",
        "S3_SECRET_KEY",
        "S3_NODES_ACCESS_KEY",
        "S3_NODES_SECRET_KEY",
        "S3_SIGNING_KEY",
        "GRAFANA_PASSWORD",
    },
    "ray-token": {"auth_token"},
}
"""What README.md of the manifests makes by hand: name -> keys."""

BY_HAND = {"sweep"}
"""Config maps that it makes by hand."""

Thing = dict[str, Any]


def kustomized(folder: Path) -> Iterator[Thing]:
    """What `kubectl apply -k` applies, as far as our kustomizations go."""
    made = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    for name in made.get("resources", []):
        if (folder / name).is_dir():
            yield from kustomized(folder / name)
        else:
            yield from documents(folder / name)
    for one in made.get("configMapGenerator", []):
        data = {Path(name).name: (folder / name).read_text("utf-8") for name in one["files"]}
        metadata = {"name": one["name"]}
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def documents(path: Path) -> list[Thing]:
    return list(yaml.safe_load_all(path.read_text("utf-8")))


SERVICES = list(kustomized(FOLDER))
(JOB,) = documents(FOLDER / "rayjob.yaml")
EVERYTHING = [*SERVICES, JOB]


def validator(kind: str) -> jsonschema.Draft202012Validator:
    """For one kind of thing, unknown fields refused."""
    kubernetes = json.loads((HERE / "kubernetes_schemas.json").read_text("utf-8"))
    kuberay = json.loads((HERE / "kuberay_schemas.json").read_text("utf-8"))
    definitions = kubernetes["definitions"] | {"RayClusterSpec": kuberay["RayClusterSpec"]}
    schema = kuberay["RayJob"] if kind == "RayJob" else kubernetes["kinds"][kind]
    return jsonschema.Draft202012Validator(schema | {"definitions": definitions})


def faults(thing: Thing) -> list[str]:
    """What is wrong with it."""
    found = validator(thing["kind"]).iter_errors(thing)
    return [f"{thing['kind']} {error.json_path}: {error.message[:200]}" for error in found]


def pods() -> list[tuple[str, dict[str, str], Thing]]:
    """Every pod that will run: name, labels, spec."""
    found = []
    for thing in SERVICES:
        if thing["kind"] in ("Deployment", "StatefulSet"):
            template = thing["spec"]["template"]
            found.append(
                (thing["metadata"]["name"], template["metadata"]["labels"], template["spec"])
            )
    cluster = JOB["spec"]["rayClusterSpec"]
    submitter = JOB["spec"]["submitterPodTemplate"]
    found.append(("submitter", submitter["metadata"]["labels"], submitter["spec"]))
    head = {"ray.io/node-type": "head"}  # KubeRay's own labels
    found.append(("head", head, cluster["headGroupSpec"]["template"]["spec"]))
    for group in cluster["workerGroupSpecs"]:
        labels = {"ray.io/node-type": "worker", "ray.io/group": group["groupName"]}
        found.append((f"worker {group['groupName']}", labels, group["template"]["spec"]))
    return found


def containers() -> Iterator[tuple[str, Thing]]:
    for name, _, spec in pods():
        for container in (*spec.get("initContainers", []), *spec["containers"]):
            yield f"{name}/{container['name']}", container


def named(kind: str) -> dict[str, Thing]:
    return {thing["metadata"]["name"]: thing for thing in EVERYTHING if thing["kind"] == kind}
