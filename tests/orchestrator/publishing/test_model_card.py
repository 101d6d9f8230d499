"""The model card: the hub's fields, the way from the data to the checkpoint, intervals, limits."""

from typing import Any

import pytest
import yaml

from orchestrator.publishing.datasets import KnownData, data_of
from orchestrator.publishing.model_card import (
    LIMITS,
    OPTIMISTIC,
    Described,
    card_text,
    described,
    model_card,
    said_of_setting,
)
from tests.orchestrator.publishing.test_card import ROW
from tests.orchestrator.publishing.test_notes import HOSTILE, words_of

FULL: dict[str, Any] = ROW | {
    "data.name": "digits", "model.name": "vit_tiny_patch16_224", "model.pretrained": "False",
    "final/sparsity": 0.6,
}  # fmt: skip
DATA = KnownData("digits", "d1" * 32, 3, ("cat", "dog", "emu"), {"data.name": "digits"})
TAGS = {
    "lotus.key": "k" * 64,
    "lotus.stage.finetune": "f" * 64,
    "lotus.stage.tickets": "t" * 64,
    "lotus.stage.dense": "e" * 64,
    "lotus.stage.issp": "i" * 64,
    "lotus.made_with": "timm 1.0.31, torch 2.15.0",
}


def about(**changes: Any) -> Described:
    found = {"name": "lotus-x", "row": FULL, "tags": TAGS, "data": DATA} | changes
    return described(**found)


def test_the_fields_in_front_are_those_of_the_hub() -> None:
    text = model_card(about())
    _, front, body = text.split("---\n", 2)
    fields = yaml.safe_load(front)
    assert fields["library_name"] == "timm"
    assert fields["pipeline_tag"] == "image-classification"
    assert fields["datasets"] == ["digits"]
    (index,) = fields["model-index"]
    (result,) = index["results"]
    assert [metric["value"] for metric in result["metrics"]] == [0.956, 0.932]
    assert result["dataset"] == {"name": "digits", "type": "digits", "split": "test"}
    assert body.lstrip().startswith("# lotus-x\n")


def test_it_leads_from_the_data_to_the_checkpoint() -> None:
    text = card_text(about())
    places = [text.index(one) for one in ("d1" * 32, "e" * 64, "t" * 64, "i" * 64, "f" * 64)]
    assert places == sorted(places)
    assert "Key `" + "k" * 64 not in text
    assert f"key `{'k' * 64}`. 60.0 % of its prunable weights are exactly 0." in text
    assert "Computed with timm 1.0.31, torch 2.15.0." in text


def test_every_accuracy_has_its_interval_and_its_cost() -> None:
    text = card_text(about())
    assert "| 500 test | 95.6 % | 93.4 to 97.1 % | 38,800,000 |" in text
    assert "| 200 validation | 94.0 % | 89.8 to 96.5 % | 68,100,000 |" in text
    without = card_text(about(row=FULL | {"final/test_n": None, "arm": "issp"}))
    assert "| – test | 95.6 % | – | 38,800,000 |" in without
    assert "93.2 %" not in without


def test_limits_are_said_and_weights_from_elsewhere_are_named_as_one() -> None:
    assert all(f"- {limit}" in card_text(about()) for limit in LIMITS)
    assert OPTIMISTIC not in card_text(about())
    assert OPTIMISTIC in card_text(about(row=FULL | {"model.pretrained": "True"}))


def test_classes_stand_in_the_order_of_the_outputs() -> None:
    assert "- 0: cat\n- 1: dog\n- 2: emu\n" in model_card(about())
    assert "Classes" not in model_card(about(data=None))
    assert "cat" not in card_text(about())


def test_the_reports_sentences_on_the_setting_are_its_own_words() -> None:
    answer = {"essential": "E.", "recommended": "R (1 %).", "saves": None, "costs": "C."}
    found = said_of_setting(answer)
    assert found == ["R (1 %).", "C."]
    text = card_text(about(answer=found))
    assert "- R (1 %).\n- C.\n" in text
    assert "E." not in text


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_names_are_text_and_the_fields_stay_readable(kind: str) -> None:
    text = HOSTILE[kind]
    data = KnownData(text, "d" * 64, 1, (text,), {})
    row = FULL | {"data.name": text, "model.name": text, "model.pretrained": text}
    made = model_card(about(name=text, data=data, row=row, answer=[text]))
    _, front, body = made.split("---\n", 2)
    shown = text.replace("\n", "\\n").replace("\u202e", "\\u202e").replace("\u202c", "\\u202c")
    assert yaml.safe_load(front)["datasets"] == [shown]
    seen, elements = words_of(body)
    assert seen.count(shown) >= 6
    assert elements <= {"code", "strong"}


def test_the_data_of_a_trial_are_found_by_its_params() -> None:
    other = KnownData("cifar10", "c" * 64, 10, (), {"data.name": "cifar10", "data.root": "/d"})
    assert data_of({"data.name": "digits"}, [other, DATA]) == DATA
    assert data_of({"data.name": "cifar10", "data.root": "/d"}, [DATA, other]) == other
    assert data_of({"data.name": "cifar10"}, [DATA, other]) is None
