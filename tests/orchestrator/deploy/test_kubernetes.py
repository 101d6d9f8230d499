"""The Kubernetes manifests: valid by the published schemas, and in agreement with each other."""

import copy
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from manifests import (
    BY_HAND,
    EVERYTHING,
    FOLDER,
    JOB,
    ROOT,
    SECRETS,
    SERVICES,
    Thing,
    containers,
    faults,
    named,
    pods,
)


def test_everything_is_valid_by_the_published_schemas() -> None:
    assert [fault for thing in EVERYTHING for fault in faults(thing)] == []
    assert len(EVERYTHING) > 20


def _typo(thing: Thing) -> None:
    thing["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["container"] = []


def _number(thing: Thing) -> None:
    thing["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


def _mode(thing: Thing) -> None:
    thing["spec"]["rayClusterSpec"]["authOptions"]["mode"] = "yes"


@pytest.mark.parametrize("spoil", [_typo, _number, _mode])
def test_the_schemas_refuse_what_kubernetes_would(spoil: Callable[[Thing], None]) -> None:
    spoiled = copy.deepcopy(JOB)
    spoil(spoiled)
    assert len(faults(spoiled)) == 1


def test_every_file_is_applied() -> None:
    made = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))
    maps = [name for one in made["configMapGenerator"] for name in one["files"]]
    used = {*made["resources"], *maps, "kustomization.yaml", "rayjob.yaml", "README.md"}
    assert {path.name for path in FOLDER.iterdir()} == used - {"../../../dashboards", "../s3"}
    names = [(thing["kind"], thing["metadata"]["name"]) for thing in EVERYTHING]
    assert len(set(names)) == len(names)


def test_images_are_pinned() -> None:
    for name, container in containers():
        assert re.fullmatch(
            r"[\w./-]+:v?\d+(\.\d+)+[\w.-]*(@sha256:[0-9a-f]{64})?", container["image"]
        ), name


def test_every_container_has_limits_and_is_locked_down() -> None:
    for name, container in containers():
        assert container["resources"]["limits"].keys() >= {"cpu", "memory"}, name
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, name
        locked = container["securityContext"]
        assert locked["allowPrivilegeEscalation"] is False, name
        assert locked["readOnlyRootFilesystem"] is True, name
        assert locked["capabilities"] == {"drop": ["ALL"]}, name
    for name, _, spec in pods():
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        may_ask = name in (
            "prometheus",
            "head",
        )  # it finds pods; KubeRay's autoscaler asks for them
        assert spec.get("automountServiceAccountToken", True) is may_ask, name


def test_every_service_says_when_it_is_ready_and_when_it_hangs() -> None:
    for thing in SERVICES:
        if thing["kind"] in ("Deployment", "StatefulSet"):
            for container in thing["spec"]["template"]["spec"]["containers"]:
                assert {"readinessProbe", "livenessProbe"} <= container.keys()
                ports = {port["name"] for port in container["ports"]}
                for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
                    asked = container.get(probe, {})
                    at = (
                        asked.get("httpGet")
                        or asked.get("tcpSocket")
                        or {"port": next(iter(ports))}
                    )
                    assert at["port"] in ports


