"""The LOTUS pipeline: pure stages on a timm vision transformer, without Ray and MLflow.

>>> from trials import TrialConfig, run_trial
>>> trial = TrialConfig(
...     data={"name": "digits"},
...     model={"name": "vit_small_patch16_224", "pretrained": "weights.safetensors"},
... )                                                                     # doctest: +SKIP
>>> run_trial(trial).results["final"].test.accuracy                       # doctest: +SKIP

Its wings, each of which imports only those above it (tests/test_imports.py):

data        data sets, their splits and fractions
tokens      which patches survive: tickets
reduction   which tokens leave, or merge, inside the network
model       the transformer, and what it costs
sparsity    which weights survive: masks, criteria, targets
training    the training loop, the evaluation loop, unfinished state
stages      the stages, one file each
config.py   a trial, completely described
graph       the stages of a trial in their order, and running them

Beside them what all use: what a stage is and how it runs (`stage.py`, `context.py`), seeds, file
formats, errors, and torch imported late (`lazy.py`).
"""

from trials.config import TrialConfig
from trials.context import Context
from trials.graph.execute import TrialResult, run_trial
from trials.graph.pipeline import TrialGraph, pipeline
from trials.graph.sources import open_sources
from trials.stage import STAGES

__all__ = [
    "STAGES",
    "Context",
    "TrialConfig",
    "TrialGraph",
    "TrialResult",
    "open_sources",
    "pipeline",
    "run_trial",
]
