"""The names of tags, metrics and artifacts in MLflow.

They are defined only here. Reports, searches and other programs rely on them, so a released name
never changes. A test makes sure that they are written out nowhere else, and compares this module
with the interface.
"""

from typing import Final


class Tag:
    """Tags of runs. `lotus.*` are ours; those that MLflow reads have MLflow's names."""

    # Of every run.
    KIND: Final = "lotus.kind"
    VERSION: Final = "lotus.version"

    # Of trials and shared stages.
    KEY: Final = "lotus.key"
    SWEEP: Final = "lotus.sweep"
    """Id of the sweep's own run."""
    ATTEMPTS: Final = "lotus.attempts"
    ERROR: Final = "lotus.error"
    SUPERSEDED: Final = "lotus.superseded"
    MICRO_BATCH: Final = "lotus.micro_batch"
    MADE_WITH: Final = "lotus.made_with"
    """The versions that computed the results, in the form of `versions.in_words`. They may be
    older than those of the process that wrote the run, because results come from the store."""

    # Of trials.
    ARM: Final = "lotus.arm"
    RUNG: Final = "lotus.rung"
    SPARSITY: Final = "lotus.sparsity"
    """`auto` if the trial found its own sparsity."""

    TOKENS: Final = "lotus.tokens"
    """Tokens in the attention of each block, where some leave inside, and those that come out."""

    # Of shared stages.
    STAGE: Final = "lotus.stage"
    CACHED: Final = "lotus.cached"

    # Of a sweep.
    NAME: Final = "lotus.name"
    TRIALS_PLANNED: Final = "lotus.trials_planned"
    STORAGE: Final = "lotus.storage"
    SWEEP_YAML: Final = "lotus.sweep_yaml"
    WALL_S: Final = "lotus.wall_s"
    PREDICTED_HOURS: Final = "lotus.predicted_device_hours"
    """Of the whole sweep, as it was predicted when it began or last grew."""
    GPU_SHARE: Final = "lotus.gpu_share"
    """The part of a GPU that one trial has, as measured for `resources.gpu: auto`."""
    BEST: Final = "lotus.best"
    BEST_NAME: Final = "lotus.best_name"
    REPORT_OF: Final = "lotus.report_of"
    """Digest of the data that the report was made from."""
    DATA: Final = "lotus.data"
    """Digest of `config/data.json`."""
    REGISTERED: Final = "lotus.registered"
    """`NAME/VERSION` of the published model in MLflow's registry."""
    VIEW: Final = "lotus.view"
    """Digest of the prepared view of its trials; see `publishing/view.py`."""
    DRIVER: Final = "lotus.driver"
    """Who works on the sweep; see `tracking/lease.py`."""

    # Prefixes, each followed by a name.
    STAGE_OF: Final = "lotus.stage."
    """Key of a stage result that the run uses."""
    AXIS: Final = "lotus.axis."
    FACT: Final = "lotus.fact."

    # MLflow's own.
    PARENT: Final = "mlflow.parentRunId"
    RUN_NAME: Final = "mlflow.runName"
    NOTE: Final = "mlflow.note.content"
    """Shown by MLflow as the description."""


class ExperimentTag:
    """Tags of experiments."""

    NOTE_DIGEST: Final = "lotus.note"
    """Digests of the descriptions written here, the last two: any other is somebody else's."""

    # MLflow's own.
    NOTE: Final = "mlflow.note.content"
    VIEW: Final = "mlflow.sharedViewState."
    """Prefix, followed by what a link calls the view."""


class JobTag:
    """Metadata of a submitted sweep in Ray's dashboard."""

    SWEEP: Final = "lotus.sweep"
    """Its name."""
    EXPERIMENT: Final = "lotus.experiment"
    FILE: Final = "lotus.file"
    VERSION: Final = "lotus.version"


