"""A thousand damaged files: each is refused, or says the very same as the sound one."""

import json
import random
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.planning import pins
from orchestrator.planning.pins import Pin
from orchestrator.storage import snapshots
from orchestrator.storage.codec import encode
from orchestrator.storage.store import Store
from trials import formats
from trials.errors import LotusError
from trials.stage import STAGES, Load, Node, Source, StageConfig
from trials.stages.attention import PatchScores

EACH = 175
"""Of seven kinds: 1,225 files."""


class Setting(StageConfig):
    """Any setting."""

    number: int = 0


NODE: Node[PatchScores] = Node(
    STAGES["attention"], Setting(), None, {"data": Source("data", "d")}, lambda: Load(1e6, 8.0)
)


@dataclass(frozen=True)
class Kind:
    """One kind of file: where it is, and what reading it says; None = refused with a warning."""

    path: Path
    read: Callable[[], Any]


def kinds(folder: Path) -> dict[str, Kind]:
    """One sound file of each kind."""
    store = Store(str(folder / "store"))
    store.put(NODE, PatchScores(*(torch.rand(2, 3) for _ in range(3))), 1.5, "cpu", computed_by="t")
    store.files.write("copy", b"")
    entry = store.entry(NODE)
    assert entry is not None
    mask, tickets, weights = (folder / name for name in ("mask", "tickets", "weights"))
    generator = torch.Generator().manual_seed(0)
    formats.save_mask({f"b.{i}": torch.rand(5, 7) > 0.5 for i in range(3)}, mask)
    keep = torch.rand(6, 20, generator=generator) > 0.3
    formats.save_tickets(keep, tickets, split="train", patch_drop=0.1, data_digest="ab" * 32)
    formats.save_checkpoint({"w": torch.rand(4, 5), "b": torch.rand(3)}, weights, {"lotus": "yes"})
    state = store.snapshots(NODE)
    state.save({"model.w": torch.rand(4)}, {"done": 3, "history": [{"loss": 0.5}]})
    made = Pin(
        run_id="r",
        sweep="s",
        experiment="e",
        tracking="http://t",
        keys=("k",),
        host="h",
        written=1.0,
    )
    pins.write(store.files, made)

    def at(path: str) -> Path:
        return Path(store.files.full(path))

    def result() -> Any:
        found = store.get(NODE)
        return found and encode(found[0])

    return {
        "object": Kind(at(f"objects/{entry.object[:2]}/{entry.object}.safetensors"), result),
        "entry": Kind(at(f"index/attention/{entry.key}.json"), lambda: store.entry(NODE)),
        "snapshot": Kind(at(state.path), state.load),
        "mask": Kind(mask, lambda: formats.load_mask(mask)),
        "tickets": Kind(tickets, lambda: formats.load_tickets(tickets)),
        "checkpoint": Kind(weights, lambda: formats.load_checkpoint(weights)),
        "pin": Kind(at(made.path), lambda: pins.pins(store.files)),
    }


def damaged(sound: bytes, draw: random.Random) -> bytes:
    """Bits flipped, parts cut out, doubled, replaced, or the header's length changed."""
    found = bytearray(sound)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        at = draw.randrange(max(1, len(found)))
        length = draw.randint(1, 12)
        match draw.randrange(7):
            case 0 | 1 | 2:
                found[at : at + 1] = bytes(
                    [(found[at : at + 1] or b"\0")[0] ^ 1 << draw.randrange(8)]
                )
            case 3:
                del found[at:]
            case 4:
                del found[at : at + length]
            case 5:
                found[at : at + length] = draw.choice(
                    [draw.randbytes(length), b"9" * length, b"[" * 5000, b"-1", b"1e999", b'"', b""]
                )
            case _:
                found[:8] = draw.choice([0, 1, 10**6, 2**40, 2**64 - 1]).to_bytes(8, "little")
    return bytes(found)


def said(value: Any) -> str:
    """What a read says, comparable."""
    if isinstance(value, torch.Tensor):
        return f"{value.dtype}{list(value.shape)}{value.flatten().tolist()}"
    if isinstance(value, dict):
        return json.dumps({name: said(one) for name, one in value.items()}, sort_keys=True)
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return json.dumps([said(one) for one in value])
    return repr(value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["object", "entry", "snapshot", "mask", "tickets", "checkpoint", "pin"]
)
def test_a_mutated_file_is_refused_or_says_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "SHARE", 1e9)
    kind = kinds(tmp_path)[name]
    everything = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    sound = kind.path.read_bytes()
    expected, ended = said(kind.read()), Counter[str]()
    draw = random.Random(name)
    for number in range(EACH):
        content = damaged(sound, draw)
        for path, original in everything.items():  # a refused one may have been set aside
            path.write_bytes(original)
        kind.path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = kind.read()
        except LotusError as error:
            assert len(str(error)) < 2000  # noqa: PT017 - of those that are refused
            ended["refused"] += 1
            continue
        if found is None:
            ended["refused"] += 1
            continue
        assert said(found) == expected, f"{name} {number}: {content!r}"
        ended["same"] += 1
    assert ended["refused"] >= 0.8 * EACH
