"""`lotus new`: a sweep file for somebody's own data, model and budget."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from orchestrator.commands.options import OK, console
from orchestrator.planning.problems import Problem, SweepError

if TYPE_CHECKING:
    from orchestrator.commands.drafting import Draft, Wish
    from orchestrator.commands.looking import Seen

T = TypeVar("T")

DATA = "A folder of images, or the name of a data set, such as digits or CIFAR100."
MODEL = "Name of a timm vision transformer, such as deit_tiny_patch16_224."
BUDGET = "Device time that the sweep may take, by the forecast of `lotus plan`: 30m, 4h."

ASKED = {"data": "", "model": "deit_tiny_patch16_224", "budget": "30m"}
"""What is asked for where it was not given, with what is offered."""

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command()
@click.option("--data", metavar="FOLDER|NAME", help=DATA)
@click.option("--model", metavar="NAME", help=MODEL)
@click.option(
    "--weights",
    metavar="timm|none|FILE",
    default="timm",
    show_default=True,
    help="Weights to start from. With none, the model is trained from scratch.",
)
@click.option("--budget", metavar="TIME", help=BUDGET)
@click.option("--out", metavar="FILE", help="File to write. Default: the data's name.yaml.")
def new(
    data: str | None, model: str | None, weights: str, budget: str | None, out: str | None
) -> int:
    """Write a sweep file for own data, a model and a budget.

    Looks at the data, and chooses image size, epochs, levels, arms and seeds so that the budget is
    kept by the forecast of `lotus plan`. Asks in a terminal for what is not given. The file says
    why each setting is what it is.
    """
    given = _asked({"data": data, "model": model, "budget": budget})
    path = Path(out or f"{_name_of(given['data'])}.yaml")
    wish = _wish(given, weights, path)
    draft = _draft(wish)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(draft.text)
    except OSError as error:
        raise _wrong({"--out": f" = {path}: cannot be written: {error.strerror}"}) from None
    _tell(draft, wish, path)
    return OK


def _asked(given: dict[str, str | None]) -> dict[str, str]:
    """What was given and, in a terminal, what is answered.

    Raises:
        SweepError: something is missing, and nobody is there to ask.
    """
    about = {"data": DATA, "model": MODEL, "budget": BUDGET}
    missing = [name for name, value in given.items() if not value]
    if missing and not sys.stdin.isatty():
        raise _wrong({f"--{name}": f": is missing. {about[name]}" for name in missing})
    found = {name: value for name, value in given.items() if value}
    for name in missing:
        console.print(about[name], highlight=False)
        found[name] = click.prompt(f"--{name}", default=ASKED[name] or None)
    return found


def _wish(given: dict[str, str], weights: str, path: Path) -> "Wish":
    """What is wanted, checked; every problem at once."""
    from orchestrator.commands.drafting import Wish
    from orchestrator.commands.looking import look
    from orchestrator.versions import gpus
    from trials.errors import LotusError

    wrong: dict[str, str] = {}

    def checked(option: str, value: str, check: Callable[[str], T]) -> T | None:
        try:
            return check(value)
        except (ValueError, LotusError) as error:
            wrong[option] = f" = {value}: {_plain(error)}"
            return None

    seen: Seen | None = checked("--data", given["data"], look)
    budget_h = checked("--budget", given["budget"], hours)
    checked("--out", str(path), _free)
    channels = (seen.counts.classes, seen.counts.channels) if seen else (10, 3)
    checked("--model", given["model"], lambda name: _built(name, *channels))
    given_weights = checked("--weights", weights, lambda text: _weights(text, given["model"]))
    if wrong or seen is None or budget_h is None or given_weights is None:
        raise _wrong(wrong)
    named = [("--data", given["data"]), ("--model", given["model"]), ("--budget", given["budget"])]
    named += [("--weights", weights)] if weights != "timm" else []
    command = shlex.join(["lotus", "new", *(part for pair in named for part in pair)])
    (start,) = given_weights
    return Wish(_sweep_name(path.stem), seen, given["model"], start, budget_h, gpus() > 0, command)


def _plain(error: Exception) -> str:
    """Without the setting of the sweep file, which nobody has written yet."""
    return re.sub(r"^(data|model)\.\w+( = \S+)?: ", "", str(error))


def _built(name: str, classes: int, channels: int) -> None:
    """Whether timm builds the model.

    Raises:
        ModelError: it does not.
    """
    from trials.model.capability import capability_of

    capability_of(name, {"num_classes": classes, "in_chans": channels})


def _weights(text: str, model: str) -> tuple[bool | str]:
    """`model.pretrained` of the file, alone in a tuple because it may be false.

    Raises:
        ModelError, ValueError: they cannot be had.
    """
    from trials.errors import ModelError
    from trials.model.downloads import weights_at_hand

    if text == "none":
        return (False,)
    if text != "timm":
        path = Path(text).expanduser().absolute()
        if not path.exists():
            raise ValueError("there is no such file; write timm, none or the path of weights")
        return (str(path),)
    try:
        weights_at_hand(model)
    except ModelError as error:
        if "no such model" in str(error):
            return (True,)  # said of the model
        raise ModelError(f"{error} Or write `--weights none` to train from scratch.") from None
    return (True,)


def hours(text: str) -> float:
    """`90s`, `30m`, `1h30m`, `2d` -> hours.

    Raises:
        ValueError: it is no time, or none at all.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhd])", text.lower())
    if not parts or "".join(f"{n}{unit}" for n, unit in parts) != "".join(text.lower().split()):
        raise ValueError("must be a time with its unit, such as 90s, 30m, 1h30m or 2d")
    found = sum(float(number) * UNITS_S[unit] for number, unit in parts) / 3600
    if not found:
        raise ValueError("must be above 0")
    return found


