"""Shared by all tests: where the real data lies, and one small finished sweep."""

import gc
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # as in the product: programs are forked
os.environ.setdefault("LOTUS_NO_LIVE", "true")  # a process more for each sweep of half a minute
os.environ.setdefault("RAY_raylet_start_wait_time_s", "150")  # 30 s: too few on a busy machine
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other, of four processes
for name in ("MLFLOW_TRACKING_URI", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
    os.environ.pop(name, None)

# The same examples everywhere and always, however long one takes: a busy machine is no finding.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"

TINY = """\
name: tiny
data: {name: digits, validation: 297, train_images: 200}
model:
  name: vit_tiny_patch16_224
  pretrained: false
  kwargs: {img_size: 8, patch_size: 2, in_chans: 1, embed_dim: 32, depth: 2, num_heads: 2}
  mean: [0.3]
  std: [0.38]
dense: {epochs: 10, lr: 3.0e-3, batch_size: 16}
tickets: {weights: adapted}
issp: {target_sparsity: 0.6, ingredients: 3, steps: 5, lr: 1.0e-3, batch_size: 32}
finetune: {weights: current, epochs: 2, lr: 1.0e-3, batch_size: 32}
search:
  arm: [essential, lotus, magnitude]
  sparsity: [0.3]
  patch_drop: [0.25]
  mask_data_fraction: [0.5]
  seed: [0]
tracking: {uri: "sqlite:///{folder}/mlflow.db"}
storage: {path: "{folder}/store"}
"""


LONGEST_FIRST = (
    "orchestrator/test_faults.py",
    "orchestrator/test_search.py",
    "orchestrator/test_surroundings.py",
    "orchestrator/tracking/test_places.py",
    "orchestrator/deploy/test_stack.py",
    "orchestrator/driver/test_starting.py",
    "orchestrator/faults/test_away.py",
    "orchestrator/test_chaos.py",
    "orchestrator/test_jobs.py",
    "trials/model/test_capability.py",
    "trials/test_devices.py",
    "orchestrator/test_cut_off.py",
    "orchestrator/driver/test_fallen.py",
    "orchestrator/test_spot.py",
    "orchestrator/test_terminals.py",
    "dashboards/test_browser.py",
    "orchestrator/test_own_images.py",
    "orchestrator/reading/test_standing.py",
    "orchestrator/test_samples.py",
    "orchestrator/deploy/test_accounts.py",
    "orchestrator/tracking/test_schema.py",
    "orchestrator/deploy/test_slurm.py",
    "test_imports.py",
    "orchestrator/test_nodes.py",
    "orchestrator/storage/test_before_deployed.py",
    "orchestrator/faults/test_sqlite.py",
    "orchestrator/commands/test_ui.py",
    "orchestrator/test_autoscaling.py",
    "orchestrator/commands/test_doctor.py",
    "orchestrator/worker/test_cached.py",
    "orchestrator/driver/test_driver.py",
    "dashboards/test_report.py",
    "orchestrator/test_one_copy.py",
    "orchestrator/test_short_items.py",
    "orchestrator/reading/test_alongside.py",
    "orchestrator/faults/test_gone.py",
    "orchestrator/worker/test_exporter.py",
    "orchestrator/tracking/test_blank.py",
    "orchestrator/test_clocks.py",
    "orchestrator/commands/test_new.py",
    "orchestrator/tracking/test_opening.py",
    "orchestrator/reading/test_ages.py",
)
"""Files of half a minute and more, roughly by their seconds; after them those marked slow. They are
taken in this order: a long one that is taken last leaves the other processes without work."""

SERVERS = frozenset(
    [
        "ray_cluster",
        "finished_sweep",
        "s3_server",
        "s3",
        "server",
        "servers",
        "proxy",
        "postgres",
        "cluster",
        "hosts",
        "story",
        "local_run",
        "bench",
        "undisturbed",
        "seen",
        "original",
        "rest",
        "mounted",
        "crowded",
        "nameless",
        "in_both_locales",
    ]
)
"""Fixtures that start Ray, a server or a program."""


PROGRAMS = frozenset(["subprocess", "Program", "Chromium", "loaded_by"])
"""What a test names that starts a program."""

_STARTS: dict[CodeType, bool] = {}


def starts_a_program(function: Any) -> bool:
    """Whether a function of the tests, or one of them that it names, starts a program."""
    code = getattr(function, "__code__", None)
    if code is None or not code.co_filename.startswith(f"{Path(__file__).parent}{os.sep}"):
        return False
    if code not in _STARTS:
        _STARTS[code] = False  # it may name itself
        names, within = set(), [code]
        while within:
            one = within.pop()
            names |= set(one.co_names)
            within += [part for part in one.co_consts if isinstance(part, CodeType)]
        known = function.__globals__
        _STARTS[code] = bool(names & PROGRAMS) or any(
            starts_a_program(known.get(name)) for name in sorted(names)
        )
    return _STARTS[code]


def needs_a_server(item: pytest.Item) -> bool:
    """Whether a test is left out of `make check`."""
    kind = getattr(getattr(item, "callspec", None), "params", {}).get("store")
    needed = SERVERS & set(getattr(item, "fixturenames", ()))
    return kind == "s3" or bool(needed) or starts_a_program(getattr(item, "function", None))


def pytest_configure() -> None:
    """Under `nohup` a closed terminal would be nothing to the programs that tests start."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first. xdist keeps this order with --no-loadscope-reorder, see the Makefile."""
    for item in items:
        if needs_a_server(item):
            item.add_marker("server")
    rank = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST_FIRST)}
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: rank.get(item.path, len(rank) + (item.path not in slow)))


