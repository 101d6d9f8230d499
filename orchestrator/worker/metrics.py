"""The metrics of a trial and of its stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.storage.store import Entry
from orchestrator.vocabulary import FINETUNE_EPOCHS, REDUCED_EPOCHS, Metric, of, seconds
from orchestrator.worker.balanced import balanced_metrics
from trials.context import Epoch, Outcomes
from trials.data.datasets import Dataset
from trials.sparsity import masks
from trials.stages.denoise import Candidates
from trials.stages.dense import Dense
from trials.stages.essential import OneShot, Picked, Probe
from trials.stages.evaluate import Final
from trials.stages.finetune import Finetuned
from trials.stages.issp import Issp
from trials.stages.profile import Profile
from trials.stages.recovered import Recovered
from trials.stages.round_train import RoundTrained
from trials.stages.rung import Rung
from trials.stages.soup_train import SoupTrained
from trials.stages.tickets import Tickets

if TYPE_CHECKING:
    pass

Metrics = dict[str, float | None]


def epoch_metrics(epoch: Epoch, stage: str = FINETUNE_EPOCHS) -> Metrics:
    """One point of a learning curve."""
    return {
        of(stage, "train_loss"): epoch.train_loss,
        of(stage, "val_loss"): epoch.val_loss,
        of(stage, "val_accuracy"): epoch.val_accuracy,
        **{of(REDUCED_EPOCHS, name): value for name, value in epoch.numbers.items()},
    }


def stage_metrics(name: str, result: Any, dense: Dense | None) -> Metrics:
    """The metrics of one stage result.

    Args:
        name: of the stage in the trial (`essential`, `control`, ...).
        dense: the dense model, for counts paired by image.
    """
    compared = dense.validation if dense is not None else None
    found: Metrics = {}
    match result:
        case Dense():
            found = _dense_metrics(result)
        case OneShot() | Issp():
            found = _mask_metrics(name, result, compared)
        case Probe() if result.found is not None:
            found = {Metric.PROBE_SPARSITY: result.sparsity}
            found |= stage_metrics("essential", result.found, dense)
        case Picked():
            found = {Metric.ESSENTIAL_PICKED: result.sparsity}
        case Candidates():
            found = _candidate_metrics(result)
        case SoupTrained():
            found = {
                of(name, "val_accuracy"): result.validation.accuracy,
                of(name, "train_loss"): result.loss,
                of(name, "steps"): result.steps,
                **_paired(of(name, "val"), compared, result.validation),
            }
        case RoundTrained():
            found = {of(name, "train_loss"): result.loss, of(name, "steps"): result.steps}
        case Tickets():
            found = {Metric.TICKETS_KEPT_PATCHES: result.kept}
        case Finetuned():
            found = _trained_metrics(name, result)
        case Rung():
            found = {Metric.RUNG_VAL_ACCURACY: result.val_accuracy}
        case Profile():
            found = {
                Metric.PROFILE_IMAGES_PER_S: result.images_per_s,
                Metric.PROFILE_IMAGES_PER_S_DENSE: result.images_per_s_dense,
            }
        case Final():
            found = _final_metrics(result, dense)
    return found


def _dense_metrics(result: Dense) -> Metrics:
    return {
        Metric.DENSE_VAL_ACCURACY: result.validation.accuracy,
        Metric.DENSE_VAL_LOSS: result.validation.loss,
        Metric.DENSE_TEST_ACCURACY: result.test.accuracy,
        Metric.DENSE_VAL_N: len(result.validation.correct),
        Metric.DENSE_TEST_N: len(result.test.correct),
    }


def _trained_metrics(name: str, result: Finetuned) -> Metrics:
    """Of the final model its training speed; of one that chooses patches what it is worth."""
    if name == "selector":
        return {of(name, "val_accuracy"): result.validation.accuracy}
    return {Metric.FINAL_TRAIN_IMAGES_PER_S: result.images_per_s or None}


def _candidate_metrics(result: Candidates) -> Metrics:
    """Of the masks that are merged, and what the two polarities of their union would give."""
    overlap = result.jaccard or (1.0,)
    return {
        Metric.DENOISE_JACCARD_MEAN: sum(overlap) / len(overlap),
        Metric.DENOISE_JACCARD_MIN: min(overlap),
        Metric.DENOISE_TRAIN_LOSS_MEAN: sum(result.losses) / len(result.losses),
        Metric.DENOISE_SPARSITY_UNION_KEPT: masks.sparsity(masks.union(result.keeps)),
        Metric.DENOISE_SPARSITY_INTERSECT_KEPT: masks.sparsity(masks.intersection(result.keeps)),
    }


def _mask_metrics(name: str, result: OneShot | Issp, compared: Outcomes | None) -> Metrics:
    """Of a mask; after a recovery whose reference is level 0, paired with that."""
    reference = result.reference if isinstance(result, Recovered) else None
    found: Metrics = {
        of(name, "val_accuracy"): result.validation.accuracy,
        of(name, "sparsity"): masks.sparsity(result.keep),
        **_paired(of(name, "val"), reference or compared, result.validation),
    }
    if reference is not None:
        found[of(name, "reference_val_accuracy")] = reference.accuracy
    return found


def trial_metrics(results: Mapping[str, Any], data: Dataset | None = None) -> Metrics:
    """The metrics of all stages of a trial; of one that was stopped early none on test images.

    Args:
        data: for accuracies in which every class counts the same; None = without them.
    """
    found: Metrics = {}
    for name, result in results.items():
        found |= stage_metrics(name, result, results["dense"])
    found |= balanced_metrics(results, data) if data is not None else {}
    if "rung" in results:
        found = {name: value for name, value in found.items() if "/test_" not in name}
    return found


def curve_metrics(dense: Dense) -> Metrics:
    """What a level of the one-shot curve is compared with."""
    counts = stage_metrics("dense", dense, None)
    return {name: counts[name] for name in (Metric.DENSE_VAL_ACCURACY, Metric.DENSE_VAL_N)}


def _final_metrics(final: Final, dense: Dense | None) -> Metrics:
    """Whole images pair with `macs_dense`, what is deployed with `macs_deployed`."""
    validation, test = (dense.validation, dense.test) if dense else (None, None)
    return {
        Metric.FINAL_VAL_ACCURACY: final.validation.accuracy,
        Metric.FINAL_VAL_LOSS: final.validation.loss,
        Metric.FINAL_TEST_ACCURACY: final.test.accuracy,
        Metric.FINAL_TEST_ACCURACY_TICKET: final.test_ticket.accuracy
        if final.test_ticket
        else None,
        Metric.FINAL_DRAWN_TEST_ACCURACY: final.test_drawn.accuracy if final.test_drawn else None,
        Metric.FINAL_SPARSITY: final.sparsity,
        Metric.FINAL_SPARSITY_MODEL: final.sparsity_model,
        Metric.FINAL_MACS: final.macs,
        Metric.FINAL_MACS_DENSE: final.macs_dense,
        Metric.FINAL_MACS_SELECTOR: final.macs_selector,
        Metric.FINAL_MACS_DEPLOYED: final.macs + final.macs_selector,
        Metric.FINAL_MACS_TRAINING: final.macs_training,
        Metric.FINAL_EPOCHS_TO_NEAR_DENSE: final.epochs_to_near_dense,
        Metric.FINAL_DEPLOYED_VAL_ACCURACY: final.deployed_validation.accuracy,
        Metric.FINAL_DEPLOYED_TEST_ACCURACY: final.deployed_test.accuracy,
        Metric.FINAL_VAL_N: len(final.validation.correct),
        Metric.FINAL_TEST_N: len(final.test.correct),
        **_paired(of("final", "val"), validation, final.validation),
        **_paired(of("final", "test"), test, final.test),
        **_paired(of("final", "deployed_val"), validation, final.deployed_validation),
        **_paired(of("final", "deployed_test"), test, final.deployed_test),
    }


def _paired(prefix: str, dense: Outcomes | None, own: Outcomes) -> Metrics:
    """Images that only the dense model, and that only this model, gets right."""
    if dense is None:
        return {}
    return {
        f"{prefix}_lost": int((dense.correct & ~own.correct).sum()),
        f"{prefix}_gained": int((~dense.correct & own.correct).sum()),
    }


def time_metrics(entries: Mapping[str, Entry], hits: Mapping[str, Entry]) -> Metrics:
    """Seconds of every stage of a trial, and what the store saved it.

    Args:
        entries: stage name -> entry, of the stages of this trial.
        hits: key -> entry, of the stages that this trial did not compute.
    """
    found: Metrics = {seconds(name): entry.seconds for name, entry in entries.items()}
    found[Metric.TIME_TOTAL_S] = sum(entry.seconds for entry in entries.values())
    found[Metric.CACHE_HITS] = len(hits)
    found[Metric.CACHE_SAVED_S] = sum(entry.seconds for entry in hits.values())
    return found