def _free(path: str) -> None:
    if Path(path).exists():
        raise ValueError("exists; name another file with `--out`, or remove it")
    if not Path(path).absolute().parent.is_dir():
        raise ValueError("there is no such folder")


def _draft(wish: "Wish") -> "Draft":
    """The best sweep that the budget allows.

    Raises:
        SweepError: it allows none.
        ModelError: the weights cannot be used.
    """
    from orchestrator.commands.drafting import Drafter
    from orchestrator.commands.fitting import TooLittleError
    from orchestrator.costs import device_time
    from orchestrator.planning.sections import StorageSection
    from orchestrator.storage.store import Store

    entries = list(Store(StorageSection().path).entries())
    try:
        return Drafter(wish, entries).draft()
    except TooLittleError as error:
        device = "gpu" if wish.gpu else "cpu"
        message = (
            f" = {device_time(wish.budget_h, device)}: the least that says something takes "
            f"{device_time(error.least, device)} with this model and data; raise the budget or "
            "name a smaller model"
        )
        raise _wrong({"--budget": message}) from None


def _tell(draft: "Draft", wish: "Wish", path: Path) -> None:
    """What was chosen, and what to do next."""
    from orchestrator.commands.foreseeing import predicted_words

    typed = shlex.quote(str(path))
    console.print(f"{path}: {predicted_words(draft.sweep, draft.predicted)}", soft_wrap=True)
    for line in wish.data.said:
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    if wish.data.absent:
        absent = f"  ! The data are not there yet: {wish.data.absent}"
        console.print(absent, style="yellow", highlight=False, soft_wrap=True)
    console.print(f"Check it  lotus doctor {typed}", highlight=False, soft_wrap=True)
    console.print(f"Run it    lotus run {typed}", highlight=False, soft_wrap=True)


def _name_of(data: str) -> str:
    """A name for the data: of the folder, or as it was given."""
    return _sweep_name(Path(data).expanduser().absolute().name if Path(data).exists() else data)


def _sweep_name(text: str) -> str:
    """The text as a sweep may be called."""
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-._+ ")
    return name[:100] or "sweep"


def _wrong(problems: dict[str, str]) -> SweepError:
    return SweepError("lotus new", [Problem((option,), text) for option, text in problems.items()])
