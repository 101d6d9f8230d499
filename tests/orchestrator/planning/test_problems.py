"""Malformed sweep files: every problem at once, in words, with code 2 and no traceback."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestrator.planning.problems import Problem, SweepError, suggest
from orchestrator.planning.sweepfile import load_sweep

Lotus = Callable[..., tuple[int, str, str]]

GOOD = """\
name: tiny
data: {name: digits}
model: {name: vit_tiny_patch16_224, pretrained: false}
tickets: {weights: adapted}
finetune: {weights: current}
"""


TICKETS = """\
name: tiny
data: {{name: digits}}
model: {{name: vit_tiny_patch16_224, pretrained: false}}
tickets: {{weights: adapted{}}}
finetune: {{weights: current{}}}
"""
AUTO = "issp: {rounds: auto, schedule: remaining}\n"
ES = "essential: {{evaluate: after_finetune, reference: level_zero{}}}\n"
ONLINE = ", selection: online"


class Bad(NamedTuple):
    """A file, what its message must contain, and how many problems it has."""

    id: str
    text: str
    expected: tuple[str, ...]
    count: int = 1


def named(name: str) -> str:
    """The good file under another name, written as YAML."""
    return GOOD.replace("name: tiny", f"name: {name}", 1)


def bomb() -> str:
    """Nine levels of nine aliases: 387 million values for whoever walks them."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for old, new in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]")
    return "\n".join(lines)


NO_SUCH = "unknown key; did you mean "
PERCENT = "search.sparsity.1 = 90: must be below 1 (a fraction: write 0.9 for 90 %)"
TYPO = "search.sparsty: unknown key; did you mean `sparsity`?"
NAMES = ("name = ", "must start with a letter or digit and hold only letters, digits")

