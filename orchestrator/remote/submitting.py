"""What is sent to a cluster for a sweep: its file and the code, but no secrets and local paths."""

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
"""Suffixes of files that are sent as code; pictures and bytecode are not."""

SWEEP_FILE, START_FILE, JOB_FILE = "sweep.yaml", "start.py", "job.json"

STOP_WAIT_S = 120
"""How long a driver may take to end; Ray's default of 3 s would kill it half-way."""

FILES: tuple[tuple[str, str], ...] = (
    ("data.root", "the folder of the data"),
    ("model.pretrained", "the file of the weights"),
    ("model.name", "the folder of the model"),
    ("storage.path", "the store"),
)
"""Settings that may be paths, and what is there."""


@dataclass(frozen=True)
class Submission:
    """A sweep ready to be sent.

    Attributes:
        sweep: from the file and the overrides.
        environment: variables for the driver and all workers; everybody can see them.
        with_code: whether this package is sent too.
        report: whether the driver writes a report.
        notes: what must hold on the cluster but cannot be checked here, a sentence each.
    """

    sweep: SweepConfig
    environment: Mapping[str, str]
    with_code: bool
    report: bool
    notes: tuple[str, ...]

    @cached_property
    def text(self) -> str:
        """The submitted sweep file, with every default written out."""
        return resolved_yaml(self.sweep)

    @property
    def digest(self) -> str:
        """Digest of the submitted sweep file."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @property
    def metadata(self) -> dict[str, str]:
        """What the dashboard shows about the job."""
        return {
            JobTag.SWEEP: self.sweep.name,
            JobTag.EXPERIMENT: self.sweep.experiment_name,
            JobTag.FILE: self.digest,
            JobTag.VERSION: VERSION,
        }

    def write(self, folder: Path) -> None:
        """Write everything that is sent, as it will be on the cluster."""
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
    """Load a sweep and check that it can be submitted.

    Args:
        environment: `NAME=VALUE`, or `NAME` for its value here.

    Raises:
        SweepError: with all problems of the file, or with everything in it that is local to this
            machine or secret.
    """
    sweep = load_sweep(path_or_name, overrides)
    source, raw = written(path_or_name, overrides)
    if problems := [*_secrets(sweep), *_local(sweep, raw)]:
        raise SweepError(source, problems)
    return Submission(
        sweep, passed_environment(environment), with_code, report, tuple(_notes(sweep))
    )


def identity(sweep: SweepConfig) -> str:
    """The prefix of a sweep's job ids; sweeps are identified by name, experiment and tracking."""
    parts = (sweep.name, sweep.experiment_name, without_password(sweep.tracking.uri))
    slug = re.sub(r"[^a-z0-9]+", "-", sweep.name.lower()).strip("-")[:40]
    return f"lotus-{slug}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]}"


def passed_environment(listed: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` as a mapping.

    Raises:
        SweepError: a variable that holds a secret, or is not set.
    """
    variables: dict[str, str] = {}
    for text in listed:
        variable, equals, value = text.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
            message = "is written --env NAME=VALUE, or --env NAME for its value here"
            raise SweepError(f"--env {variable}", [Problem((), message)])
        if looks_secret(variable) or redacted(value) != value:
            message = (
                f"{variable} holds a secret and is not sent: everybody who sees the dashboard "
                "would see it. Set it where the nodes are started (`ray start`): driver and "
                "workers inherit it"
            )
            raise SweepError(f"--env {variable}", [Problem((), message)])
        if not equals and variable not in os.environ:
            raise SweepError(
                f"--env {variable}", [Problem((), "is not set here; write NAME=VALUE")]
            )
        variables[variable] = value if equals else os.environ[variable]
    return variables


def code_files() -> dict[str, Path]:
    """All files of this package's code: path from the root -> path on this machine."""
    root = Path(__file__).parents[2]
    paths = (path for package in PACKAGES for path in (root / package).rglob("*"))
    return {
        path.relative_to(root).as_posix(): path
        for path in sorted(paths)
        if path.suffix in KINDS and path.is_file()
    }


def code_digest() -> str:
    """Digest of the code that runs here; equal versions can have different code."""
    digest = hashlib.sha256()
    for name, path in code_files().items():
        content = path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _write_code(folder: Path) -> None:
    for path_below, path in code_files().items():
        (folder / path_below).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path_below)
    # Makes it an installed package, because its version is looked up.
    info = folder / f"lotus_sweep-{VERSION}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: lotus-sweep\nVersion: {VERSION}\n", encoding="utf-8"
    )


def _secrets(sweep: SweepConfig) -> Iterator[Problem]:
    """Settings with secrets, which anybody with access to the cluster could read."""
    for key, value in flat(sweep).items():
        text = str(value)
        if redacted(text) == text and without_password(text) == text:
            continue
        yield Problem(
            tuple(key.split(".")),
            ": holds a password or a token, and a submitted file can be read by everybody on the "
            "cluster. Leave it out here; where the nodes are started, set MLFLOW_TRACKING_USERNAME "
            "and MLFLOW_TRACKING_PASSWORD, PGUSER and PGPASSWORD, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY",
        )


def _local(sweep: SweepConfig, raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Settings that refer to files of this machine."""
    if sweep.tracking.uri.startswith("sqlite:"):
        yield Problem(
            ("tracking", "uri"),
            f" = {sweep.tracking.uri}: a file of one machine, which the nodes of a cluster do not "
            "share; write a server, http://HOST:5000, or a database, postgresql://HOST/mlflow",
        )
    for setting, what in FILES:
        for where, value in _written(raw, setting):
            path = _path(setting, value)
            if path is not None and not Path(path).is_absolute():
                yield Problem(where, f" = {value}: {_elsewhere(what, setting)}")
    if not any(_written(raw, "storage.path")):
        yield Problem(
            ("storage", "path"),
            f": not given, and the default is a folder below this one; {_store_hint()}",
        )


def _written(raw: Mapping[str, Any], setting: str) -> Iterator[tuple[Place, Any]]:
    """All values of a setting in the file, including those of an axis."""
    section, key = setting.split(".")
    settings = raw.get(section)
    if isinstance(settings, dict) and settings.get(key) is not None:
        yield (section, key), settings[key]
    search = raw.get("search") or []
    blocks = [search] if isinstance(search, dict) else search
    for i, block in enumerate(blocks):
        where: Place = ("search",) if isinstance(search, dict) else ("search", i)
        values = block.get(setting) or []
        for j, value in enumerate(values if isinstance(values, list) else [values]):
            yield (*where, setting, j), value


def _path(name: str, value: Any) -> str | None:
    """The path that a setting means; None for an address, a repository, and timm's own names."""
    if not isinstance(value, str) or "://" in value or value.startswith(HUB):
        return None
    if name == "model.name" and not value.startswith(LOCAL):
        return None
    return value.removeprefix(LOCAL)


def _elsewhere(what: str, setting: str) -> str:
    if setting == "storage.path":
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
    settings_of_paths = {setting: settings.get(setting) for setting, _ in FILES}
    paths = [
        f"{path} ({k})" for k, v in settings_of_paths.items() if (path := _path(k, v)) is not None
    ]
    if paths:
        yield f"every node must have {', '.join(paths)}"
    if re.match(r"https?://(localhost|127\.|\[::1\])", sweep.tracking.uri):
        yield f"{sweep.tracking.uri} means each node itself; that is right for one machine only"
