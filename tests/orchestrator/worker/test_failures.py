"""Classes of errors, and what follows from each."""

import errno
from pathlib import Path

import pytest
import torch

from orchestrator.storage.files import StoreAway, StoreUnusable
from orchestrator.worker.failures import (
    MOST_NODES_LOST,
    Attempts,
    Failure,
    NodeError,
    failure_of,
    kind_of,
    of_ray,
    smaller,
    write_evidence,
)
from trials.errors import StageInputError


def allocation_error() -> RuntimeError:
    """What torch really raises when the machine's memory does not suffice."""
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**60, dtype=torch.uint8)
    return found.value


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "memory"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "memory"),
        (allocation_error(), "memory"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling"), "memory"),
        (RuntimeError("CUDA error: device-side assert triggered"), "device"),
        (RuntimeError("HIP error: an illegal memory access was encountered"), "device"),
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), "device"),
        (RuntimeError("CUDA error: out of memory"), "memory"),
        (RuntimeError("shapes cannot be multiplied"), "deterministic"),
        (ValueError("out of memory"), "deterministic"),
        (StageInputError("lower `lr`"), "deterministic"),
        (ZeroDivisionError(), "deterministic"),
        (ConnectionResetError(), "transient"),
        (TimeoutError(), "transient"),
        (OSError(errno.EIO, "Input/output error"), "transient"),
        (FileNotFoundError("w.safetensors"), "transient"),
        (NodeError("other versions"), "transient"),
        (StoreAway("no answer"), "transient"),
        (StoreUnusable("full"), "store"),
    ],
    ids=repr,
)
def test_every_error_has_its_class(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind


def test_only_what_may_pass_is_tried_again_and_only_so_often() -> None:
    attempts = Attempts(max_failures=2)
    assert attempts.again("a", Failure("deterministic", "x")) is None
    assert attempts.again("a", Failure("store", "x")) is None
    pauses = [attempts.again("a", Failure("transient", "x")) for _ in range(3)]
    assert pauses == [0.0, 1.0, None]
    assert attempts.again("b", Failure("transient", "x")) == 0.0, "each item has its own count"
    assert attempts.micro_batch == {}
    assert Attempts(0).again("a", Failure("transient", "x")) is None


def test_a_node_that_went_away_is_no_failure_of_what_ran_there_but_not_for_ever() -> None:
    attempts = Attempts(max_failures=1)
    lost = of_ray("The actor died because its node has died. Node Id: 1")
    assert lost.node_lost
    assert not of_ray("The actor died because its worker process has died.").node_lost
    pauses = [attempts.again("a", lost) for _ in range(MOST_NODES_LOST)]
    assert pauses == [0.0] * MOST_NODES_LOST
    assert attempts.tried("a"), "but it is known to have been tried"
    assert attempts.again("a", Failure("transient", "x")) == 0.0, "its own failures count apart"
    assert attempts.again("a", lost) is None
    assert attempts.again("b", lost) == 0.0
    died = of_ray("The actor died because its worker process has died.")
    assert attempts.again("c", died) == 0.0
    attempts.forgive("c")
    assert attempts.again("c", died) == 0.0, "that it was the node's was only known later"
    assert attempts.again("c", died) is None
    assert attempts.tried("c")


def test_memory_that_ran_out_halves_the_micro_batch_down_to_one() -> None:
    attempts = Attempts(max_failures=20)
    seen = []
    for _ in range(11):
        assert attempts.again("a", Failure("memory", "x")) is not None
        seen.append(attempts.micro_batch["a"])
    assert seen == [256, 128, 64, 32, 16, 8, 4, 2, 1, 1, 1]
    assert (smaller(None), smaller(3), smaller(1)) == (256, 1, None)
    assert attempts.tried("a")
    assert not attempts.tried("b")


def test_what_ray_writes_becomes_one_line_and_a_class() -> None:
    died = (
        "The actor died unexpectedly before finishing this task.\n\tpid: 22421\nThe actor is dead "
        "because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
        "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes "
        "include: (1) the process was killed by the OOM killer due to high memory usage"
    )
    assert of_ray(died) == Failure("transient", "its process died", died, died=True)
    assert of_ray("The actor died because its node has died. Node Id: 1").reason == "its node died"
    memory = of_ray(  # Ray 2.60; an error of its own, neither of actors nor of tasks
        "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: "
        "192.0.2.2, ID: c9cf) was 6.76GB used / 23.54GB limit (0.287243)\nOOM kill reason: Memory "
        "usage 7214125056B exceeded threshold of 7203806720B (28.5% of 25276514304B limit)"
    )
    assert memory.kind == "memory"
    assert of_ray("").kind == "transient"


def test_the_reason_is_short_and_holds_no_password() -> None:
    error = OSError("cannot reach postgresql://me:geheim123@host/db " + "x" * 900)
    found = failure_of(error)
    assert found.reason.startswith("OSError: cannot reach postgresql://me:***@host/db")
    assert len(found.reason) == 500


def test_the_evidence_is_a_traceback_and_the_last_lines(tmp_path: Path) -> None:
    try:
        raise ValueError("s3://user:geheim123@host")
    except ValueError as error:
        write_evidence(tmp_path, error, ["epoch 1", "token=abcdefgh"])
    traceback = (tmp_path / "failure/traceback.txt").read_text()
    assert "test_failures.py" in traceback
    assert "ValueError" in traceback
    log = (tmp_path / "failure/log.txt").read_text()
    assert log.startswith("epoch 1\n")
    assert "geheim123" not in traceback
    assert "abcdefgh" not in log
