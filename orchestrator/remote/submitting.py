"""What is sent to a cluster for one sweep: its file, the code, nothing secret and nothing local."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.planning.config import SweepConfig, flat
from orchestrator.planning.problems import Place, Problem, SweepError
from orchestrator.planning.sweepfile import load_sweep, resolved_yaml, written
from orchestrator.secrets import looks_secret, redacted, without_password
from orchestrator.versions import VERSION, versions
from orchestrator.vocabulary import JobTag
from trials.model.repository import HUB, LOCAL

PACKAGES = ("trials", "orchestrator", "dashboards")
KINDS = frozenset({".py", ".typed", ".md", ".yaml", ".yml", ".j2", ".css", ".js", ".json"})
"""Suffixes of the files that are code; pictures and bytecode stay here."""

SWEEP_FILE, START_FILE, JOB_FILE = "sweep.yaml", "start.py", "job.json"

STOP_WAIT_S = 120
"""How long a driver that is to end may take; Ray's own 3 s would kill it in the middle."""

FILES: tuple[tuple[str, str], ...] = (
    ("data.root", "the folder of the data"),
    ("model.pretrained", "the file of the weights"),
    ("model.name", "the folder of the model"),
    ("storage.path", "the store"),
)
"""Settings that may be paths, and what lies there."""


@dataclass(frozen=True)
class Submission:
    """One sweep, ready to be sent.

    Attributes:
        sweep: as the file and the overrides say.
        environment: variables that the driver and all workers get; for everybody to see.
        with_code: whether this package is sent too.
        report: whether the driver writes one.
        notes: what must hold on the cluster and cannot be seen from here, a sentence each.
    """

    sweep: SweepConfig
    environment: Mapping[str, str]
    with_code: bool
    report: bool
    notes: tuple[str, ...]

    @cached_property
    def text(self) -> str:
        """The sweep file that is sent: every default written out."""
        return resolved_yaml(self.sweep)

    @property
    def digest(self) -> str:
        """Of the sweep file that is sent."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @property
    def metadata(self) -> dict[str, str]:
        """What the dashboard shows of the job."""
        return {
            JobTag.SWEEP: self.sweep.name,
            JobTag.EXPERIMENT: self.sweep.experiment_name,
            JobTag.FILE: self.digest,
            JobTag.VERSION: VERSION,
        }

    def write(self, folder: Path) -> None:
        """Everything that is sent, as it is to lie on the cluster."""
        job = {
            "arguments": ["run", "--address", "auto"] + ([] if self.report else ["--no-report"]),
            "versions": versions(),
            "code": code_digest(),
        }
        (folder / SWEEP_FILE).write_text(self.text, encoding="utf-8")
        (folder / JOB_FILE).write_text(json.dumps(job, indent=1), encoding="utf-8")
        shutil.copyfile(Path(__file__).with_name("submitted.py"), folder / START_FILE)
        if self.with_code:
            _write_code(folder)


def prepare(
    path_or_name: str,
    overrides: Sequence[str] = (),
    environment: Sequence[str] = (),
    *,
    with_code: bool = True,
    report: bool = True,
) -> Submission:
    """Check a sweep for being sent away.

    Args:
        environment: `NAME=VALUE`, or `NAME` for its value here.

    Raises:
        SweepError: with every problem of the file, or with everything in it that only this
            machine has or that nobody else may see.
    """
    sweep = load_sweep(path_or_name, overrides)
    source, raw = written(path_or_name, overrides)
    if problems := [*_secrets(sweep), *_local(sweep, raw)]:
        raise SweepError(source, problems)
    return Submission(
        sweep, passed_environment(environment), with_code, report, tuple(_notes(sweep))
    )


def identity(sweep: SweepConfig) -> str:
    """The beginning of the ids of all jobs of a sweep: a sweep is its name in its experiment."""
    said = (sweep.name, sweep.experiment_name, without_password(sweep.tracking.uri))
    slug = re.sub(r"[^a-z0-9]+", "-", sweep.name.lower()).strip("-")[:40]
    return f"lotus-{slug}-{hashlib.sha256(json.dumps(said).encode()).hexdigest()[:8]}"


def passed_environment(listed: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` as a mapping.

    Raises:
        SweepError: a name that holds a secret, or nothing at all.
    """
    found: dict[str, str] = {}
    for one in listed:
        name, equals, value = one.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            message = "is written --env NAME=VALUE, or --env NAME for its value here"
            raise SweepError(f"--env {name}", [Problem((), message)])
        if looks_secret(name) or redacted(value) != value:
            message = (
                f"{name} holds a secret and is not sent: whoever sees the dashboard would see it. "
                "Set it where the nodes are started (`ray start`): driver and workers inherit it"
            )
            raise SweepError(f"--env {name}", [Problem((), message)])
        if not equals and name not in os.environ:
            raise SweepError(f"--env {name}", [Problem((), "is not set here; write NAME=VALUE")])
        found[name] = value if equals else os.environ[name]
    return found


