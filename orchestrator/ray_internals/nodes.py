"""What the head node knows of actors and of node groups.

Ray's public state API asks a dashboard, and a driver's own Ray has none. Everything here may fail
with another Ray, and says then that it does not know.
"""

import contextlib
import json
import re
from typing import Any

from ray._private import state

from orchestrator.ray_internals import memory


def node_of(actor_id: str | None) -> str | None:
    """The node on which a process runs or ran; None where Ray cannot say."""
    if actor_id is None:
        return None
    with contextlib.suppress(Exception):
        return state.actors(actor_id)["Address"]["NodeID"] or None
    return None


def autoscales() -> bool:
    """Whether an autoscaler works for the connected cluster.

    Ray has no public call for it. A newer one leaves its node groups in the head node's memory;
    an older one its report, in which nodes are named `node_` and their id where none works.
    """
    with contextlib.suppress(Exception):
        config = state.state.get_cluster_config()
        if config is not None and len(config.node_group_configs):
            return True
    with contextlib.suppress(Exception):
        report: dict[str, Any] = json.loads(memory.autoscaler_report() or "")
        kinds = report["autoscaler_report"]["active_nodes"]
        return any(not re.fullmatch(r"node_[0-9a-f]+", kind) for kind in kinds)
    return False
