import io
from pathlib import Path

import pandas as pd
import pytest

from dashboards import Picture, files


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-x", "\t=1", "\r=1"])
def test_a_formula_is_disarmed(text: str) -> None:
    read = pd.read_csv(io.BytesIO(files.trials_csv(pd.DataFrame({"name": [text]}))))
    assert read["name"].item() == "'" + text.replace("\r", "\n")


@pytest.mark.parametrize("text", ["-1", "+0.5", "-1e-05", "lotus-s0.30", 'a\nb,"c"', "é"])
def test_numbers_and_plain_text_are_left_alone(text: str) -> None:
    content = files.trials_csv(pd.DataFrame({"block": pd.Series([text], dtype=object)}))
    assert pd.read_csv(io.BytesIO(content), dtype=str)["block"].item() == text


def test_pictures_are_distinct_spread_and_at_most_four() -> None:
    drops = [0.9, 0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.0]
    pictures = tuple(
        Picture(title=str(i), patch_drop=d, png=files.PNG_SIGNATURE) for i, d in enumerate(drops)
    )
    chosen = files.chosen_pictures(pictures)
    assert [p.patch_drop for p in chosen] == [0.1, 0.3, 0.6, 0.9]
    assert chosen[0].title == "1"


def test_a_picture_is_named_by_its_number_alone() -> None:
    picture = Picture(title="../../etc/passwd", patch_drop=0.3000000001, png=b"")
    assert files.picture_name(picture) == "tickets_d0.3"


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    files.write_whole(path, b"old")

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        files.write_whole(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert path.read_bytes() == b"old"
