"""The software and hardware that computed a result."""

import os
import platform
import socket
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

from trials.cores import usable_cores

VERSION = metadata.version("lotus-sweep")


@cache
def versions() -> dict[str, str]:
    """Versions that can change a result."""
    packages = ("torch", "timm", "ray", "mlflow", "numpy", "safetensors")
    return {
        "lotus-sweep": VERSION,
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in packages},
    }


def in_words(many: Iterable[Mapping[str, str]]) -> str:
    """Versions of several results: `numpy 2.1.0, torch 2.3.0 and 2.4.0`."""
    versions_by_package: dict[str, set[str]] = {}
    for versions in many:
        for package, version in versions.items():
            versions_by_package.setdefault(package, set()).add(version)
    return ", ".join(
        f"{package} {' and '.join(sorted(versions_by_package[package]))}"
        for package in sorted(versions_by_package)
    )


def of_words(text: str) -> dict[str, str]:
    """The inverse of `in_words`: package -> its version or versions."""
    parts = (part.partition(" ") for part in text.split(", ") if part)
    return {package: version for package, _, version in parts}


def node_answer() -> dict[str, str]:
    """`versions` for Ray, which cannot send a cached function."""
    return versions()


def differences(node: Mapping[str, str], driver: Mapping[str, str]) -> str:
    """Differences to the driver's versions; empty if there are none."""
    return ", ".join(
        f"{package} {node.get(package, 'absent')} (driver: {driver.get(package, 'absent')})"
        for package in sorted(driver.keys() | node.keys())
        if node.get(package) != driver.get(package)
    )


def host() -> str:
    """The name of this machine."""
    return socket.gethostname()


GPU_FILES = ("nvidia[0-9]*", "kfd", "dxg")
"""Files in /dev if there may be a GPU for torch: NVIDIA's, AMD's, or WSL's."""


def without_gpu() -> str:
    """Why a GPU that was asked for cannot be used here, and what to do; empty when it can."""
    import torch

    if torch.cuda.is_available():
        return ""
    built = torch.version.cuda or torch.version.hip
    why = (
        f"built for {built}; its driver, or the devices that this process may see, are missing"
        if built
        else "built for CPUs only: install one that is built for the GPU"
    )
    return (
        f"resources.gpu is set, but torch {torch.__version__} sees no GPU on {host()} ({why}); "
        "or write `resources.gpu: 0`"
    )


def gpu_answer() -> str:
    """`without_gpu` for Ray, in a process of its own: it may see all devices of its node."""
    if not os.environ.get("CUDA_VISIBLE_DEVICES", "all"):
        del os.environ["CUDA_VISIBLE_DEVICES"]  # Ray's, for who has asked for none
    return without_gpu()


@cache
def hardware() -> str:
    """Processor, cores, memory and GPUs in one line."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [_processor(), _cores(), f"{memory_gib:.0f} GiB"]
    if count := gpus():
        import torch

        parts.append(f"{count} × {torch.cuda.get_device_name(0)}")
    return ", ".join(parts)


@cache
def gpus() -> int:
    """How many GPUs torch sees on this machine."""
    if not any(next(Path("/dev").glob(name), None) for name in GPU_FILES):
        return 0
    import torch  # half a gigabyte: not for a driver on a machine without one

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _cores() -> str:
    there, usable = os.cpu_count() or 1, usable_cores()
    return f"{there} cores" if usable >= there else f"{usable:g} of {there} cores"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


@cache
def git_commit() -> str | None:
    """The commit of the working directory, with `+changes` if modified; None without git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit}+changes" if _git("status", "--porcelain") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*args: str) -> str:
    done = subprocess.run(["git", *args], capture_output=True, check=True, timeout=10)
    return done.stdout.decode(errors="replace").strip()
