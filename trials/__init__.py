"""The LOTUS pipeline: pure stages on a timm vision transformer, without Ray and MLflow.

>>> from trials import TrialConfig, run_trial
>>> trial = TrialConfig(
...     data={"name": "digits"},
...     model={"name": "vit_small_patch16_224", "pretrained": "weights.safetensors"},
... )                                                                     # doctest: +SKIP
>>> run_trial(trial).results["final"].test.accuracy                       # doctest: +SKIP
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
