import json
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from trials import container, formats
from trials.errors import FormatError

MASK = npst.arrays(bool, npst.array_shapes(max_dims=4, max_side=9))
ROWS = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=40))


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        found: dict[str, str] = file.metadata()
    return found


def plain(path: Path) -> dict[str, str]:
    """The header without the digest."""
    return {name: text for name, text in header(path).items() if name != container.DIGEST}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("formats") / "file.safetensors"


@given(MASK)
def test_a_mask_is_packed_bit_for_bit_as_numpy_does_in_little_order(
    keep: NDArray[np.bool_],
) -> None:
    expected = np.packbits(keep.ravel(order="C"), bitorder="little")
    assert np.array_equal(formats.pack(torch.from_numpy(keep)).numpy(), expected)


def test_the_first_weight_is_the_lowest_bit() -> None:
    keep = torch.zeros(2, 5, dtype=torch.bool)
    keep[0, 0] = keep[0, 2] = keep[1, 4] = True
    assert formats.pack(keep).tolist() == [0b101, 0b10]


def test_a_transposed_mask_is_packed_in_c_order() -> None:
    keep = torch.rand(4, 6) > 0.5
    assert torch.equal(formats.pack(keep.T), formats.pack(keep.T.contiguous()))


@given(st.dictionaries(st.sampled_from(["a.weight", "b", "c"]), MASK, min_size=1))
def test_a_mask_file_comes_back_as_it_was_saved(
    file: Path, arrays: dict[str, NDArray[np.bool_]]
) -> None:
    mask = {name: torch.from_numpy(array) for name, array in arrays.items()}
    formats.save_mask(mask, file)
    again = formats.load_mask(file)
    assert again.keys() == mask.keys()
    assert all(torch.equal(again[name], mask[name]) for name in mask)
    assert all(keep.dtype == torch.bool for keep in again.values())


def test_a_mask_file_is_one_bit_a_weight_and_says_what_it_is(file: Path) -> None:
    formats.save_mask({"w": torch.ones(3, 7, dtype=torch.bool)}, file)
    found = header(file)
    assert found.keys() == {"format", "shapes", "sha256"}
    assert found["format"] == "lotus-keepmask-v1"
    assert json.loads(found["shapes"]) == {"w": [3, 7]}
    content = load_file(file)
    assert content["w"].dtype == torch.uint8
    assert content["w"].tolist() == [255, 255, 0b11111]


@given(ROWS)
def test_a_ticket_file_comes_back_as_it_was_saved(file: Path, rows: NDArray[np.bool_]) -> None:
    keep = torch.from_numpy(rows)
    formats.save_tickets(keep, file, split="test", patch_drop=0.1, data_digest="d")
    again, _ = formats.load_tickets(file)
    assert torch.equal(again, keep)
    expected = np.packbits(rows, axis=1, bitorder="little")
    assert np.array_equal(load_file(file)["keep"].numpy(), expected)


def test_a_ticket_file_says_what_it_is(file: Path) -> None:
    keep = torch.ones(3, 10, dtype=torch.bool)
    formats.save_tickets(keep, file, split="train", patch_drop=0.3, data_digest="abc")
    assert plain(file) == {
        "format": "lotus-tickets-v1",
        "patches": "10",
        "split": "train",
        "patch_drop": "0.3",
        "data_digest": "abc",
    }
    assert load_file(file)["keep"].shape == (3, 2)
    assert formats.load_tickets(file)[1] == plain(file)


def test_a_checkpoint_comes_back_as_it_was_saved(file: Path) -> None:
    state = {"w": torch.randn(3, 4).T, "b": torch.tensor([-0.0, float("inf")])}
    formats.save_checkpoint(state, file, {"lotus": "yes"})
    again = formats.load_checkpoint(file)
    assert all(torch.equal(again[name], state[name]) for name in state)
    assert again["b"].signbit().tolist() == [True, False]
    assert plain(file) == {"lotus": "yes"}


LOADERS = [formats.load_mask, formats.load_tickets, formats.load_checkpoint]


