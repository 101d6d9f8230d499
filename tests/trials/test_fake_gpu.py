"""The GPU that is not there keeps a GPU's rules: otherwise the tests on it would show nothing."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from tests.trials.fake_gpu import FakeGpu, device


@pytest.fixture
def gpu() -> Iterator[FakeGpu]:
    with FakeGpu() as made:
        yield made


def sent(tensor: Tensor) -> Tensor:
    return tensor.pin_memory().to(device(), non_blocking=True)


def test_numbers_are_those_of_the_cpu(gpu: FakeGpu) -> None:
    a, b = torch.randn(4, 3), torch.randn(3, 5)
    found = (sent(a) @ sent(b)).softmax(-1)
    assert found.device == device()
    assert torch.equal(found.cpu(), (a @ b).softmax(-1))


def test_gradients_are_those_of_the_cpu(gpu: FakeGpu) -> None:
    layer, x = torch.nn.Linear(3, 2), torch.randn(5, 3)
    layer(x).square().sum().backward()
    expected = layer.weight.grad
    assert expected is not None
    layer.zero_grad()
    layer.to(device())
    layer(sent(x)).square().sum().backward()
    assert layer.weight.grad is not None
    assert torch.equal(layer.weight.grad.cpu(), expected)


def test_operands_on_two_devices_raise(gpu: FakeGpu) -> None:
    with pytest.raises(RuntimeError, match="on the same device, but found gpu:0 and cpu"):
        sent(torch.ones(2)) + torch.ones(2)
    assert (sent(torch.ones(2)) + torch.tensor(1.0)).sum().item() == 4.0


WAITS: dict[str, Callable[[Tensor], object]] = {
    "a number": lambda x: float(x.sum()),
    "a list": lambda x: x.cpu().tolist(),
    "a truth": lambda x: bool((x > 0).any()),
    "a copy": lambda x: x.cpu(),
    "a mask": lambda x: x[x > 0],
    "places": lambda x: (x > 0).nonzero(),
    "an index of the host": lambda x: x[torch.tensor([1, 0])],
    "memory that is not pinned": lambda x: torch.ones(3).to(device(), non_blocking=True),
    "a copy that blocks": lambda x: torch.ones(3).pin_memory().to(device()),
    "a list that is sent": lambda x: torch.tensor([1.0, 2.0], device=device()),
    "a clock": lambda x: torch.get_device_module(device()).synchronize(),
}


@pytest.mark.parametrize("what", WAITS)
def test_what_makes_the_host_wait_is_noted(gpu: FakeGpu, what: str) -> None:
    x = sent(torch.tensor([1.0, -1.0]))
    assert not gpu.waits
    with gpu.during("now"):
        WAITS[what](x)
    assert {note.phase for note in gpu.waits} == {"now"}


FREE: dict[str, Callable[[Tensor], object]] = {
    "pinned memory": lambda x: sent(torch.ones(3)),
    "an index": lambda x: x[sent(torch.tensor([1, 0]))],
    "a choice": lambda x: torch.where(x > 0, x, 0.0),
    "new memory": lambda x: torch.zeros(3, device=device()),
    "a sort": lambda x: x.sort(stable=True),
    "a slice": lambda x: x[:1].clone(),
    "a new type": lambda x: x.to(torch.bfloat16),
}


@pytest.mark.parametrize("what", FREE)
def test_what_does_not_is_not(gpu: FakeGpu, what: str) -> None:
    FREE[what](sent(torch.tensor([1.0, -1.0])))
    assert not gpu.waits


def test_float64_and_operations_without_a_fixed_order_are_noted(gpu: FakeGpu) -> None:
    x = sent(torch.ones(3))
    x.scatter_add(0, sent(torch.tensor([0, 0, 1])), x)
    assert [note.what for note in gpu.unstable] == ["scatter_add"]
    assert not gpu.doubles
    x.double()
    assert len(gpu.doubles) == 1
