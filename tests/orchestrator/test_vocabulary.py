"""One vocabulary: names of MLflow stand in one module, and are those of the interface."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.vocabulary import DENSE_EPOCHS, FINETUNE_EPOCHS, Artifact, JobTag, Metric, Tag

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for name in ("trials", "orchestrator", "dashboards")
    for path in (ROOT / name).rglob("*.py")
)

DOCUMENTS = [one / "shared/design/interface.md" for one in (ROOT, ROOT.parent)]
"""Where the interface is written down. It is no part of the repository."""

PROMISED = {
    # Tags.
    "lotus.kind", "lotus.key", "lotus.sweep", "lotus.arm", "lotus.attempts", "lotus.version",
    "lotus.error", "lotus.superseded", "lotus.cached", "lotus.axis.sparsity",
    # Metrics of a trial.
    "dense/val_accuracy", "essential/val_accuracy", "essential/sparsity", "issp/val_accuracy",
    "issp/sparsity", "finetune/train_loss", "finetune/val_loss", "finetune/val_accuracy",
    "final/val_accuracy", "final/test_accuracy", "final/test_accuracy_ticket", "final/sparsity",
    "final/sparsity_model", "final/macs", "final/epochs_to_near_dense",
    "final/train_images_per_s", "time/<stage>_s", "time/total_s", "cache/hits", "cache/saved_s",
    # Of a sweep.
    "essential_sparsity", "essential_sparsity_low", "essential_sparsity_high", "best/val_accuracy",
    "best/test_accuracy", "trials/finished", "trials/failed", "cost/device_hours",
    "cost/device_hours_saved",
    # Artifacts.
    "config/trial.yaml", "masks/essential.safetensors", "masks/denoised.safetensors",
    "masks/final.safetensors", "masks/sparsity.json", "tickets/tickets.safetensors",
    "tickets/examples.png", "checkpoints/final.safetensors", "checkpoints/dense.safetensors",
    "config/sweep.yaml", "report/report.html", "report/summary.json", "report/trials.csv",
    "report/figures/*.png",
}  # fmt: skip
"""Of the interface, its section `In MLflow`."""


def words(kind: type) -> set[str]:
    """The names of a part of the vocabulary."""
    return {text for name, text in vars(kind).items() if name.isupper()}


TAGS = words(Tag) | words(JobTag)
METRICS, ARTIFACTS = words(Metric), words(Artifact)
FILES = {path for path in ARTIFACTS if "/" in path}
GROUPS = {name.split("/")[0] for name in METRICS if "/" in name}

METRIC = re.compile(rf"({'|'.join(sorted(GROUPS))})/[a-z_]*")
OURS = re.compile(r"lotus\.(?!json$|shown$)[a-z_.]+")
"""Tags, and not the file of an export, nor the name of an error handler."""


def written_out(source: str) -> Iterator[str]:
    """Texts of a program that are names of the vocabulary: docstrings are none, f-strings are."""
    tree = ast.parse(source)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            text = node.value
            if OURS.search(text) or METRIC.fullmatch(text) or text in FILES:
                yield text


def test_the_reader_sees_names_and_their_beginnings_and_no_docstrings() -> None:
    source = (
        'def f(x, name):\n    """Of `lotus.key` and final/macs."""\n'
        '    x["lotus.key"], x[f"lotus.stage.{name}"], x["final/macs"], x[f"time/{name}_s"]\n'
        '    return "masks/final.safetensors", "a final/macs in a text", "finals", "lotus.json"\n'
    )
    assert sorted(written_out(source)) == [
        "final/macs", "lotus.key", "lotus.stage.", "masks/final.safetensors", "time/",
    ]  # fmt: skip


@pytest.mark.parametrize("room", ["trials", "orchestrator"])
def test_nobody_else_writes_a_name_out(room: str) -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), text)
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] == room and path.name != "vocabulary.py"
        for text in written_out(path.read_text("utf-8"))
    }
    assert found == set()


def test_the_dashboards_know_the_same_names() -> None:
    """They import nothing of ours: their columns are those of the table that they are given."""
    found = {
        text
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] == "dashboards"
        for text in written_out(path.read_text("utf-8"))
    }
    assert found
    assert found <= METRICS | ARTIFACTS


def test_no_name_means_two_things() -> None:
    for kind in (Tag, JobTag, Metric, Artifact):
        texts = [text for name, text in vars(kind).items() if name.isupper()]
        assert len(texts) == len(set(texts)), kind
    assert not METRICS & ARTIFACTS


def test_names_are_spelled_alike() -> None:
    assert all(re.fullmatch(r"lotus\.[a-z_]+\.?|mlflow\.[A-Za-z.]+", name) for name in TAGS)
    assert all(re.fullmatch(r"[a-z_]+(/[a-z_]*)?", name) for name in METRICS)


def known(promise: str) -> bool:
    """Whether the vocabulary has what the interface promises."""
    if promise in TAGS | METRICS | ARTIFACTS:
        return True
    group = re.split(r"[<*]", promise)[0].rstrip("/")  # `time/<stage>_s`, `report/figures/*.png`
    if "<" in promise or "*" in promise:
        return group in ARTIFACTS or f"{group}/" in METRICS
    return f"{promise.rsplit('.', 1)[0]}." in TAGS  # `lotus.axis.sparsity`


def test_all_that_is_promised_is_in_the_vocabulary() -> None:
    assert {promise for promise in PROMISED if not known(promise)} == set()
    assert not known("lotus.nothing")
    assert not known("final/nothing")
    assert not known("nothing/<stage>_s")
    assert {DENSE_EPOCHS.split("/", maxsplit=1)[0], FINETUNE_EPOCHS} <= GROUPS


def promised_by(document: str) -> set[str]:
    """Names of runs' tags, metrics and artifacts in the section `In MLflow`."""
    section = document.split("## In MLflow", 1)[1].split("\n## ", 1)[0]
    quoted = [text.split(" ")[0] for text in re.findall(r"`([^`]+)`", section)]
    single = ("essential_sparsity", "essential_sparsity_low", "essential_sparsity_high")
    return {text for text in quoted if text.startswith("lotus.") or "/" in text or text in single}


def test_what_is_promised_is_what_the_interface_says() -> None:
    document = next((path for path in DOCUMENTS if path.is_file()), None)
    if document is None:
        pytest.skip(f"the interface is not at hand: none of {', '.join(map(str, DOCUMENTS))}")
    assert promised_by(document.read_text("utf-8")) == PROMISED
