"""Addresses of pages in the MLflow UI, in the layout that the UI itself has for trained models.

Without the last part of an address, MLflow's UI shows the layout that was used last, at first the
one for language models, which has no table of runs.
"""

LAYOUT = "workflowType=machine_learning"

HERE = ""
"""Base of a link that stands in the UI itself, as in a description."""


def experiments_page(base: str) -> str:
    """The list of experiments.

    Args:
        base: address of the server, as everywhere here; `HERE` = the page that has the link.
    """
    return _page(base, "experiments")


def trials_page(base: str, experiment_id: str, parent: str) -> str:
    """The trials of a sweep, as `publishing/view.py` has prepared their table.

    Args:
        parent: run id of the sweep.
    """
    return _page(base, f"experiments/{experiment_id}/runs", f"viewStateShareKey={parent}&")


def run_page(base: str, experiment_id: str, run_id: str) -> str:
    """One run."""
    return _page(base, f"experiments/{experiment_id}/runs/{run_id}")


def artifact_page(base: str, experiment_id: str, run_id: str, path: str) -> str:
    """One of the artifacts of a run, shown within the UI."""
    return _page(base, f"experiments/{experiment_id}/runs/{run_id}/artifacts/{path}")


def _page(base: str, path: str, asked: str = "") -> str:
    start = f"{base.rstrip('/')}/" if base else ""
    return f"{start}#/{path}?{asked}{LAYOUT}"