def pytest_collection_finish() -> None:
    """A million objects of libraries live to the end: no collection of garbage looks at them."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """As it was, for what looks for leaks at the end."""
    gc.unfreeze()


SAME_PAGES = frozenset(
    f"tests/dashboards/{name}.py"
    for name in ("test_browser", "test_trial_table", "vega/test_embed")
)
"""Files that look at the same pages, which take ten seconds to make: one process takes them all."""


class FromBothEnds(LoadFileScheduling):
    """File by file from the front, where the long ones are; the last process takes from the back.

    The long ones wait for Ray a third of their time, the short ones compute. Side by side they use
    what one core after the other would leave idle.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return min(SAME_PAGES) if file in SAME_PAGES else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        if self.numnodes > 1 and node.gateway.id == f"gw{self.numnodes - 1}":
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """With --dist loadfile, see the Makefile."""
    return FromBothEnds(config, log) if config.getvalue("dist") == "loadfile" else None


def tiny_sweep(folder: Path, *, at_once: int | None = 1) -> Path:
    """A sweep file for a few seconds, everything below `folder`.

    Args:
        at_once: processes that work on it. Each imports torch and timm, five seconds of a core, so
            there is one where a test does not need more; None = as many as there are cores.
    """
    path = folder / "tiny.yaml"
    text = TINY.replace("{folder}", str(folder))
    if at_once is not None:
        text += f"resources: {{max_concurrent_trials: {at_once}}}\n"
    path.write_text(text, encoding="utf-8")
    return path


COMMAND = """
import sys
from orchestrator.cli import cli
cli.main(sys.argv[1:], standalone_mode=False)
"""
"""`lotus`, for `loaded_by`."""


def loaded_by(program: str, *args: str, **environment: str) -> set[str]:
    """Top-level names of everything that a new process has imported when it ends."""
    told = "\nimport sys\nprint('it has', *sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program + told, *args],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    # Not always the last line: libraries may tell of what they find left over at the end.
    (names,) = (line for line in done.stderr.splitlines() if line.startswith("it has "))
    return {name.split(".")[0] for name in names.split()}


@pytest.fixture(scope="session")
def cifar10_root() -> Path:
    """The folder of the real CIFAR-10; skips where it is absent."""
    if not (DATA / "cifar-10-batches-py").is_dir():
        pytest.skip(f"no CIFAR-10 at {DATA}: see CONTRIBUTING.md, Real data")
    return DATA


@pytest.fixture(scope="session", autouse=True)
def own_ray_token(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A token for the Rays of this process: two processes would write ~/.ray/auth_token at once."""
    path = tmp_path_factory.mktemp("ray") / "token"
    path.write_text(secrets.token_hex(32), encoding="utf-8")
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)


@pytest.fixture(autouse=True)
def own_tracking_address() -> Iterator[None]:
    """No test leaves an address of MLflow behind for those that come after it."""
    yield
    assert not os.environ.pop("MLFLOW_TRACKING_URI", None), "use monkeypatch.setenv"


STRAY = ROOT / "mlflow.db"
"""What MLflow makes where it is asked without an address; it would be taken for a source."""


@pytest.fixture(autouse=True)
def no_stray_database() -> Iterator[None]:
    """No test leaves a database in the repository."""
    before = STRAY.exists()
    yield
    assert before or not STRAY.exists(), f"{STRAY} was made by this test, or by one beside it"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray on this machine for all tests that need one, as a sweep starts it; sweeps join it."""
    import logging

    import ray

    from orchestrator.ray_internals.starting import for_one_machine
    from tests.warm.server import workers_by
    from tests.warm.starting import python

    workers_by(python())
    with for_one_machine():
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def finished_sweep(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """The file of a small sweep that has been run once; tests must not change its runs."""
    from orchestrator import load_sweep, run

    path = tiny_sweep(tmp_path_factory.mktemp("sweep"), at_once=None)
    finished = run(load_sweep(path))
    assert not finished.failed
    return path