BAD = [
    # Not a mapping of text keys at all.
    Bad("not YAML", "name: [a\n", ("line 2: ",)),
    Bad("tabs", "name: x\n\tdata: 1\n", ("line 2: ", "cannot start any token")),
    Bad("empty", "", ("is empty", "name, data and model")),
    Bad("only a comment", "# nothing\n", ("is empty",)),
    Bad("a list", "- 1\n", ("is a list",)),
    Bad("a word", "hello\n", ("is a str",)),
    Bad("two documents", GOOD + "---\nname: b\n", ("line 6: ", "another document")),
    Bad("a NUL", GOOD + 'x: "\0"\n', ("not YAML", "#x0000")),
    Bad("a thirteenth month", named("2020-13-45"), ("not YAML", "month")),
    Bad("5,000 digits", GOOD + f"dense: {{epochs: {'9' * 5000}}}\n", ("not YAML", "5000 digits")),
    Bad("2,000 brackets", GOOD + "dense: " + "[" * 2000 + "]" * 2000, ("not YAML",)),
    Bad("a python object", GOOD + "dense: !!python/object/apply:os.abort []\n", ("line 6: ",)),
    Bad("an unknown tag", GOOD + "dense: !foo 1\n", ("line 6: ", "!foo")),
    Bad("a repeated key", GOOD + "name: y\n", ("line 6: the key `name` stands twice",)),
    Bad("a repeated inner key", GOOD + "dense: {lr: 1, lr: 2}\n", ("the key `lr` stands twice",)),
    Bad("a number as key", GOOD + "1: 2\n", ("line 6: the key 1 is not text",)),
    Bad("yes as key", GOOD + "yes: 2\n", ("the key True is not text",)),
    Bad("a list as key", GOOD + "? [a]\n: 2\n", ("the key ['a'] is not text",)),
    Bad("merging a number", GOOD + "dense: {<<: 3}\n", ("line 6: ", "merging")),
    Bad("merging a list", GOOD + "dense: {<<: [{}, {}]}\n", ("`<<` takes one mapping",)),
    Bad("merging twice", GOOD + "dense: {<<: {}, <<: {}}\n", ("the key `<<` stands twice",)),
    Bad("a mapping in itself", "&r\nname: *r\n", ("recursive",)),
    Bad("a block in itself", GOOD + "search: &s {a: *s}\n", ("line 6: ", "recursive")),
    Bad("an axis in itself", GOOD + "search: {issp.spread: &x [*x]}\n", ("recursive",)),
    Bad("an alias bomb", bomb(), ("name: is missing", "i: unknown key"), 12),
    # Keys.
    Bad("a wrong top key", GOOD + "sarch: {}\n", ("sarch: " + NO_SUCH + "`search`?",)),
    Bad("a wrong section key", GOOD + "dense: {epoch: 3}\n", (NO_SUCH + "`epochs`?",)),
    Bad("a wrong search key", GOOD + "search: {sparsty: [0.1]}\n", (TYPO,)),
    Bad("a wrong resource", GOOD + "resources: {gpus: 1}\n", ("resources.gpus = 1: ", "`gpu`?")),
    Bad("a wrong axis", GOOD + "search: {issp.merg: [majority]}\n",
        ("search.issp.merg: " + NO_SUCH + "`merge`?",)),
    Bad("a wrong axis section", GOOD + "search: {isp.merge: [majority]}\n",
        ("search.isp.merge: unknown section; did you mean `issp`?",)),
    Bad("a runtime setting as axis", GOOD + "search: {resources.cpu: [2]}\n",
        ("search.resources.cpu: unknown section; known here: data, model",)),
    Bad("nothing that is needed", "search: {seed: [0]}\n",
        ("name: is missing", "data: is missing", "model: is missing"), 3),
    Bad("a section without a name", GOOD.replace("name: digits", "", 1),
        ("data.name: is missing",)),
    # Values.
    Bad("percent and a typo", GOOD + "search: {sparsity: [0.1, 90], sparsty: [0.2]}\n",
        (PERCENT, TYPO), 2),
    Bad("percent in a list of blocks", GOOD + "search: [{seed: 1}, {patch_drop: [30]}]\n",
        ("search.1.patch_drop.0 = 30: ", "write 0.3 for 30 %")),
    Bad("percent as tolerance", GOOD + "essential: {tolerance: 1}\n", ("write 0.01 for 1 %",)),
    Bad("words for numbers", GOOD + "dense: {epochs: many, lr: [1], batch_size: 1.5, flip: 3}\n",
        ("dense.epochs = many: must be a whole number", "dense.lr: must be a number",
         "dense.batch_size = 1.5: must be a whole number", "dense.flip = 3: must be true or"), 4),
    Bad("a list for a section", GOOD + "issp: [1]\n", ("issp: must be a mapping",)),
    Bad("nothing for a section", GOOD + "issp:\n", ("issp = None: must be a mapping",)),
    Bad("nothing to search", GOOD + "search:\n", ("search = None: must be a list",)),
    Bad("no block", GOOD + "search: []\n", ("search: must not be empty",)),
    Bad("a word for a block", GOOD + "search: [foo]\n", ("search.0 = foo: must be a mapping",)),
    Bad("too little mask data", GOOD + "search: {mask_data_fraction: [0.05]}\n",
        ("search.mask_data_fraction.0 = 0.05: must be at least 0.1", "Instant-Soup",
         "10 % of the data")),
    Bad("an unknown arm", GOOD + "search: {arm: [lotsu]}\n", ("did you mean `lotus`?",)),
    Bad("an unknown method", GOOD + "search: {method: bayes}\n",
        ("must be grid, random, optuna or halving",)),
    Bad("optuna without anything", GOOD + "search: {method: optuna}\n",
        ("search.samples: goes with `method: optuna`, which needs it",
         "search: there is nothing to choose"), 2),
    Bad("settings of another method", GOOD + "search: {batch: 2, objectives: [macs], winners: 2}\n",
        ("search.batch: goes with `method: optuna`", "search.objectives: goes with",
         "search.winners: goes with `method: halving`, and only with it; remove it"), 3),
    Bad("no objective", GOOD + "search: {method: optuna, samples: 2, objectives: [], seed: [0, 1], "
        "patch_drop: [0.1, 0.2]}\n", ("search.objectives: must not be empty",)),
    Bad("an objective twice", GOOD + "search: {method: optuna, samples: 2, "
        "objectives: [macs, macs], patch_drop: [0.1, 0.2]}\n", ("holds a value twice",)),
    Bad("halving without epochs to halve", GOOD + "search: {method: halving, min_epochs: 5}\n",
        ("search.min_epochs = 5: must be below finetune.epochs = 5",)),
    Bad("halving over its own budget", GOOD + "search: {method: halving, "
        "finetune.epochs: [5, 9]}\n", ("search.finetune.epochs: is the full budget",)),
    Bad("a range in a grid", GOOD + "search: {patch_drop: {low: 0.1, high: 0.2}}\n",
        ("search.patch_drop: is a range, which `method: grid` cannot list",)),
    Bad("a range in listed halving", GOOD + "search: {method: halving, "
        "finetune.lr: {low: 0.1, high: 0.2}}\n", ("which `method: halving` cannot list",)),
    Bad("ends that the axis does not allow", GOOD + "search: {method: random, samples: 2, "
        "patch_drop: {low: 0.1, high: 30}, finetune.lr: {low: 0, high: 1}, "
        "mask_data_fraction: {low: 0.01, high: 0.5}}\n",
        ("search.patch_drop.high = 30: must be below 1 (a fraction: write 0.3 for 30 %)",
         "search.finetune.lr.low = 0: must be above 0",
         "search.mask_data_fraction.low = 0.01: must be at least 0.1"), 3),
    Bad("a range above the target", GOOD + "search: {method: optuna, samples: 2, "
        "sparsity: {low: 0.1, high: 0.9}}\n", ("search.sparsity.high = 0.9: above",)),
    Bad("a range the wrong way round", GOOD + "search: {method: random, samples: 2, "
        "patch_drop: {low: 0.5, high: 0.1}}\n", ("low = 0.5 must be below high = 0.1",)),
    Bad("a range with a wrong key", GOOD + "search: {method: random, samples: 2, "
        "patch_drop: {low: 0.1, hihg: 0.5}}\n", ("search.patch_drop.high: is missing",
        "search.patch_drop.hihg = 0.5: unknown key"), 2),
    Bad("a range of data sets", GOOD + "search: {method: random, samples: 2, "
        "data.train_images: {low: 10, high: 50}}\n", ("write a list",)),
    Bad("a range of arms", GOOD + "search: {method: random, samples: 2, "
        "arm: {low: 0, high: 1}}\n", ("search.arm: must be a list",)),
    Bad("a wrong value on an axis", GOOD + "search: {issp.merge: [vote_topk, vote_topc]}\n",
        ("search.issp.merge.1 = vote_topc: ", "did you mean `vote_topk`?")),
    Bad("empty axes", GOOD + "search: {sparsity: [], seed: []}\n",
        ("search.sparsity: must not be empty", "search.seed: must not be empty"), 2),
    Bad("an empty dotted axis", GOOD + "search: {issp.merge: []}\n",
        ("search.issp.merge: must not be empty",)),
    Bad("axes as a list", GOOD + "search: {axes: [1]}\n", ("search.axes: must be a mapping",)),
    Bad("a seed twice", GOOD + "search: {seed: [0, 0]}\n", ("search.seed: holds a value twice",)),
    Bad("a list twice", GOOD + "search: {issp.spread: [[1, 2], [1, 2]]}\n", ("value twice",)),
    Bad("random without samples", GOOD + "search: {method: random}\n",
        ("search.samples: goes with `method: random`",)),
    Bad("samples of a grid", GOOD + "search: {samples: 3}\n", ("search.samples: goes with",)),
    Bad("a negative seed", GOOD + "search: {seed: [-1]}\n",
        ("search.seed.0 = -1: must be at least 0",)),
    Bad("a negative epoch count", GOOD + "dense: {epochs: -3}\n", ("must be at least 0",)),
    Bad("not a number", GOOD + "dense: {lr: .nan}\n", ("dense.lr = nan: ",)),
    Bad("infinite", GOOD + "dense: {lr: .inf}\nresources: {cpu: .inf}\n",
        ("dense.lr = inf: must be a finite number", "resources.cpu = inf: must be a finite"), 2),
    Bad("not a number for timm", GOOD.replace("false}", "false, kwargs: {drop_rate: .nan}}"),
        ("model.kwargs.drop_rate = nan: must be a finite number",)),
    Bad("an infinite axis", GOOD + "search: {issp.lr: [1.0, .inf]}\n",
        ("search.issp.lr.1 = inf: must be a finite number",)),
    Bad("two million trials", GOOD + f"search: {{seed: {list(range(2000))}, patch_drop: "
        f"{[i / 1000 for i in range(900)]}}}\n", ("more than 1,000,000 combinations",)),
    # Addresses and names.
    Bad("a tracking address", GOOD + "tracking: {uri: 'ftp://x'}\n",
        ("tracking.uri = ftp://x: must be sqlite:///PATH",)),
    Bad("MLflow's file store", GOOD + "tracking: {uri: ./mlruns}\n", ("file store is retired",)),
    Bad("no store", GOOD + "storage: {path: ''}\n", ("storage.path",)),
    Bad("a path as name", named("../x"), (*NAMES, "../x")),
    Bad("a newline in the name", named('"a\\nb"'), (*NAMES, "a\\nb")),
    Bad("a newline after the name", named('"a\\n"'), NAMES),
    Bad("a name of 300 characters", named("a" * 300), (*NAMES, "aaa...")),
    Bad("HTML as name", named("'<script>alert(1)</script>'"), (*NAMES, "<script>")),
    Bad("a quote in the name", named('"it\'s"'), NAMES),
    Bad("a number as name", named("3"), ("name = 3: must be text",)),
    Bad("an experiment of the same kind", GOOD + "experiment: a/b\n", ("experiment = a/b: ",)),
    Bad("half a character", GOOD + 'experiment: "\\ud800"\n', ("experiment = ",)),
    # Between settings.
    Bad("a level above the target", GOOD + "search: {sparsity: [0.3, 0.6]}\n",
        ("search.sparsity.1 = 0.6: above issp.target_sparsity = 0.5", "nothing is left to prune",
         "sparsity_reference: relative")),
    Bad("a level above a target on an axis",
        GOOD + "search: {sparsity: [0.3], issp.target_sparsity: [0.2, 0.5]}\n",
        ("search.sparsity.0 = 0.3: above issp.target_sparsity = 0.2",)),
    Bad("levels in several rounds", GOOD + "issp: {levels: [0.5], rounds: 3}\n",
        ("issp.rounds = 3: levels are the sparsities of one round",)),
    Bad("rounds that have nothing to count by", GOOD + "issp: {rounds: auto}\n",
        ("issp.rounds = auto: schedule geometric has no fraction a round to count by",
         "`schedule: remaining` or `linear`")),
    Bad("rounds of a level that is not below the target",
        GOOD + AUTO + "search: {sparsity: [0.3, 0.5]}\n",
        ("search.sparsity.1 = 0.5: issp.rounds = auto needs search.sparsity below "
         "issp.target_sparsity = 0.5", "write 0")),
    Bad("rounds of a level that nobody knows yet", GOOD + AUTO + "search: {sparsity: [auto]}\n",
        ("search.sparsity.0 = auto: issp.rounds = auto needs search.sparsity below",)),
    Bad("hundreds of rounds", GOOD + AUTO.replace("}", ", round_fraction: 0.001}"),
        ("issp.round_fraction = 0.001: issp.rounds = auto would be 337 rounds to 0.5",)),
    Bad("a random model as ISP's start", GOOD + "issp: {start: pretrained}\n",
        ("issp.start = pretrained, but model.pretrained is false", "write adapted")),
    Bad("one pass of rounds that prune first", GOOD + "issp: {rate: one_pass}\n",
        ("issp.rate = one_pass: goes with `order: train_first`",)),
    Bad("one pass and another recovery",
        GOOD.replace("weights: current}", "weights: random}") + "issp: {order: train_first, "
        "rate: one_pass}\n",
        ("finetune.weights = random: with `issp.rate: one_pass` the recovery is the rest",)),
    Bad("one pass and a teacher at its end",
        GOOD.replace("weights: current}", "weights: current, distill: 0.5}")
        + "issp: {order: train_first, rate: one_pass}\n",
        ("finetune.distill = 0.5: with `issp.rate: one_pass`", "write 0")),
    Bad("one pass and other images",
        GOOD.replace("weights: current}", "weights: current, data: other_images}")
        + "issp: {order: train_first, rate: one_pass}\n",
        ("finetune.data = other_images: with `issp.rate: one_pass`", "write kept_patches")),
    Bad("one pass that goes back",
        GOOD + "issp: {order: train_first, rate: one_pass, weights: ingredient_mean}\n",
        ("issp.weights = ingredient_mean: with `rate: one_pass`", "write current")),
    Bad("two ways to train in rounds",
        GOOD + "issp: {order: train_first, round_training: progressive}\n",
        ("issp.round_training = progressive: with `order: train_first`", "write none")),
    Bad("a trim that never comes", GOOD + "issp: {trim_when: stopped, final_trim: true}\n",
        ("issp.trim_when = stopped: no round is stopped", "`stop_within` above 0")),
    Bad("no level zero", GOOD + ES.format(", levels: [0.1, 0.2]") + "search: {sparsity: [auto]}\n",
        ("essential.levels: essential.reference = level_zero needs 0 among essential.levels",)),
    Bad("a reference that is not recovered", GOOD + "essential: {reference: level_zero}\n",
        ("essential.reference = level_zero: level 0 is recovered like the others",
         "`evaluate: after_finetune`")),
    Bad("a pattern without a level zero",
        GOOD + ES.format(", pattern: '2:4'") + "search: {sparsity: [0.5]}\n"
        "issp: {target_sparsity: 0.6}\n",
        ("essential.reference = level_zero: the pattern 2:4 has no level 0",)),
    Bad("probes of levels whose weights are kept",
        GOOD + ES.format(", levels: [0.0, 0.4], refine: 0.01") + "search: {sparsity: [auto]}\n",
        ("essential.refine = 0.01: goes with `start: adapted`", "remove it")),
    Bad("a random model as the curve's start", GOOD + "essential: {start: pretrained}\n",
        ("essential.start = pretrained, but model.pretrained is false", "write adapted")),
    Bad("fewer ingredients than levels", GOOD + "issp: {preset: lotus_literal, ingredients: 3}\n",
        ("issp.ingredients = 3: fewer than issp.levels, which are 4",)),
    Bad("an exact merge above all levels", GOOD + "issp: {target_sparsity: 0.4}\n"
        "search: {issp.levels: [[0.4, 0.6], [0.5, 0.6]]}\n",
        ("issp.target_sparsity = 0.4: vote_topk ends exactly there", "(from 0.5)")),
    Bad("a sparsity above a level",
        GOOD + "issp: {levels: [0.6, 0.4], merge: union_kept, target_sparsity: 0.1}\n"
        "search: {sparsity: [0.4, 0.5]}\n",
        ("search.sparsity.1 = 0.5: above 0.4, the lowest of issp.levels",
         "sparsity_reference: relative")),
    Bad("a control of an open count above the target",
        GOOD + "issp: {merge: union_kept}\nsearch: {arm: [magnitude], sparsity: [0.6]}\n",
        ("search.sparsity.0 = 0.6: above issp.target_sparsity = 0.5",)),
    Bad("percent as a level", GOOD + "issp: {levels: [40]}\n",
        ("issp.levels.0 = 40: must be below 1 (a fraction: write 0.4 for 40 %)",)),
    Bad("a word for steps", GOOD + "issp: {steps: many}\n", ("issp.steps = many: must be",)),
    Bad("an unknown preset", GOOD + "issp: {preset: lotus_literaly}\n",
        ("issp.preset = lotus_literaly: ", "did you mean `lotus_literal`?")),
    Bad("a crop under fixed tickets", TICKETS.format("", ", crop: 2") + "search: {arm: [lotus]}\n",
        ("finetune.crop = 2: a crop breaks the patch grid", "`tickets.selection: online` or crop")),
    Bad("a crop on an axis", GOOD + "search: {finetune.crop: [0, 2]}\n",
        ("search.finetune.crop = 2: a crop breaks the patch grid",)),
    Bad("fixed random patches online", TICKETS.format(ONLINE + ", select: random_fixed", ""),
        ("tickets.select = random_fixed: a fixed set", "`select: lowest`")),
    Bad("a global threshold online", TICKETS.format(ONLINE + ", scope: global", ", crop: 2"),
        ("tickets.scope = global: one threshold needs the scores of all images",)),
    Bad("no other image", TICKETS.format("", ", data: other_images")
        + "search: [{mask_data_fraction: [0.5, 1]}, {mask_data_fraction: 0.1}]\n",
        ("search.0.mask_data_fraction.1 = 1: the mask sees every training image",)),
    Bad("a control of nothing", TICKETS.format("", ", data: other_images, crop: 2")
        + "search: {arm: [lotus, random_patches]}\n",
        ("finetune.data = other_images trains on all patches", "random_patches controls nothing")),
    Bad("validation from two places",
        GOOD.replace("digits", "digits, validation: 9, validation_from: test"),
        ("data.validation = 9: ", "halves")),
    Bad("a level that the pattern has not",
        GOOD + 'essential: {pattern: "2:4"}\nsearch: {sparsity: [0.5, 0.3, auto]}\n',
        ("search.sparsity.1 = 0.3: essential.pattern = 2:4 always removes 0.5; write "
         "`sparsity: 0.5`", "search.sparsity.2 = auto: essential.pattern = 2:4"), 2),
    Bad("a pattern on an axis",
        GOOD + 'search: {sparsity: 0.5, essential.pattern: [unstructured, "1:4"]}\n'
        "issp: {target_sparsity: 0.8}\n",
        ("search.sparsity.0 = 0.5: essential.pattern = 1:4 always removes 0.75",)),
    Bad("a pattern that YAML made a number", GOOD + "essential: {pattern: 2:4}\n",
        ("essential.pattern = 124: must stand in quotes",)),
    Bad("a pattern that is none", GOOD + 'essential: {pattern: "4:2"}\n',
        ("essential.pattern = 4:2: must be unstructured, or \"N:M\"", "1 <= N < M <= 64")),
    Bad("an unknown criterion", GOOD + "essential: {criterion: wand}\n",
        ("essential.criterion = wand: must be magnitude, ", "did you mean `wanda`?")),
    Bad("densities of layers twice",
        GOOD + "essential: {criterion: erk_magnitude, scope: layer}\n",
        ("essential.scope = layer: erk_magnitude itself says",)),
    Bad("densities of layers and a pattern", GOOD + "search: {sparsity: 0.5, "
        'essential.criterion: [erk_magnitude]}\nessential: {pattern: "2:4"}\n',
        ("essential.pattern = 2:4: makes every tensor equally sparse",)),
    Bad("a pattern and a scope", GOOD + "search: {sparsity: 0.5}\n"
        'essential: {pattern: "2:4", scope: layer}\n',
        ("essential.scope = layer: the pattern 2:4 already fixes",)),
    Bad("CIFAR-10 from nowhere", GOOD.replace("digits", "cifar10"), ("data.root is missing",)),
    Bad("weights of a random model", GOOD.split("tickets", 1)[0] + "essential: "
        "{weights: pretrained}\nissp: {weights: rewind}\n",
        ("tickets.weights = pretrained, but model.pretrained is false",
         "essential.weights = pretrained", "finetune.weights = pretrained", "issp.weights"), 4),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=[bad.id for bad in BAD])
