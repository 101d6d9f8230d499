"""A GPU that is not there: tensors say `gpu:0`, hold numbers of the CPU and keep a GPU's rules.

No GPU is at hand, and what is wrong with code for one shows without its speed:

- operands on two devices raise, but for single numbers and indices of the host, as on a GPU;
- whatever makes the host wait for the device is noted: reading a number, a copy of memory that is
  not pinned, an operation whose result has a size that only the device knows;
- so are results in float64, and operations that CUDA has no deterministic kernel for.

Each is noted with the line of this project that asked for it. Numbers are those of the CPU, so a
computation must give the same bits as there.

torch's own stand-ins do not serve: its fake tensors and the meta device hold no numbers, XLA is
another program. This is a backend in Python (`PrivateUse1`), whose tensors wrap those of the CPU.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

NAME = "gpu"
PRODUCT = f"{Path(__file__).parents[2]}/trials/"

aten = torch.ops.aten

WAITING = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
    aten.linalg_cholesky_ex.default,
    aten.bincount.default,
    aten.repeat_interleave.Tensor,
}
"""What makes the host wait: its result, or the size of it, is known to the device only."""

UNSTABLE = {
    "bincount",
    "cumsum",
    "embedding_dense_backward",
    "grid_sampler_2d_backward",
    "histc",
    "index_add",
    "kthvalue",
    "median",
    "put",
    "scatter_add",
    "scatter_reduce",
    "upsample_bicubic2d_backward",
    "_upsample_bicubic2d_aa_backward",
}
"""What CUDA adds up in no fixed order. Source: torch.use_deterministic_algorithms."""

INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten.index_select.default,
}
"""What takes indices of the host too, and waits while it copies them."""


class Note(NamedTuple):
    """What was done, where, and in which phase of a test."""

    phase: str
    what: str
    line: str


class _Module(backend_registration._DummyBackendModule):
    """What torch asks of a kind of device."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.empty(0, dtype=torch.uint8)  # numbers are drawn on the CPU

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        pass

    def synchronize(self, device: Any = None) -> None:
        if _ACTIVE:
            _ACTIVE[-1].note(_ACTIVE[-1].waits, "synchronize")


@cache
def device() -> torch.device:
    """The device; torch learns of it when it is first asked for, once a process."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    return torch.device(NAME, 0)


class OnGpu(Tensor):
    """A tensor that says it is on the GPU; `numbers` is where it really is."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, numbers: Tensor) -> OnGpu:
        made = Tensor._make_wrapper_subclass(
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            layout=numbers.layout,
            device=device(),
            requires_grad=False,
        )
        made.numbers = numbers
        return made  # type: ignore[no-any-return]

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        # The engine of autograd has threads of its own, in which the mode below is not active.
        if not _ACTIVE:
            raise RuntimeError("a tensor of the fake GPU is used outside of `FakeGpu`")
        return _ACTIVE[-1].run(func, args, kwargs or {})

    def __repr__(self, *args: Any, **kwargs: Any) -> str:
        return f"OnGpu({self.numbers})"

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["numbers"], None


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """What an operation is given or gives, changed. torch's own trees take four times as long."""
    if isinstance(value, tuple | list):
        return type(value)([_mapped(change, one) for one in value])
    if isinstance(value, dict):
        return {name: _mapped(change, one) for name, one in value.items()}
    return change(value)


