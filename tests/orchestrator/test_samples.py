"""Samples of the documents do what they say: shell and Python blocks, run on a finished sweep.

Every block is in one of two lists: it is run here, line by line, or a reason says why it is not.
"""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from orchestrator import load_sweep
from orchestrator.tracking.tracker import Tracker, open_sweep
from orchestrator.vocabulary import Artifact, Metric, Tag
from tests.test_documents import blocks

pytestmark = pytest.mark.slow

Lotus = Callable[..., tuple[int, str, str]]
Sample = tuple[str, str, int]
"""Document, language, and which of its blocks in that language, from 0."""

RUN: frozenset[Sample] = frozenset([
    ("README.md", "sh", 1),
    ("README.md", "python", 0),
    ("docs/formats.md", "python", 0),
    ("docs/getting-started.md", "sh", 1),
    ("docs/getting-started.md", "sh", 2),
    ("docs/mlflow.md", "sh", 0),
    ("docs/mlflow.md", "python", 0),
])  # fmt: skip

SETS_UP = "sets up a machine, or runs `digits` for minutes: CI's own job does"
CONTAINERS = "needs a container engine; the files are checked in tests/orchestrator/deploy"
KUBERNETES = "needs a cluster; the files are checked in tests/orchestrator/deploy"
HUB = "needs the weights of a model hub; with a small model in tests/orchestrator/commands"
NOT_RUN: dict[Sample, str] = {
    ("README.md", "sh", 0): SETS_UP,
    ("README.md", "sh", 2): CONTAINERS,
    ("README.md", "python", 1): "trains ViT-Ti at 224 pixels for an hour; with a small model in "
    "tests/trials/graph/test_execute.py",
    ("CONTRIBUTING.md", "sh", 0): SETS_UP,
    ("docs/cluster.md", "sh", 0): CONTAINERS,
    ("docs/cluster.md", "sh", 1): "needs a cluster; jobs are submitted in "
    "tests/orchestrator/test_jobs.py",
    ("docs/cluster.md", "sh", 2): "needs Slurm; tests/orchestrator/deploy/test_slurm.py",
    ("docs/getting-started.md", "sh", 0): SETS_UP,
    ("docs/getting-started.md", "sh", 3): HUB,
    ("docs/isp-and-essential.md", "sh", 0): "hours; planned in tests/orchestrator/planning",
    ("docs/mlflow.md", "sh", 1): "serves until Ctrl-C; asked over HTTP in "
    "tests/orchestrator/publishing/test_serving.py",
    ("orchestrator/deploy/kubernetes/README.md", "sh", 0): KUBERNETES,
    ("orchestrator/deploy/kubernetes/README.md", "sh", 1): KUBERNETES,
    ("docs/own-data-and-models.md", "sh", 0): "needs a pickle from elsewhere; "
    "tests/orchestrator/commands/test_importing.py makes its own",
    ("docs/sweep-file.md", "sh", 0): HUB,
}

LINES_NOT_RUN = {
    "source .venv/bin/activate": "the tests' Python is the environment's",
    "lotus ui": "serves until Ctrl-C: tests/orchestrator/commands/test_ui.py",
}
"""How lines of blocks that are run may begin, and why they are not."""


def samples() -> dict[Sample, str]:
    """Every shell and Python block of the documents."""
    found: dict[Sample, str] = {}
    for language in ("sh", "python"):
        counts: dict[str, int] = {}
        for name, text in blocks(language):
            found[name, language, counts.setdefault(name, 0)] = text
            counts[name] += 1
    return found


def test_every_sample_is_run_or_says_why_not() -> None:
    found = set(samples())
    assert found - RUN - NOT_RUN.keys() == set(), "a new sample"
    assert (RUN | NOT_RUN.keys()) - found == set(), "a sample that is there no more"
    assert RUN & NOT_RUN.keys() == set()


def test_every_test_that_a_reason_names_exists() -> None:
    root = Path(__file__).parents[2]
    reasons = [*NOT_RUN.values(), *LINES_NOT_RUN.values()]
    named = {word.rstrip(".,;:") for text in reasons for word in text.split() if "tests/" in word}
    assert len(named) > 6
    assert sorted(name for name in named if not (root / name).exists()) == []


@pytest.fixture(scope="module")
def folder(finished_sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader sits: a finished sweep as `my.yaml`, and as `digits`."""
    here = tmp_path_factory.mktemp("samples")
    before = finished_sweep.parent
    for name in ("store", "mlflow.db", "mlartifacts"):
        place = before / name
        if place.is_dir():
            shutil.copytree(place, here / name)
        elif place.exists():
            shutil.copy(place, here / name)
    text = finished_sweep.read_text("utf-8").replace(str(before), str(here))
    for name in ("my.yaml", "digits"):
        (here / name).write_text(text, "utf-8")
    return here


@pytest.fixture
def sitting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def executed(sample: Sample) -> dict[str, Any]:
    """What a Python block defines."""
    names: dict[str, Any] = {}
    exec(compile(samples()[sample], sample[0], "exec"), names)
    return names


def test_the_python_of_the_readme_runs_and_selects(sitting: Path) -> None:
    names = executed(("README.md", "python", 0))
    assert len(names["table"]) == 3
    assert (names["table"]["finetune.epochs"].astype(int) == 3).all()
    assert names["select"](names["table"]).essential.value > 0


@pytest.mark.parametrize("sample", sorted(s for s in RUN if s[1] == "sh"), ids=str)
def test_the_commands_of_a_block_end_well(sample: Sample, sitting: Path, lotus: Lotus) -> None:
    ran = 0
    for line in samples()[sample].splitlines():
        words = shlex.split(line, comments=True)
        if not words or line.startswith(tuple(LINES_NOT_RUN)):
            continue
        assert words[0] == "lotus", line
        code, out, err = lotus(*words[1:])
        assert code == 0, f"{line}: {out}{err}"
        assert out.strip(), line
        ran += 1
    assert ran or sample == ("docs/mlflow.md", "sh", 0)
    if sample == ("README.md", "sh", 1):
        assert (sitting / "model/model.onnx").is_file()


def test_the_python_of_the_page_on_mlflow_gives_a_row_for_each_arm(sitting: Path) -> None:
    names = executed(("docs/mlflow.md", "python", 0))
    means = names["table"].groupby("arm")[Metric.FINAL_DEPLOYED_TEST_ACCURACY].mean()
    assert sorted(means.index) == ["essential", "lotus", "magnitude"]
    assert means.between(0, 1).all()


def test_the_python_of_the_page_on_formats_reads_a_mask(
    sitting: Path, finished_sweep: Path
) -> None:
    where = open_sweep(load_sweep(finished_sweep))
    (run,) = [r for r in Tracker(where).runs() if r.data.tags.get(Tag.ARM) == "lotus"]
    mask = MlflowClient(where.uri).download_artifacts(run.info.run_id, Artifact.FINAL_MASK)
    (sitting / "masks").mkdir()
    shutil.copy(mask, sitting / Artifact.FINAL_MASK)
    names = executed(("docs/formats.md", "python", 0))
    kept = sum(int(mask.sum()) for mask in names["keep"].values())
    size = sum(mask.size for mask in names["keep"].values())
    assert 1 - kept / size == pytest.approx(run.data.metrics[Metric.FINAL_SPARSITY])
    assert {mask.dtype for mask in names["keep"].values()} == {np.dtype(bool)}
    assert names["shapes"] == json.loads(json.dumps(names["shapes"]))