def test_a_bad_file_ends_with_code_2_and_every_problem(
    bad: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lotus: Lotus
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text(bad.text, encoding="utf-8")
    code, out, err = lotus("plan", "bad.yaml")
    assert code == 2
    assert out == ""
    problems = f"{bad.count} problem{'s' if bad.count > 1 else ''}"
    header, *lines = err.rstrip("\n").split("\n")
    assert header == f"bad.yaml: {problems}"
    assert all(line.startswith("  ") for line in lines)
    for fragment in bad.expected:
        assert fragment in err
    assert "Traceback" not in err
    assert "pydantic" not in err


@pytest.mark.parametrize(
    "extra",
    [
        "issp: {preset: lotus_literal}\nsearch: {sparsity: [0.6]}\n",
        "issp: {levels: [0.6, 0.7], merge: union_kept}\nsearch: {sparsity: [0.55]}\n",
        "issp: {levels: [0.3, 0.7], sparsity_reference: relative}\nsearch: {sparsity: [0.6]}\n",
        "issp: {levels: [0.4], rounds: 2, ingredients: 1}\nsearch: {arm: [essential]}\n",
    ],
)
def test_levels_are_checked_only_for_what_they_decide(extra: str, tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD + extra)
    assert load_sweep(path).name == "tiny"


@pytest.mark.parametrize(
    "text",
    [
        TICKETS.format("", ", crop: 2") + "search: {arm: [dense, essential, issp]}\n",
        TICKETS.format(ONLINE, ", crop: 2"),
        TICKETS.format(ONLINE + ", select: lowest", ", crop: 2"),
        TICKETS.format("", ", crop: 2, data: other_images"),
        GOOD + "dense: {crop: 4}\n",
    ],
    ids=["arms without tickets", "online", "lowest online", "all patches", "dense"],
)
def test_a_crop_is_allowed_where_it_breaks_no_ticket(text: str, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(text, encoding="utf-8")
    assert load_sweep(tmp_path / "good.yaml").name == "tiny"


def test_there_are_enough_bad_files_of_different_names() -> None:
    assert len({bad.id for bad in BAD}) == len(BAD) >= 30


@pytest.mark.parametrize("command", ["run", "select", "report", "doctor", "status", "ui"])
def test_every_command_refuses_a_bad_file_alike(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lotus: Lotus
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text(GOOD + "sarch: {}\n", encoding="utf-8")
    code, _, err = lotus(command, "bad.yaml")
    assert code == 2
    assert err == "bad.yaml: 1 problem\n  sarch: unknown key; did you mean `search`?\n"


def test_the_exact_message_of_the_style_guide(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD + "search: {sparsity: [0.1, 90], sparsty: [0.2]}\n")
    with pytest.raises(SweepError) as caught:
        load_sweep(path)
    assert str(caught.value) == f"{path}: 2 problems\n  {PERCENT}\n  {TYPO}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"x" * 1_000_001, "over 1 MB"),
        (b"\x80\x81\xfe\xff" * 10, "cannot be read"),
        (b"\xff\xfen\x00a\x00", "cannot be read"),
    ],
    ids=["huge", "binary", "UTF-16"],
)
def test_a_file_that_is_no_text_is_refused(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(content)
    with pytest.raises(SweepError, match=expected):
        load_sweep(path)


def test_a_folder_is_no_sweep_file(tmp_path: Path, lotus: Lotus) -> None:
    code, _, err = lotus("plan", str(tmp_path))
    assert code == 2
    assert "cannot be read" in err


def test_a_path_through_a_file_is_refused(sweep_file: Callable[..., Path], lotus: Lotus) -> None:
    code, _, err = lotus("plan", f"{sweep_file()}/sweep.yaml")
    assert code == 2
    assert "1 problem" in err
    assert "Traceback" not in err


def test_a_path_too_long_for_the_system_is_refused(lotus: Lotus) -> None:
    code, _, err = lotus("plan", "x" * 5000)
    assert code == 2
    assert "1 problem" in err


def test_an_unknown_name_lists_the_bundled_sweeps(lotus: Lotus) -> None:
    code, _, err = lotus("plan", "digts")
    assert code == 2
    assert err.startswith("digts: 1 problem\n  no such file, and no bundled sweep of that name")
    assert "digits" in err


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("dense.lr", "--set dense.lr: 1 problem\n  an override is written a.b=value"),
        ("=3", "written a.b=value"),
        ("dense.lr=[", "the value is not YAML"),
        ("dense.lr=!!python/name:os.system", "the value is not YAML"),
        ("dense.lr=2020-13-45", "the value is not YAML"),
        ("dense=&a {lr: *a}", "the value is not YAML"),
        ("dense={1: 2}", "the value is not YAML"),
        ("dense.lr=-1", "dense.lr = -1: must be above 0"),
        ("dense.epoch=3", "dense.epoch = 3: unknown key; did you mean `epochs`?"),
        ("search.sparsity=[90]", "write 0.9 for 90 %"),
        ("search.issp.merge=[x]", "search.issp.merge.0 = x: must be "),
        (".=3", "unknown key"),
        ("name..=3", "name"),
    ],
)
def test_a_wrong_override_is_refused(
    override: str, expected: str, sweep_file: Callable[..., Path], lotus: Lotus
) -> None:
    code, _, err = lotus("plan", str(sweep_file()), "--set", override)
    assert code == 2
    assert expected in err
    assert "Traceback" not in err