def _tensors(value: Any) -> Iterator[Tensor]:
    """All of them in what an operation is given."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _tensors(one)


def _real(value: Any) -> Any:
    return value.numbers if isinstance(value, OnGpu) else value


def _is_gpu(wanted: Any) -> bool:
    return wanted is not None and torch.device(wanted).type == NAME


@dataclass(eq=False)
class FakeGpu(TorchDispatchMode):
    """The GPU while the block runs, and what it has noted.

    Attributes:
        waits: what made the host wait.
        doubles: results in float64.
        unstable: operations without a deterministic kernel.
        phase: which the notes are made under.
    """

    waits: Counter[Note] = field(default_factory=Counter)
    doubles: Counter[Note] = field(default_factory=Counter)
    unstable: Counter[Note] = field(default_factory=Counter)
    phase: str = ""
    _pinned: list[Any] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        device()
        super().__init__()

    def __enter__(self) -> FakeGpu:
        self._lifting = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) copies, openly
        _ACTIVE.append(self)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        _ACTIVE.remove(self)
        torch._C._set_only_lift_cpu_tensors(self._lifting)

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Name what is noted in the block."""
        before, self.phase = self.phase, phase
        try:
            yield
        finally:
            self.phase = before

    def note(self, where: Counter[Note], what: str) -> None:
        """Note something with the innermost line of this project."""
        frame, line = sys._getframe(1), "?"
        while frame is not None:
            name = frame.f_code.co_filename
            if name.startswith(PRODUCT):
                line = f"trials/{name.removeprefix(PRODUCT)}:{frame.f_lineno}"
                break
            frame = frame.f_back  # type: ignore[assignment]
        where[Note(self.phase, what, line)] += 1

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What torch is about to do, done on the CPU."""
        tensors = [*_tensors(args), *_tensors(kwargs)]
        own = any(isinstance(t, OnGpu) for t in tensors)
        if (asked := self._of_memory(func, args, own)) is not None:
            return asked
        if func in (aten._to_copy.default, aten.to.device):
            return self._copied(args[0], kwargs, own)
        if not own and not _is_gpu(kwargs.get("device")):
            return func(*args, **kwargs)
        if func is aten.copy_.default:
            return self._filled(args)
        if own:
            self._refuse_mixtures(func, tensors)
        return self._computed(func, args, kwargs, own)

    def _of_memory(self, func: Any, args: Sequence[Any], own: bool) -> Any:
        """The answer to what asks how and where to compute; None of anything else."""
        if func is aten.is_pinned.default:
            return self._is_pinned(args[0])
        if func is aten._pin_memory.default:
            return self._pin(args[0])
        if func is aten._fused_sdp_choice.default and own:
            return 0  # of plain products and softmax
        return None

    def _is_pinned(self, tensor: Tensor) -> bool:
        if isinstance(tensor, OnGpu):
            return False
        return tensor.untyped_storage().data_ptr() in {one.data_ptr() for one in self._pinned}

    def _pin(self, tensor: Tensor) -> Tensor:
        made = tensor.clone()
        self._pinned.append(made.untyped_storage())
        return made

    def _copied(self, given: Tensor, kwargs: Mapping[str, Any], own: bool) -> Tensor:
        wanted = kwargs.get("device")
        to_gpu = own if wanted is None else _is_gpu(wanted)
        pinned = kwargs.get("non_blocking") and self._is_pinned(given)
        if own and not to_gpu:
            self.note(self.waits, "copy to the host")
        elif to_gpu and not own and not pinned:
            self.note(self.waits, "copy of memory that is not pinned")
        left = {
            k: v for k, v in kwargs.items() if k not in ("device", "non_blocking", "pin_memory")
        }
        made = aten._to_copy.default(_real(given), **left)
        return self._wrapped(made, "copy") if to_gpu else made  # type: ignore[no-any-return]

    def _filled(self, args: Sequence[Any]) -> Any:
        target, source = args[0], args[1]
        if isinstance(target, OnGpu) != isinstance(source, OnGpu):
            patient = len(args) > 2 and args[2] and self._is_pinned(source)
            if not patient:
                self.note(self.waits, "copy across devices")
        _real(target).copy_(_real(source))
        return target

    def _refuse_mixtures(self, func: Any, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            if isinstance(tensor, OnGpu) or tensor.dim() == 0:
                continue
            if func not in INDEXING:
                raise RuntimeError(
                    f"Expected all tensors to be on the same device, but found {NAME}:0 and "
                    f"{tensor.device} ({func})"
                )
            self.note(self.waits, f"{func} with an index of the host")

    def _computed(
        self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], own: bool
    ) -> Any:
        name = func._schema.name.split("::")[1]
        if func in WAITING or (func in INDEXING and _has_bool(args[1])):
            self.note(self.waits, name)
        if name.rstrip("_") in UNSTABLE:
            self.note(self.unstable, name)
        changed = dict(kwargs)
        if changed.get("device") is not None:
            changed["device"] = torch.device("cpu")
        raw = func(*_mapped(_real, args), **_mapped(_real, changed))
        if func is aten._local_scalar_dense.default or name.startswith("_fused_"):
            return raw
        made = _mapped(lambda one: self._wrapped(one, name), raw)
        if not own:
            return made
        return return_and_correct_aliasing(func, args, kwargs, made)

    def _wrapped(self, made: Any, name: str) -> Any:
        if not isinstance(made, Tensor) or isinstance(made, OnGpu):
            return made
        if made.dtype == torch.float64:
            self.note(self.doubles, name)
        return OnGpu(made)


_ACTIVE: list[FakeGpu] = []


def _has_bool(indices: Any) -> bool:
    """Whether any index is a mask, of which nobody knows how many it chooses."""
    return any(one.dtype in (torch.bool, torch.uint8) for one in _tensors(indices))


# When this is imported, and no later: autograd counts the devices at the first backward pass.
device()