@pytest.mark.parametrize("load", LOADERS)
def test_a_pickle_is_refused_unopened(load: Any, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "model.pt")
    with pytest.raises(FormatError, match=r"model\.pt: cannot be read as safetensors"):
        load(tmp_path / "model.pt")


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("content", [b"", b"\xff" * 50, b"\x02" + b"\0" * 7 + b"{}"[:1]])
def test_a_file_that_is_no_safetensors_file_is_refused(
    load: Any, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(FormatError, match="cannot be read as safetensors"):
        load(tmp_path / "file")
    with pytest.raises(FormatError, match="nowhere"):
        load(tmp_path / "nowhere")


@given(st.data())
def test_a_mask_file_cut_short_is_refused(file: Path, draw: st.DataObject) -> None:
    formats.save_mask({"w": torch.ones(50, 3, dtype=torch.bool)}, file)
    content = file.read_bytes()
    file.write_bytes(content[: draw.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(FormatError):
        formats.load_mask(file)


@given(st.data())
def test_a_mask_file_with_a_changed_byte_is_read_or_refused_but_never_crashes(
    file: Path, draw: st.DataObject
) -> None:
    formats.save_mask({"w": torch.ones(5, 3, dtype=torch.bool)}, file)
    content = bytearray(file.read_bytes())
    content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
    file.write_bytes(content)
    try:
        mask = formats.load_mask(file)
    except FormatError:
        return
    assert all(keep.dtype == torch.bool for keep in mask.values())


@pytest.mark.parametrize(
    "shapes",
    ["[1]", "null", "{", '{"w": 3}', '{"w": [-1]}', '{"w": [9]}', '{"w": [2, "x"]}',
     '{"w": [1e400]}', '{"v": [3]}', '{"w": [3], "v": [3]}'],
)  # fmt: skip
def test_a_mask_file_whose_header_does_not_fit_is_refused_by_path(file: Path, shapes: str) -> None:
    metadata = {"format": formats.MASK_FORMAT, "shapes": shapes}
    save_file({"w": torch.zeros(1, dtype=torch.uint8)}, file, metadata=metadata)
    with pytest.raises(FormatError, match=str(file)):
        formats.load_mask(file)


@pytest.mark.parametrize(
    ("patches", "content"),
    [
        ("x", torch.zeros(2, 1, dtype=torch.uint8)),
        ("9", torch.zeros(2, 1, dtype=torch.uint8)),
        ("-3", torch.zeros(2, 0, dtype=torch.uint8)),
        ("4", torch.zeros(2, dtype=torch.uint8)),
        ("4", torch.zeros(2, 1)),
    ],
)
def test_a_ticket_file_whose_header_does_not_fit_is_refused_by_path(
    file: Path, patches: str, content: Tensor
) -> None:
    metadata = {"format": formats.TICKET_FORMAT, "patches": patches}
    save_file({"keep": content}, file, metadata=metadata)
    with pytest.raises(FormatError, match=str(file)):
        formats.load_tickets(file)


def test_another_format_is_refused_by_name(file: Path) -> None:
    keep = torch.ones(3, 10, dtype=torch.bool)
    formats.save_tickets(keep, file, split="train", patch_drop=0.3, data_digest="abc")
    with pytest.raises(FormatError, match="is 'lotus-tickets-v1', expected 'lotus-keepmask-v1'"):
        formats.load_mask(file)
    save_file({"keep": torch.zeros(1)}, file)
    with pytest.raises(FormatError, match="format is None, expected 'lotus-tickets-v1'"):
        formats.load_tickets(file)


def test_a_file_of_another_program_needs_no_digest(file: Path) -> None:
    header = {"format": formats.MASK_FORMAT, "shapes": json.dumps({"w": [3]})}
    save_file({"w": torch.tensor([5], dtype=torch.uint8)}, file, metadata=header)
    assert formats.load_mask(file)["w"].tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("name", "text"), [("patch_drop", "0.9"), ("split", "test"), ("data_digest", "e")]
)
def test_a_header_that_was_changed_is_refused(file: Path, name: str, text: str) -> None:
    keep = torch.ones(2, 8, dtype=torch.bool)
    formats.save_tickets(keep, file, split="train", patch_drop=0.1, data_digest="d")
    save_file(load_file(file), file, metadata=header(file) | {name: text})
    with pytest.raises(FormatError, match="digest in its header"):
        formats.load_tickets(file)


def test_a_weight_that_was_changed_is_refused(file: Path) -> None:
    formats.save_checkpoint({"w": torch.ones(3), "b": torch.zeros(2)}, file, {"lotus": "yes"})
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(FormatError, match="digest in its header"):
        formats.load_checkpoint(file)


def test_the_digest_sees_names_types_shapes_and_bytes_but_no_order() -> None:
    a, b = torch.zeros(2, 3), torch.ones(2, 3)
    base = container.digest_of({"x": "1", "y": "2"}, {"a": a, "b": b})
    assert base == container.digest_of({"y": "2", "x": "1", "sha256": "?"}, {"b": b, "a": a})
    others = [
        ({"x": "1", "y": "3"}, {"a": a, "b": b}),
        ({"x": "1"}, {"a": a, "b": b}),
        ({"x": "1", "y": "2"}, {"a": b, "b": a}),
        ({"x": "1", "y": "2"}, {"a": a, "c": b}),
        ({"x": "1", "y": "2"}, {"a": a.view(3, 2), "b": b}),
        ({"x": "1", "y": "2"}, {"a": a.to(torch.int32), "b": b}),
        ({"x": "1", "y": "2"}, {"a": a}),
    ]
    assert len({base, *(container.digest_of(*other) for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    "shapes",
    [
        {"w": [-1, -8]},
        {"w": [0, 10**30]},
        {"w": [2**62, 4]},
        {"w": [1] * 100},
        {"w": [10**400]},
        {"w": "8"},
        {"w": [[8]]},
        [["w", [8]]],
    ],
)
@pytest.mark.parametrize("load", [formats.load_mask, formats.load_packed_mask])
def test_a_shape_that_no_mask_has_is_refused_without_multiplying_it_out(
    file: Path, shapes: Any, load: Any
) -> None:
    header = {"format": formats.MASK_FORMAT, "shapes": json.dumps(shapes)}
    save_file({"w": torch.zeros(2, dtype=torch.uint8)}, file, metadata=header)
    with pytest.raises(FormatError):
        load(file)


def test_a_header_nested_too_deeply_is_refused(file: Path) -> None:
    header = {"format": formats.MASK_FORMAT, "shapes": "[" * 200_000}
    save_file({"w": torch.zeros(1, dtype=torch.uint8)}, file, metadata=header)
    with pytest.raises(FormatError):
        formats.load_mask(file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        b"\xff" * 64,
        (2**40).to_bytes(8, "little") + b"{}",
        (9).to_bytes(8, "little") + b"[" * 9,
        (2).to_bytes(8, "little") + b"{}",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        (22).to_bytes(8, "little") + b'{"__metadata__":{"a":1}}'[:22],
        (24).to_bytes(8, "little") + b'{"__metadata__":{"a":1}}',
        (21).to_bytes(8, "little") + b'{"__metadata__":"a"}' + b" ",
    ],
)
def test_a_header_in_memory_is_bounded_and_text(content: bytes) -> None:
    with pytest.raises(FormatError, match="its header"):
        container.header_of(content)


def test_a_header_in_memory_is_that_of_the_file(file: Path) -> None:
    formats.save_checkpoint({"w": torch.ones(3)}, file, {"lotus": "yes"})
    assert container.header_of(file.read_bytes()) == header(file)


def test_weights_that_are_moved_as_bytes_make_the_same_file(tmp_path: Path) -> None:
    state = {"head.weight": torch.randn(3, 4), "norm.bias": torch.zeros(2), "n": torch.tensor(7)}
    header = {"timm_model": "vit"}
    formats.save_checkpoint(state, tmp_path / "a.safetensors", header)
    raw = container.raw_tensors((tmp_path / "a.safetensors").read_bytes())
    container.save_raw(raw, tmp_path / "b.safetensors", header)
    said, found = formats.load_with_header(tmp_path / "b.safetensors")
    assert said == header, "with the digest that `load_with_header` verifies"
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    assert all(found[name].dtype == tensor.dtype for name, tensor in state.items())


def test_bytes_that_are_no_tensors_are_refused() -> None:
    with pytest.raises(FormatError, match="cannot be read as safetensors"):
        container.raw_tensors(b"nothing of the kind")