def test_no_secret_is_written_down_and_every_reference_is_met() -> None:
    assert not named("Secret")
    maps = named("ConfigMap").keys() | BY_HAND
    for name, container in containers():
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                asked = variable["valueFrom"]["secretKeyRef"]
                assert asked["key"] in SECRETS[asked["name"]], (name, variable)
            else:
                assert not re.search(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY", variable["name"]), name
    for name, _, spec in pods():
        for volume in spec.get("volumes", []):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps, name
            if claim := volume.get("persistentVolumeClaim"):
                assert claim["claimName"] in named("PersistentVolumeClaim"), name
    assert JOB["spec"]["rayClusterSpec"]["authOptions"] == {
        "mode": "token",
        "secretName": "ray-token",
    }


def test_the_readme_makes_what_is_referred_to() -> None:
    told = (FOLDER / "README.md").read_text("utf-8")
    for name in SECRETS:
        assert f"create secret generic {name} " in told
    for name in BY_HAND:
        assert f"create configmap {name} " in told
    example = ROOT / "orchestrator/deploy/env.example"
    if not example.exists():
        pytest.skip("the settings of the cluster, env.example, are not part of this tree")
    keys = set(re.findall(r"^(\w+)=$", example.read_text("utf-8"), re.MULTILINE))
    assert keys == SECRETS["lotus"]


def test_what_is_mounted_is_a_volume_of_the_pod() -> None:
    claims = {
        thing["metadata"]["name"]: {
            claim["metadata"]["name"] for claim in thing["spec"].get("volumeClaimTemplates", [])
        }
        for thing in SERVICES
        if thing["kind"] == "StatefulSet"
    }
    for name, _, spec in pods():
        have = {volume["name"] for volume in spec.get("volumes", [])} | claims.get(name, set())
        every = (*spec.get("initContainers", []), *spec["containers"])
        mounted = {m["name"] for one in every for m in one.get("volumeMounts", [])}
        assert mounted == have, name


def test_services_select_pods_that_have_their_ports() -> None:
    for name, service in named("Service").items():
        chosen = [
            spec
            for _, labels, spec in pods()
            if service["spec"]["selector"].items() <= labels.items()
        ]
        assert len(chosen) == 1, name
        have = {p["name"]: p["containerPort"] for c in chosen[0]["containers"] for p in c["ports"]}
        for port in service["spec"]["ports"]:
            assert have[port["targetPort"]] == port["port"], name
    for thing in (*named("Deployment").values(), *named("StatefulSet").values()):
        labels = thing["spec"]["template"]["metadata"]["labels"]
        assert thing["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_addresses_in_settings_are_services_with_that_port() -> None:
    ports = {name: {p["port"] for p in s["spec"]["ports"]} for name, s in named("Service").items()}
    texts = [json.dumps(thing) for thing in EVERYTHING]
    found = set(re.findall(r"(?:http://|@)([a-z][\w-]*):(\d+)", " ".join(texts)))
    assert {host for host, _ in found} == {"mlflow", "s3", "postgres", "prometheus"}
    for host, port in found:
        assert int(port) in ports[host]


def matches(selector: Thing, labels: dict[str, str]) -> bool:
    """Whether a pod is selected."""
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(one["key"] in labels for one in selector.get("matchExpressions", []))


def allowed(source: str, target: str, port: int) -> bool:
    """Whether the network policies let one pod reach a port of another."""
    labels = {name: own for name, own, _ in pods()}
    for policy in named("NetworkPolicy").values():
        if not matches(policy["spec"]["podSelector"], labels[target]):
            continue
        for rule in policy["spec"].get("ingress", []):
            open_to = any(
                "namespaceSelector" not in peer and matches(peer["podSelector"], labels[source])
                for peer in rule["from"]
            )
            if open_to and (not rule.get("ports") or {"port": port} in rule["ports"]):
                return True
    return False


def test_who_may_reach_whom() -> None:
    ways = {
        ("mlflow", "postgres", 5432),
        ("mlflow", "s3", 8333),
        ("head", "s3", 8333),
        ("worker cpu", "s3", 8333),
        ("worker gpu", "mlflow", 5000),
        ("head", "mlflow", 5000),
        ("grafana", "prometheus", 9090),
        ("prometheus", "head", 8080),
        ("prometheus", "worker gpu", 8080),
        ("submitter", "head", 8265),
        ("worker cpu", "head", 6379),
        ("head", "worker gpu", 10002),
    }
    assert all(allowed(*way) for way in ways)
    for way in (
        ("head", "postgres", 5432),
        ("grafana", "mlflow", 5000),
        ("grafana", "head", 8080),
        ("prometheus", "head", 8265),
        ("submitter", "mlflow", 5000),
        ("s3", "mlflow", 5000),
    ):
        assert not allowed(*way), way
    nobody = named("NetworkPolicy")["nobody"]["spec"]
    assert nobody == {"podSelector": {}, "policyTypes": ["Ingress"]}


def test_prometheus_finds_the_port_that_ray_pods_have() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text("utf-8"))
    (job,) = config["scrape_configs"]
    kept = [one for one in job["relabel_configs"] if one.get("action") == "keep"]
    assert [one["regex"] for one in kept] == ["metrics"]
    for name, labels, spec in pods():
        if "ray.io/node-type" in labels:
            shown = {p["name"]: p["containerPort"] for c in spec["containers"] for p in c["ports"]}
            assert shown["metrics"] == 8080, name
    cluster = JOB["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert {group["rayStartParams"]["metrics-export-port"] for group in groups} == {"8080"}


def test_versions_are_those_of_this_package() -> None:
    import ray

    from orchestrator.versions import VERSION

    assert JOB["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__
    ours = {c["image"] for _, c in containers() if c["image"].startswith("lotus-sweep")}
    assert ours == {f"lotus-sweep:{VERSION}"}


def test_grafana_reads_its_dashboards_where_they_are_mounted() -> None:
    provider = yaml.safe_load(named("ConfigMap")["grafana-providers"]["data"]["lotus.yml"])
    (grafana,) = named("Deployment")["grafana"]["spec"]["template"]["spec"]["containers"]
    places = {m["name"]: m["mountPath"] for m in grafana["volumeMounts"]}
    assert provider["providers"][0]["options"]["path"] == places["dashboards"]


def test_ray_pods_hold_the_nodes_keys_and_the_servers_their_own() -> None:
    """What a sweep brings along runs on the nodes: no admin's key may be there."""
    held: dict[str, set[str]] = {}
    for name, container in containers():
        refs = [v.get("valueFrom", {}).get("secretKeyRef") for v in container.get("env", [])]
        held[name] = {f"{ref['name']}/{ref['key']}" for ref in refs if ref}
    nodes = {
        "ray-token/auth_token",
        "lotus/MLFLOW_NODES_PASSWORD",
        "lotus/S3_NODES_ACCESS_KEY",
        "lotus/S3_NODES_SECRET_KEY",
    }
    for name in ("head/ray-head", "worker cpu/ray-worker", "worker gpu/ray-worker"):
        assert held[name] <= nodes, name
        assert held[name] >= nodes - {"ray-token/auth_token"}, name
    assert held["submitter/submitter"] <= {"ray-token/auth_token"}
    assert "lotus/MLFLOW_PASSWORD" in held["mlflow/mlflow"]
