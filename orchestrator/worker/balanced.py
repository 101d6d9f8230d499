"""The metrics of a trial in which every class counts the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.vocabulary import Metric
from trials.data.datasets import Dataset
from trials.stages.dense import Dense
from trials.stages.evaluate import Final
from trials.training.balanced import balanced_accuracy


def balanced_metrics(results: Mapping[str, Any], data: Dataset) -> dict[str, float]:
    """Accuracies of the dense and the final model in which every class counts the same."""
    dense: Dense = results["dense"]
    final: Final | None = results.get("final")
    validation = {Metric.DENSE_VAL_BALANCED: dense.validation}
    test = {Metric.DENSE_TEST_BALANCED: dense.test}
    if final is not None:
        validation[Metric.FINAL_VAL_BALANCED] = final.validation
        validation[Metric.FINAL_DEPLOYED_VAL_BALANCED] = final.deployed_validation
        test[Metric.FINAL_TEST_BALANCED] = final.test
        test[Metric.FINAL_DEPLOYED_TEST_BALANCED] = final.deployed_test
    return {
        name: balanced_accuracy(outcomes, part.labels)
        for part, named in ((data.validation, validation), (data.test, test))
        for name, outcomes in named.items()
    }
