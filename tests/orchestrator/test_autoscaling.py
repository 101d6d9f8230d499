"""A real autoscaler, whose nodes are further Rays on this machine."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from programs import Program, assert_as_if_undisturbed, copy_of, free_port
from test_nodes import node

pytestmark = pytest.mark.slow


def autoscaler_file(folder: Path, gcs: str) -> Path:
    """A cluster whose nodes with a `lab` come when something waits for them.

    Not `ray.cluster_utils.AutoscalingCluster`: it ends every other Ray of the machine.
    """
    kinds = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "with-lab": {
            "resources": {"CPU": 1, "lab": 1, "object_store_memory": 2 * 10**8},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 2,
        },
    }
    path = folder / "autoscaler.json"
    path.write_text(
        json.dumps(
            {
                "cluster_name": "fake",
                "max_workers": 2,
                "upscaling_speed": 1.0,
                "idle_timeout_minutes": 5,
                "provider": {
                    "type": "fake_multinode",
                    "gcs_address": gcs,
                    "use_node_id_as_ip": True,
                    "disable_node_updaters": True,
                    "disable_launch_config_check": True,
                },
                "auth": {},
                "available_node_types": kinds,
                "head_node_type": "ray.head.default",
                "file_mounts": {},
                "cluster_synced_files": [],
                "file_mounts_sync_continuously": False,
                "initialization_commands": [],
                "setup_commands": [],
                "head_setup_commands": [],
                "worker_setup_commands": [],
                "head_start_ray_commands": [],
                "worker_start_ray_commands": [],
            }
        )
    )
    return path


def test_where_nodes_may_come_a_sweep_says_that_it_waits_and_uses_them(
    finished_sweep: Path, tmp_path: Path
) -> None:
    path, port = copy_of(finished_sweep, tmp_path / "own"), free_port()
    address = f"127.0.0.1:{port}"
    config = autoscaler_file(tmp_path, address)
    head = ("--head", f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=0",
            "--include-dashboard=false", f"--autoscaling-config={config}")  # fmt: skip
    with node(f"head {tmp_path}", *head, RAY_FAKE_CLUSTER="1", AUTOSCALER_UPDATE_INTERVAL_S="1"):
        args = ("run", str(path), "--no-report", "--address", address)
        program = Program.start(tmp_path / "log", *args, "--set", "resources.custom={lab: 1}")
        assert program.wait(900) == 0, program.said
    assert "no node can run a trial yet" in program.said
    assert "resources.custom.lab = 1, but no node has any lab" in program.said
    assert "waiting for the autoscaler to bring one" in program.said
    assert_as_if_undisturbed(path, finished_sweep)
