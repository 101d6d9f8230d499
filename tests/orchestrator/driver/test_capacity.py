"""Where a trial fits: on one node, on whole devices, on the right kind of them."""

import pytest

from orchestrator.driver.capacity import Node, bundle, check_fits, slots
from orchestrator.driver.joining import ClusterError
from orchestrator.planning.sections import ResourcesSection

NODES = [
    Node("10.0.0.1 (aa)", {"CPU": 8.0, "GPU": 1.0, "accelerator_type:L4": 1.0}),
    Node("10.0.0.2 (bb)", {"CPU": 4.0, "GPU": 2.0, "accelerator_type:A100": 1.0, "lab": 3.0}),
    Node("10.0.0.3 (cc)", {"CPU": 16.0}),
]


def asked(**of: object) -> ResourcesSection:
    return ResourcesSection.model_validate(of)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ({"cpu": 1}, 28),
        ({"cpu": 4}, 7),
        ({"cpu": 3}, 8),
        ({"gpu": 1}, 3),
        ({"gpu": 2}, 1),
        ({"gpu": 0.5}, 6),
        ({"gpu": 0.3}, 7),
        ({"cpu": 0.5, "gpu": 0.3}, 9),
        ({"gpu": 0.7}, 3),
        ({"gpu": 1, "accelerator_type": "A100"}, 2),
        ({"custom": {"lab": 1}}, 3),
        ({"cpu": 2, "custom": {"lab": 1}}, 2),
        ({"cpu": 0.5, "gpu": 0.1, "accelerator_type": "L4"}, 10),
    ],
)
def test_how_many_fit_at_a_time(of: dict[str, object], expected: int) -> None:
    assert slots(asked(**of), NODES) == expected
    assert check_fits(asked(**of), NODES, grows=False) == ""


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ({"cpu": 20}, "cpu = 20, but the most on one node is 16, on 10.0.0.3 (cc), of 28"),
        ({"gpu": 3}, "resources.gpu = 3, but the most on one node is 2, on 10.0.0.2 (bb), of 3"),
        ({"custom": {"lamb": 1}}, "resources.custom.lamb = 1, but no node has any lamb"),
        ({"cpu": 6, "gpu": 2}, "no single node has all of it together: CPU 6, GPU 2"),
        ({"gpu": 1, "accelerator_type": "H100"}, "_type = H100: the nodes have A100, L4"),
        ({"gpu": 1, "accelerator_type": "A10"}, "did you mean A10"),
    ],
)  # fmt: skip
def test_what_fits_nowhere_is_refused_unless_nodes_may_come(
    of: dict[str, object], said: str
) -> None:
    with pytest.raises(ClusterError) as found:
        check_fits(asked(**of), NODES, grows=False)
    assert said in str(found.value)
    assert "no trial could ever start" in str(found.value)
    waits = check_fits(asked(**of), NODES, grows=True)
    assert said in waits
    assert "waiting for the autoscaler" in waits


def test_what_a_trial_occupies_in_rays_names() -> None:
    found = bundle(asked(cpu=2, gpu=0.5, accelerator_type="A100", custom={"lab": 1}))
    assert found == {"CPU": 2, "GPU": 0.5, "accelerator_type:A100": 0.001, "lab": 1}
    assert bundle(asked()) == {"CPU": 1}


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ({"gpu": 1.5}, "a trial gets whole devices above one: write 1 or 2"),
        ({"gpu": 1e-5}, "does not divide a device further"),
        ({"custom": {"GPU": 1}}, "is not custom"),
        ({"custom": {"node:10.0.0.1": 1}}, "a name of Ray's own"),
        ({"custom": {"lab": 0}}, "must be at least"),
        ({"accelerator_type": "A100"}, "accelerator_type without gpu"),
        ({"share": 0}, "greater than 0"),
    ],
)
def test_what_can_never_be_is_refused_in_the_file(of: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match="ResourcesSection") as found:
        asked(**of)
    assert said in str(found.value)
