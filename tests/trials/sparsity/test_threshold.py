"""The k-th largest by digits, against sorting."""

import pytest
import torch

from trials.sparsity import threshold

SPECIAL = [0.0, -0.0, 1.0, -1.0, float("inf"), -float("inf"), 1e-45, -1e-45, 3.4e38, 1.0, 1.0]


@pytest.mark.parametrize("kind", [torch.float16, torch.float32, torch.float64])
def test_integers_are_in_the_order_of_the_floats_and_equal_where_they_are(
    kind: torch.dtype,
) -> None:
    scores = torch.tensor(SPECIAL, dtype=kind)
    for wide in (True,) if kind == torch.float64 else (False, True):
        found = threshold.ordered(scores, wide=wide)
        assert torch.equal(found[:, None] < found, scores[:, None] < scores)
        assert torch.equal(found[:, None] == found, scores[:, None] == scores)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("values", ["many", "few", "one"])
@pytest.mark.parametrize("chunk", [1, 200, 1000], ids="{} at once".format)
def test_the_kth_largest_and_its_ties_are_those_of_a_sort(
    wide: bool, values: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threshold, "CHUNK", chunk)
    draw = torch.Generator().manual_seed(0)
    limit = 2**62 if wide else 2**31
    numbers = torch.randint(-limit, limit, (500,), generator=draw)
    if values == "few":
        numbers = numbers // (limit // 2)
    elif values == "one":
        numbers = torch.full((500,), -7)
    digits = 4 if wide else 2
    for count in (1, 2, 250, 499, 500):
        best = numbers.sort(descending=True).values
        found, ties = threshold.kth_largest(lambda: iter(numbers.split(99)), count, digits)
        assert found == int(best[count - 1])
        assert ties == int((best[:count] == best[count - 1]).sum())


def test_chunks_cover_every_place_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threshold, "CHUNK", 4)
    for size in (0, 1, 4, 9):
        places = [i for part in threshold.chunks(size) for i in range(size)[part]]
        assert places == list(range(size))