class Metric:
    """Metrics of runs. Accuracies, losses and sparsities are fractions, costs multiply-adds."""

    DENSE_VAL_ACCURACY: Final = "dense/val_accuracy"
    DENSE_VAL_LOSS: Final = "dense/val_loss"
    DENSE_VAL_N: Final = "dense/val_n"
    DENSE_TEST_ACCURACY: Final = "dense/test_accuracy"
    DENSE_TEST_N: Final = "dense/test_n"
    # Every class counts the same; on a trial.
    DENSE_VAL_BALANCED: Final = "dense/val_balanced_accuracy"
    DENSE_TEST_BALANCED: Final = "dense/test_balanced_accuracy"

    ESSENTIAL_VAL_ACCURACY: Final = "essential/val_accuracy"
    ESSENTIAL_VAL_LOST: Final = "essential/val_lost"
    ESSENTIAL_VAL_GAINED: Final = "essential/val_gained"
    ESSENTIAL_REFERENCE: Final = "essential/reference_val_accuracy"
    ESSENTIAL_SPARSITY: Final = "essential/sparsity"
    ESSENTIAL_PICKED: Final = "essential/picked_sparsity"
    PROBE_SPARSITY: Final = "probe/sparsity"

    DENOISE_JACCARD_MEAN: Final = "denoise/jaccard_mean"
    DENOISE_JACCARD_MIN: Final = "denoise/jaccard_min"
    DENOISE_TRAIN_LOSS_MEAN: Final = "denoise/train_loss_mean"
    DENOISE_SPARSITY_UNION_KEPT: Final = "denoise/sparsity_union_kept"
    DENOISE_SPARSITY_INTERSECT_KEPT: Final = "denoise/sparsity_intersect_kept"

    ISSP_VAL_ACCURACY: Final = "issp/val_accuracy"
    ISSP_VAL_LOST: Final = "issp/val_lost"
    ISSP_VAL_GAINED: Final = "issp/val_gained"
    ISSP_SPARSITY: Final = "issp/sparsity"
    CONTROL_VAL_ACCURACY: Final = "control/val_accuracy"
    CONTROL_VAL_LOST: Final = "control/val_lost"
    CONTROL_VAL_GAINED: Final = "control/val_gained"
    CONTROL_SPARSITY: Final = "control/sparsity"

    TICKETS_KEPT_PATCHES: Final = "tickets/kept_patches"

    # Per epoch, from 1.
    FINETUNE_TRAIN_LOSS: Final = "finetune/train_loss"
    FINETUNE_VAL_LOSS: Final = "finetune/val_loss"
    FINETUNE_VAL_ACCURACY: Final = "finetune/val_accuracy"
    RUNG_VAL_ACCURACY: Final = "rung/val_accuracy"

    # On whole images; pairs with FINAL_MACS_DENSE.
    FINAL_VAL_ACCURACY: Final = "final/val_accuracy"
    FINAL_VAL_LOSS: Final = "final/val_loss"
    FINAL_VAL_N: Final = "final/val_n"
    FINAL_TEST_ACCURACY: Final = "final/test_accuracy"
    FINAL_TEST_N: Final = "final/test_n"
    FINAL_TEST_ACCURACY_TICKET: Final = "final/test_accuracy_ticket"
    # Of a model that was trained on random patches, on others like them.
    FINAL_DRAWN_TEST_ACCURACY: Final = "final/drawn_test_accuracy"
    # On the tokens that the trial uses; pairs with FINAL_MACS_DEPLOYED.
    FINAL_DEPLOYED_VAL_ACCURACY: Final = "final/deployed_val_accuracy"
    FINAL_DEPLOYED_TEST_ACCURACY: Final = "final/deployed_test_accuracy"
    # Every class counts the same.
    FINAL_VAL_BALANCED: Final = "final/val_balanced_accuracy"
    FINAL_TEST_BALANCED: Final = "final/test_balanced_accuracy"
    FINAL_DEPLOYED_VAL_BALANCED: Final = "final/deployed_val_balanced_accuracy"
    FINAL_DEPLOYED_TEST_BALANCED: Final = "final/deployed_test_balanced_accuracy"
    FINAL_SPARSITY: Final = "final/sparsity"
    """Of the prunable weights."""
    FINAL_SPARSITY_MODEL: Final = "final/sparsity_model"
    FINAL_MACS: Final = "final/macs"
    FINAL_MACS_DENSE: Final = "final/macs_dense"
    FINAL_MACS_SELECTOR: Final = "final/macs_selector"
    FINAL_MACS_DEPLOYED: Final = "final/macs_deployed"
    FINAL_MACS_TRAINING: Final = "final/macs_training"
    FINAL_EPOCHS_TO_NEAR_DENSE: Final = "final/epochs_to_near_dense"
    FINAL_TRAIN_IMAGES_PER_S: Final = "final/train_images_per_s"

    PROFILE_IMAGES_PER_S: Final = "profile/images_per_s"
    PROFILE_IMAGES_PER_S_DENSE: Final = "profile/images_per_s_dense"

    TIME_TOTAL_S: Final = "time/total_s"
    CACHE_HITS: Final = "cache/hits"
    CACHE_SAVED_S: Final = "cache/saved_s"

    # Of a sweep; a new step each time.
    SWEEP_ESSENTIAL: Final = "essential_sparsity"
    SWEEP_ESSENTIAL_LOW: Final = "essential_sparsity_low"
    SWEEP_ESSENTIAL_HIGH: Final = "essential_sparsity_high"
    BEST_VAL_ACCURACY: Final = "best/val_accuracy"
    BEST_TEST_ACCURACY: Final = "best/test_accuracy"
    BEST_DENSE_TEST_ACCURACY: Final = "best/dense_test_accuracy"
    BEST_DIFFERENCE: Final = "best/difference"
    BEST_MACS_RATIO: Final = "best/macs_ratio"
    TRIALS_FINISHED: Final = "trials/finished"
    TRIALS_FAILED: Final = "trials/failed"
    COST_DEVICE_HOURS: Final = "cost/device_hours"
    COST_DEVICE_HOURS_SAVED: Final = "cost/device_hours_saved"

    # Of the published model, on the sweep's run; a new step for each model.
    MODEL_VAL_ACCURACY: Final = "model/val_accuracy"
    MODEL_TEST_ACCURACY: Final = "model/test_accuracy"
    MODEL_DEPLOYED_VAL_ACCURACY: Final = "model/deployed_val_accuracy"
    MODEL_DEPLOYED_TEST_ACCURACY: Final = "model/deployed_test_accuracy"
    MODEL_SPARSITY: Final = "model/sparsity"
    MODEL_MACS: Final = "model/macs"
    """Of whole images, as it is served."""

    # Prefixes of groups.
    TIME: Final = "time/"
    CACHE: Final = "cache/"


