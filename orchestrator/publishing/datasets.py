"""What is known of a sweep's data, kept on its run for machines that have no data.

`config/data.json` there is a list with one entry for each data set that trials read: its digest,
its classes by number and name, and the settings of `data:` by which a trial names it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from orchestrator.planning.config import flat
from orchestrator.planning.plan import Plan, source_id
from orchestrator.tracking.artifacts import ArtifactError, fetched
from orchestrator.tracking.runlog import PARAM_CHARACTERS, texts
from orchestrator.tracking.tracker import Tracker
from orchestrator.vocabulary import Artifact, Tag
from trials.config import TrialConfig
from trials.data.datasets import Dataset


@dataclass(frozen=True, slots=True)
class KnownData:
    """A data set.

    Attributes:
        digest: of its content, as it stands in the keys of results.
        classes: how many.
        class_names: of each label; empty where nobody knows them.
        settings: params of a trial that reads it.
    """

    name: str
    digest: str
    classes: int
    class_names: Sequence[str]
    settings: Mapping[str, str]

    @property
    def shown(self) -> dict[str, Any]:
        """For summary.json."""
        return {
            "name": self.name,
            "digest": self.digest,
            "classes": self.classes,
            "class_names": list(self.class_names),
        }


def known_data(config: TrialConfig, data: Dataset) -> KnownData:
    """What is known of the data of a trial."""
    settings = texts(flat({"data": config.data.model_dump(mode="json")}), PARAM_CHARACTERS)
    names = tuple(map(str, data.class_names))
    return KnownData(data.name, data.digest, data.classes, names, settings)


def publish_data(plan: Plan, tracker: Tracker) -> None:
    """Put what is known on the sweep's run, if it is not there."""
    configs = {source_id(trial.config): trial.config for trial in plan.trials}
    found = [known_data(config, plan.sources_of(config).dataset) for config in configs.values()]
    unique = list({one.digest + json.dumps(one.settings): asdict(one) for one in found}.values())
    text = json.dumps(unique, indent=1, ensure_ascii=False) + "\n"
    digest = sha256(text.encode()).hexdigest()[:16]
    if tracker.parent().data.tags.get(Tag.DATA) == digest:
        return
    log = tracker.sweep_log()

    def fill(folder: Path) -> None:
        path = folder / Artifact.DATA
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    log.write(fill)
    log.flush(tags={Tag.DATA: digest})


def read_data(tracker: Tracker) -> list[KnownData]:
    """What is known; nothing of a sweep of an earlier version, or where it cannot be read."""
    try:
        with fetched(tracker, tracker.address.parent, Artifact.DATA) as path:
            text = path.read_text(encoding="utf-8") if path else "[]"
        return [KnownData(**entry) for entry in json.loads(text)]
    except (ArtifactError, ValueError, TypeError):  # it is told, and never needed
        return []


def data_of(row: Mapping[str, Any], known: Sequence[KnownData]) -> KnownData | None:
    """The data of a trial, by the params of its run."""
    for one in known:
        if all(str(row.get(name)) == value for name, value in one.settings.items()):
            return one
    return None
