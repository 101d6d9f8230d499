"""`lotus import`: a pickled checkpoint as a safetensors file."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from orchestrator.commands.terminal import Terminal
from trials.errors import LotusError


@dataclass(frozen=True, slots=True)
class Imported:
    """What was written, and of what."""

    path: Path
    words: str


def convert(source: Path, out: Path | None = None, prefix: str | None = None) -> Imported:
    """Write the weights of a checkpoint as safetensors; nothing in it is run.

    Args:
        out: must not be there yet; None = beside the checkpoint, with another suffix.
        prefix: see `trials.model.pickled.unpack`.

    Raises:
        LotusError: the checkpoint cannot be read safely, or the place is not free.
    """
    from trials.formats import save_checkpoint
    from trials.model.pickled import unpack

    target = source.with_suffix(".safetensors") if out is None else out
    if target.suffix != ".safetensors":
        raise LotusError(f"--out {target}: its name has to end in .safetensors")
    if target.exists():
        raise LotusError(f"{target} is there already: name another file with --out, or remove it")
    found = unpack(source, prefix)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
        os.close(handle)
        try:
            save_checkpoint(found.state, Path(name), {"format": "pt"})
            os.chmod(name, 0o644)
            os.replace(name, target)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise LotusError(f"{target} cannot be written: {error.strerror or error}") from None
    return Imported(target, found.words)


@click.command("import")
@click.argument("weights", metavar="WEIGHTS", type=click.Path(path_type=Path))
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File to write. Default: WEIGHTS with the suffix .safetensors.",
)
@click.option(
    "--prefix",
    metavar="PREFIX",
    help="Take the weights whose names begin with this, such as `backbone.`. Default: the only "
    "vision transformer that is found.",
)
def import_weights(weights: Path, out: Path | None, prefix: str | None) -> int:
    """Convert a pickled checkpoint (.pth, .pt, .bin) to safetensors.

    A pickle can run code when it is read. This reads tensors and plain values only, and refuses
    everything else. Says what was taken and what was left.
    """
    found = convert(weights, out, prefix)
    console = Terminal()
    console.print(found.words, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Written   {found.path}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"Use it    model: {{name: NAME, pretrained: {found.path}}}, NAME as timm calls the model",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 0
