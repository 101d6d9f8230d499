"""A thousand broken sweep files: each works, or is refused in words, within seconds."""

import copy
import functools
import random
import resource
import signal
import types
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.planning.plan import plan
from orchestrator.planning.sweepfile import bundled, load_sweep
from tests.orchestrator.conftest import TINY
from trials.data import datasets as data
from trials.errors import LotusError

COUNT = 1000

SECONDS = 60
"""For one file, on a machine that is busy with other things."""

MEMORY_BYTES = 700 * 2**20
"""By which the process may grow over all of them."""

ODD: list[Any] = [
    None,
    True,
    "",
    "x" * 100_000,
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "a\nb",
    "\x00",
    "=1+1",
    -1,
    0,
    10**9,
    10**30,
    -(10**30),
    1e308,
    float("nan"),
    float("inf"),
    0.1,
    [],
    {},
    [[]],
    [None],
    ["lotus"],
    [0.1] * 1000,
    list(range(20)),
    {"a": {"b": {"c": 1}}},
    {"low": 0.1, "high": 0.9},
    {"low": 1e-9, "high": 1e9, "log": True},
]
"""Values in the place of others."""

RAW: list[bytes] = [
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\x00",
    b"\t",
    b"\r\n",
    b"'",
    b"[",
    b"{",
    b"- ",
    b": ",
    b"&a [*a]",
    b"*a",
    b"<<: *a",
    b"!!python/object/apply:os.system ['true']",
    b"!!binary aGk=",
    b"!!timestamp 2001-01-01",
    b"? [a, b]",
    b"%YAML 9.9",
    b"---\n",
    b"...\n",
    b"[" * 2000,
    b"{a: " * 500,
    "\u2028\ud7ff".encode(),
]
"""Bytes between others."""

LAUGHS = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n".encode()
    for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a tree."""
    if path:
        yield path
    named = tree.items() if isinstance(tree, dict) else ()
    for name, value in enumerate(tree) if isinstance(tree, list) else named:
        yield from places(value, (*path, name))


def with_odd_values(text: bytes, draw: random.Random) -> bytes:
    """One to three values, or names, are others."""
    tree = yaml.safe_load(text)
    for _ in range(draw.randint(1, 3)):
        path = draw.choice(list(places(tree)))
        parent = functools.reduce(lambda at, name: at[name], path[:-1], tree)
        act = draw.randrange(4)
        if act == 0 and isinstance(parent, dict):
            parent[draw.choice(["x" * 300, "", "../", 7, "seed", "<b>"])] = parent.pop(path[-1])
        elif act == 1:
            del parent[path[-1]]
        else:
            parent[path[-1]] = copy.deepcopy(draw.choice(ODD))
        if not tree:
            break
    return yaml.safe_dump(tree, sort_keys=False).encode("utf-8", "replace")


def with_odd_bytes(text: bytes, draw: random.Random) -> bytes:
    """Bytes are flipped, inserted or cut off."""
    found = bytearray(text)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(found) + 1)
        act = draw.randrange(4)
        if act == 0 and at < len(found):
            found[at] ^= 1 << draw.randrange(8)
        elif act == 1:
            found[at:at] = draw.choice(RAW)
        elif act == 2:
            del found[at : at + draw.randint(1, 30)]
        else:
            found[at:at] = found[: draw.randrange(len(found) + 1)]
    return bytes(found[: draw.randrange(len(found) + 1)] if draw.random() < 0.1 else found)


def mutated(number: int, texts: list[bytes]) -> bytes:
    """The file of a number; the same in every run."""
    draw = random.Random(number)
    if number == 0:
        return LAUGHS
    text = draw.choice(texts)
    if number < 20:
        return text + b"\nsearch: " + draw.choice([b"*a", b"&a [*a]"]) + b"\n" + LAUGHS
    change = with_odd_values if draw.random() < 0.6 else with_odd_bytes
    return change(text, draw)


@contextmanager
def limited(seconds: int, what: str) -> Iterator[None]:
    """Fail after so many seconds."""

    def late(signum: int, frame: types.FrameType | None) -> None:
        pytest.fail(f"{what} took over {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


SEARCHES = [
    b"search: {sparsity: [0.1, 0.3], patch_drop: [0.0, 0.1], arm: [lotus, dense], seed: [0, 1]}\n",
    b"search: {method: random, samples: 5, sparsity: {low: 0.1, high: 0.5}, seed: [0]}\n",
    b"search: {method: optuna, trials: 6, sparsity: {low: 0.1, high: 0.5}}\n",
    b"search: {method: halving, sparsity: [0.1, 0.2, 0.3, 0.4]}\n",
    b"search: [{sparsity: auto}, {issp.merge: [vote_topk, union_kept], seed: [0]}]\n",
]


@pytest.mark.slow
def test_a_mutated_sweep_file_works_or_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once: Callable[..., Any] = functools.cache(data.load)
    monkeypatch.setattr(data, "load", once)
    monkeypatch.chdir(tmp_path)
    texts = [path.read_bytes() for path in bundled().values()]
    tiny = TINY.replace("current, epochs: 2", "current, epochs: 4")
    texts += [tiny.encode() + search for search in SEARCHES]
    path, ended = tmp_path / "sweep.yaml", Counter[str]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wrong: list[str] = []
    for number in range(COUNT):
        path.write_bytes(mutated(number, texts))
        with limited(SECONDS, f"file {number}"):
            try:
                plan(load_sweep(path))
                ended["works"] += 1
            except LotusError as error:
                ended[type(error).__name__] += 1
                if not 0 < len(str(error).encode()) < 200_000:
                    wrong.append(f"file {number}: {len(str(error))} characters of error")
            except Exception as error:
                wrong.append(f"file {number}: {error!r}"[:300])
    assert wrong == []
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MEMORY_BYTES
    assert ended["works"] >= 20
    assert ended["SweepError"] >= 400