def code_files() -> dict[str, Path]:
    """Every file of this package's code: name below the root -> where it lies here."""
    root = Path(__file__).parents[2]
    found = (path for name in PACKAGES for path in (root / name).rglob("*"))
    return {
        path.relative_to(root).as_posix(): path
        for path in sorted(found)
        if path.suffix in KINDS and path.is_file()
    }


def code_digest() -> str:
    """Of the code that runs here; equal versions can hold unequal code."""
    digest = hashlib.sha256()
    for name, path in code_files().items():
        content = path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _write_code(folder: Path) -> None:
    for name, path in code_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
    # What makes it an installed package: its version is asked for where it runs.
    info = folder / f"lotus_sweep-{VERSION}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: lotus-sweep\nVersion: {VERSION}\n", encoding="utf-8"
    )


def _secrets(sweep: SweepConfig) -> Iterator[Problem]:
    """What is sent lies in the cluster's memory, for whoever reaches it."""
    for name, value in flat(sweep).items():
        text = str(value)
        if redacted(text) == text and without_password(text) == text:
            continue
        yield Problem(
            tuple(name.split(".")),
            ": holds a password or a token, and a submitted file can be read by everybody on the "
            "cluster. Leave it out here; where the nodes are started, set MLFLOW_TRACKING_USERNAME "
            "and MLFLOW_TRACKING_PASSWORD, PGUSER and PGPASSWORD, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY",
        )


def _local(sweep: SweepConfig, raw: Mapping[str, Any]) -> Iterator[Problem]:
    """What means a file of this machine."""
    if sweep.tracking.uri.startswith("sqlite:"):
        yield Problem(
            ("tracking", "uri"),
            f" = {sweep.tracking.uri}: a file of one machine, which the nodes of a cluster do not "
            "share; write a server, http://HOST:5000, or a database, postgresql://HOST/mlflow",
        )
    for name, what in FILES:
        for where, value in _written(raw, name):
            path = _path(name, value)
            if path is not None and not Path(path).is_absolute():
                yield Problem(where, f" = {value}: {_elsewhere(what, name)}")
    if not any(_written(raw, "storage.path")):
        yield Problem(
            ("storage", "path"),
            f": not given, and the default is a folder below this one; {_store_hint()}",
        )


def _written(raw: Mapping[str, Any], name: str) -> Iterator[tuple[Place, Any]]:
    """Every value of a setting in the file: its own and those of an axis."""
    section, key = name.split(".")
    own = raw.get(section)
    if isinstance(own, dict) and own.get(key) is not None:
        yield (section, key), own[key]
    search = raw.get("search") or []
    blocks = [search] if isinstance(search, dict) else search
    for i, block in enumerate(blocks):
        where: Place = ("search",) if isinstance(search, dict) else ("search", i)
        values = block.get(name) or []
        for j, value in enumerate(values if isinstance(values, list) else [values]):
            yield (*where, name, j), value


def _path(name: str, value: Any) -> str | None:
    """The path that a setting means; None for an address, a repository, and timm's own names."""
    if not isinstance(value, str) or "://" in value or value.startswith(HUB):
        return None
    if name == "model.name" and not value.startswith(LOCAL):
        return None
    return value.removeprefix(LOCAL)


def _elsewhere(what: str, name: str) -> str:
    if name == "storage.path":
        return f"relative to this folder, which the cluster does not have; {_store_hint()}"
    return (
        f"relative to this folder, which the cluster does not have; write the absolute path at "
        f"which every node has {what}"
    )


def _store_hint() -> str:
    return "write s3://BUCKET/PATH, or the absolute path of a folder that every node mounts"


def _notes(sweep: SweepConfig) -> Iterator[str]:
    """What cannot be checked from here."""
    settings = flat(sweep)
    named = {name: settings.get(name) for name, _ in FILES}
    paths = [f"{path} ({k})" for k, v in named.items() if (path := _path(k, v)) is not None]
    if paths:
        yield f"every node must have {', '.join(paths)}"
    if re.match(r"https?://(localhost|127\.|\[::1\])", sweep.tracking.uri):
        yield f"{sweep.tracking.uri} means each node itself; that is right for one machine only"
