import json
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm

from trials.model import answers, capability, hub

QUESTION = ["shape", "vit_tiny_patch16_224", {"img_size": 8, "patch_size": [2, 2]}]


class Asked:
    """Gives its answer and counts how often it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.times = answer, 0

    def __call__(self) -> Any:
        self.times += 1
        return self.answer


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where answers are kept; this process looks as if it had not imported timm."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(answers, "_timm_is_here", lambda: False)
    monkeypatch.setattr(capability, "_KNOWN", {})
    answers.installed.cache_clear()
    yield tmp_path / "lotus-sweep" / "timm"
    answers.installed.cache_clear()


def answer(ask: Any, question: list[Any] = QUESTION, lasting: bool = True) -> Any:
    return answers.kept(question, ask, lambda: lasting)


def install(monkeypatch: pytest.MonkeyPatch, record: str | None) -> None:
    """A timm with this list of its files."""
    made = SimpleNamespace(read_text={"RECORD": record}.get)
    monkeypatch.setattr(metadata, "distribution", {"timm": made}.__getitem__)
    answers.installed.cache_clear()


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*")) if folder.exists() else []


def test_a_question_is_asked_once(folder: Path) -> None:
    first, again = Asked({"depth": 1}), Asked({"depth": 2})
    assert answer(first) == answer(again) == {"depth": 1}
    assert (first.times, again.times) == (1, 0)
    (path,) = files(folder)
    assert json.loads(path.read_text())["question"] == QUESTION


def test_other_questions_have_other_answers() -> None:
    other = [*QUESTION[:2], {"img_size": 16}]
    assert answer(Asked(1)) == 1
    assert answer(Asked(2), other) == 2
    assert (answer(Asked(3)), answer(Asked(3), other)) == (1, 2)


def test_a_process_that_has_timm_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(Asked(1))
    monkeypatch.setattr(answers, "_timm_is_here", lambda: True)
    assert answer(Asked(2)) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-10],
        lambda text: text.replace('"answer": 1', '"answer": 7'),
        lambda text: "[]",
        lambda text: "{}",
        lambda text: "\x00" * len(text),
    ],
)
def test_a_damaged_answer_is_asked_again_and_mended(folder: Path, damage: Any) -> None:
    answer(Asked(1))
    (path,) = files(folder)
    path.write_text(damage(path.read_text()))
    again, mended = Asked(1), Asked(2)
    assert answer(again) == answer(mended) == 1
    assert (again.times, mended.times) == (1, 0)


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert (answer(Asked(1)), answer(Asked(2))) == (1, 2)


def test_a_folder_that_is_not_absolute_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert (answer(Asked(1)), answer(Asked(2))) == (1, 2)
    assert not files(tmp_path)


def test_what_is_not_timms_own_or_no_json_or_an_error_is_not_kept(folder: Path) -> None:
    assert (answer(Asked(1), lasting=False), answer(Asked(2))) == (1, 2)
    (kept,) = files(folder)
    assert answer(Asked(3), ["shape", object()]) == 3

    def fails() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        answer(fails, ["other"])
    assert files(folder) == [kept]


@pytest.mark.parametrize("record", [None, "", "__editable__.timm.pth,sha256=abc,70\n"])
def test_a_timm_that_may_change_under_its_name_is_asked_every_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch, record: str | None
) -> None:
    install(monkeypatch, record)
    assert (answer(Asked(1)), answer(Asked(2))) == (1, 2)
    assert not files(folder)


def test_another_timm_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        install(monkeypatch, f"timm/__init__.py,sha256={number},70\n")
        assert answer(Asked(number)) == number


def test_a_model_is_the_same_from_disk_and_from_timm(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, kwargs = "vit_tiny_patch16_224", {"img_size": [8, 16], "patch_size": 2, "depth": 3}
    asked = capability.capability_of(name, kwargs), hub.identity(name)
    assert len(files(folder)) == 2
    monkeypatch.setattr(capability, "_KNOWN", {})
    monkeypatch.setattr(capability, "build_empty", None)
    monkeypatch.setattr(hub, "_identity", None)
    assert (capability.capability_of(name, kwargs), hub.identity(name)) == asked


def test_a_model_that_a_program_has_registered_is_not_kept(folder: Path) -> None:
    def own_vit(pretrained: bool = False, **kwargs: Any) -> Any:
        return timm.models.vision_transformer.VisionTransformer(img_size=16, depth=1, embed_dim=12)

    own_vit.__module__ = __name__
    setattr(sys.modules[__name__], "own_vit", own_vit)  # noqa: B010
    timm.models.register_model(own_vit)
    try:
        assert capability.capability_of("own_vit", {}).depth == 1
        assert hub.identity("vit_small_patch16_224")
    finally:
        timm.models._registry._model_entrypoints.pop("own_vit")
    assert len(files(folder)) == 1
