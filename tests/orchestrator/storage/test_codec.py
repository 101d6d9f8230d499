"""Typed results <-> bytes: exact, and damaged bytes are refused or read right."""

import dataclasses
import json
import pickle
import random
import types
import typing
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from orchestrator.storage.codec import FORMAT, decode, encode
from trials.errors import FormatError
from trials.stage import STAGES
from trials.stages.attention import PatchScores
from trials.stages.tickets import Tickets

DTYPES = (torch.float32, torch.bool, torch.int64, torch.bfloat16, torch.uint8, torch.float16)


def same(a: Any, b: Any) -> bool:
    """Equal in type, shape, dtype and every bit."""
    if isinstance(a, Tensor):
        return (
            isinstance(b, Tensor)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and bytes(a.contiguous().view(-1).view(torch.uint8).numpy())
            == bytes(b.contiguous().view(-1).view(torch.uint8).numpy())
        )
    if dataclasses.is_dataclass(a):
        names = [f.name for f in dataclasses.fields(a)]
        return type(a) is type(b) and all(same(getattr(a, n), getattr(b, n)) for n in names)
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Small tensors of every kind, empty, scalar and not contiguous ones included."""
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    dtype = draw(st.sampled_from(DTYPES))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    made = torch.randint(0, 2 if dtype == torch.bool else 200, shape, generator=generator)
    made = made.to(dtype)
    return made.T if len(shape) == 2 and draw(st.booleans()) else made


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text(max_size=6)
JSON = st.one_of(st.none(), st.booleans(), st.integers(-5, 2**40), FLOATS, st.text(max_size=5))


def instances(hint: Any) -> st.SearchStrategy[Any]:
    """Any value that a type hint of a stage result allows."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(instances, args))
    if origin is typing.Literal:
        return st.sampled_from(args)
    if origin is tuple:
        several = st.lists(instances(args[0]), max_size=3).map(tuple)
        return several if args[-1] is Ellipsis else st.tuples(*map(instances, args))
    if origin is dict:
        return st.dictionaries(NAMES, instances(args[1]), max_size=3)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint, localns={"Tensor": Tensor})
        fields = {f.name: instances(hints[f.name]) for f in dataclasses.fields(hint)}
        return st.builds(hint, **fields)
    known = {
        Tensor: tensors(), str: NAMES, int: st.integers(-(2**60), 2**60), float: FLOATS,
        bool: st.booleans(), type(None): st.none(), Any: JSON,
    }  # fmt: skip
    return known[hint]


RESULTS = {stage.result for stage in STAGES.values()}


def test_all_stages_are_covered() -> None:
    assert len(STAGES) >= 10
    assert len(RESULTS) >= 9


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", sorted(RESULTS, key=lambda k: k.__name__), ids=lambda k: k.__name__
)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_stage_result_survives(kind: type[Any], data: st.DataObject) -> None:
    result = data.draw(instances(kind))
    assert same(decode(encode(result), kind), result)


def test_real_results_survive(results_of: dict[str, Any]) -> None:
    for result in results_of.values():
        assert same(decode(encode(result), type(result)), result)


def test_equal_results_have_equal_bytes(results_of: dict[str, Any]) -> None:
    for result in results_of.values():
        assert encode(result) == encode(decode(encode(result), type(result)))


def test_a_mask_takes_one_bit_a_weight() -> None:
    keep = torch.rand(64, 1000) > 0.5
    tickets = Tickets(keep, keep, keep)
    assert len(encode(tickets)) < 3 * 64_000 / 8 + 1000


def test_floats_and_infinities_are_exact() -> None:
    scores = PatchScores(
        torch.tensor([0.1, float("inf"), float("nan"), -0.0]), torch.empty(0, 3), torch.ones(())
    )
    assert same(decode(encode(scores), PatchScores), scores)


def test_what_is_no_result_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot hold a set"):
        encode({"a": {1}})


def test_another_result_is_not_taken_for_this_one() -> None:
    scores = PatchScores(*(torch.ones(2, 2),) * 3)
    for kind in RESULTS - {PatchScores, Tickets}:
        with pytest.raises(FormatError):
            decode(encode(scores), kind)


class Bomb:
    """Running it would fail the test."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was opened",)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"\0" * 8,
        b"\xff" * 100,
        b"{}",
        pickle.dumps(Bomb()),
        save({"a": torch.ones(1)}),
        save({}, metadata={FORMAT: ""}),
        save({}, metadata={"lotus-result-v0": "{}"}),
        *(
            save({"t0": torch.ones(3)}, metadata={FORMAT: json.dumps(tree)})
            for tree in (
                None, 3, [], {}, "x", {"value": 3}, {"fields": 3}, {"fields": {"train": 3}},
                {"fields": {"nobody": {"value": 1}}}, {"tensor": "t9"}, {"tensor": []},
                {"fields": {"train": {"bits": "t0", "shape": [3]}}}, {"items": {"a": 1}},
                {"fields": {n: {"tensor": "t0"} for n in ("train", "validation")}},
                {"fields": {"train": {"fields": {}}}}, {"fields": {"train": {"bits": "t0"}}},
            )
        ),
        save({}, metadata={FORMAT: "[" * 5000}),
        *(
            save(
                {"t0": torch.ones(3, dtype=torch.uint8)},
                metadata={
                    FORMAT: json.dumps({"fields": {"train": {"bits": "t0", "shape": shape}}})
                },
            )
            for shape in ([99], [-1], [2, -1], [0, -1], [10**30], [1.5], ["a"], None, {})
        ),
    ],
)  # fmt: skip
def test_bytes_that_are_no_result_are_refused(content: bytes) -> None:
    with pytest.raises(FormatError):
        decode(content, PatchScores)


def test_300_damages_are_refused_or_harmless(results_of: dict[str, Any]) -> None:
    """Only the digest in a name can tell a flipped bit of a weight; the codec must not crash."""
    dice = random.Random(0)
    originals = [(type(r), r, encode(r)) for r in results_of.values()]
    refused = 0
    for number in range(300):
        kind, _, content = dice.choice(originals)
        broken = bytearray(content)
        match number % 4:
            case 0:
                del broken[dice.randrange(len(broken)) :]
            case 1:  # in the header, where the structure is
                broken[dice.randrange(min(len(broken), 2000))] ^= 1 << dice.randrange(8)
            case 2:
                place = dice.randrange(len(broken))
                broken[place : place + dice.randrange(1, 30)] = dice.randbytes(dice.randrange(30))
            case 3:
                for _ in range(5):
                    broken[dice.randrange(len(broken))] = dice.randrange(256)
        try:
            result = decode(bytes(broken), kind)
        except FormatError:
            refused += 1
        else:
            assert isinstance(result, kind)
    assert refused > 100