REDUCED_EPOCHS: Final = "reduced"
"""Group of what else the recovery of a model tells, whose tokens leave inside: parts of its loss,
the share of the patches that each stage keeps."""

DENSE_EPOCHS: Final = "dense/epoch"
"""Group of the dense model's learning curve."""

FINETUNE_EPOCHS: Final = "finetune"
"""Group of the recovery's."""


def of(group: str, what: str) -> str:
    """The name of a metric in a group: a stage by its name in the trial, or a learning curve."""
    return f"{group}/{what}"


def seconds(stage: str) -> str:
    """The metric for the time that a stage took to compute."""
    return f"{Metric.TIME}{stage}_s"


class Artifact:
    """Paths among a run's artifacts."""

    TRIAL_CONFIG: Final = "config/trial.yaml"
    ESSENTIAL_MASK: Final = "masks/essential.safetensors"
    DENOISED_MASK: Final = "masks/denoised.safetensors"
    FINAL_MASK: Final = "masks/final.safetensors"
    LAYERS: Final = "masks/sparsity.json"
    """Sparsity of each mask by layer."""
    TICKETS: Final = "tickets/tickets.safetensors"
    TICKET_EXAMPLES: Final = "tickets/examples.png"
    TICKET_GALLERY: Final = "tickets/gallery.json"
    """A few validation images with what the model attends to, keeps and predicts; see
    `worker/gallery.py`."""
    OUTCOMES: Final = "outcomes/correct.safetensors"
    """Which images each model gets right."""
    CHECKPOINT: Final = "checkpoints/final.safetensors"
    DENSE_CHECKPOINT: Final = "checkpoints/dense.safetensors"

    # Of a trial or stage that failed.
    TRACEBACK: Final = "failure/traceback.txt"
    LOG: Final = "failure/log.txt"
    STACKS: Final = "failure/stacks.txt"

    # Of a sweep.
    SWEEP_CONFIG: Final = "config/sweep.yaml"
    DATA: Final = "config/data.json"
    """Digest and class names of what trials read; see `publishing/datasets.py`."""
    REPORT_PAGE: Final = "report/report.html"
    REPORT_SUMMARY: Final = "report/summary.json"
    REPORT_TRIALS: Final = "report/trials.csv"

    # Folders.
    CHECKPOINTS: Final = "checkpoints"
    MASKS: Final = "masks"
    REPORT: Final = "report"
    FIGURES: Final = "report/figures"