def test_an_override_cannot_reach_into_a_list_of_blocks(lotus: Lotus) -> None:
    code, _, err = lotus("plan", "digits", "--set", "search.seed=[3]")
    assert code == 2
    assert "`search` is a list of blocks here" in err


def test_a_bad_file_takes_no_longer_than_a_good_one(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(bomb())
    start = time.process_time()
    with pytest.raises(SweepError):
        load_sweep(path)
    assert time.process_time() - start < 30


def test_the_installed_command_shows_problems_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(GOOD + "search: {sparsity: [0.1, 90], sparsty: [0.2]}\n")
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "plan", "bad.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"COLUMNS": "60"},  # long lines must not be broken
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"bad.yaml: 2 problems\n  {PERCENT}\n  {TYPO}\n"
    assert os.listdir(tmp_path) == ["bad.yaml"]


@pytest.mark.parametrize(
    ("wrong", "names", "expected"),
    [
        ("sparsty", ["sparsity", "seed"], "; did you mean `sparsity`?"),
        ("zzz", ["a", "b"], "; known here: a, b"),
        ("zzz", [], ""),
        ("zzz", [str(i) for i in range(100)], ""),
    ],
)
def test_a_suggestion_is_the_nearest_name_or_a_short_list(
    wrong: str, names: list[str], expected: str
) -> None:
    assert suggest(wrong, names) == expected


def test_an_error_keeps_its_problems_for_programs() -> None:
    problems: list[Any] = [Problem(("a", 0), ": x"), Problem((), "y")]
    error = SweepError("file", problems)
    assert error.problems == tuple(problems)
    assert str(error) == "file: 2 problems\n  a.0: x\n  y"
