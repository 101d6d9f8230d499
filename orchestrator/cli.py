"""The command line: thin. Exit codes: 0 done, 1 failed trials, 2 wrong use, 130 interrupted.

The commands stand in `commands/`, and those that speak to a cluster from outside in
`remote/laptop.py`.
"""

import sys

import click

from orchestrator import notices
from orchestrator.commands import files, results, running, upkeep
from orchestrator.commands.importing import import_weights
from orchestrator.commands.new import new
from orchestrator.commands.options import FAILED, INTERRUPTED, OK, WRONG, errors
from orchestrator.commands.terminal import show_text
from orchestrator.driver.interrupts import ENDED, INTERRUPTS
from orchestrator.planning.problems import SweepError
from orchestrator.remote import laptop
from orchestrator.versions import VERSION
from trials.errors import LotusError

SECTIONS: dict[str, dict[click.Command, tuple[str, ...]]] = {
    "Run": {
        files.list_sweeps: ("lotus list",),
        new: ("lotus new --data photos --model deit_tiny_patch16_224 --budget 1h",),
        running.plan: ("lotus plan digits", "lotus plan my.yaml --set finetune.epochs=3"),
        running.run: ("lotus run digits", "lotus run my.yaml --set search.seed=[0,1,2]"),
        laptop.submit: ("lotus submit my.yaml --address http://head:8265",),
        laptop.stop: ("lotus stop my.yaml --address http://head:8265",),
    },
    "Look": {
        laptop.status: ("lotus status", "lotus status my.yaml --watch"),
        laptop.logs: ("lotus logs my.yaml --address http://head:8265",),
        results.select: ("lotus select my.yaml --tolerance 0.02",),
        results.report: ("lotus report my.yaml --output report",),
        upkeep.ui: ("lotus ui my.yaml",),
    },
    "Take away": {
        results.export: ("lotus export my.yaml --output model --format onnx",),
        files.schema: ("lotus schema > sweep.schema.json",),
    },
    "Care": {
        upkeep.doctor: ("lotus doctor my.yaml",),
        import_weights: ("lotus import checkpoint.pth",),
        upkeep.gc: ("lotus gc --dry-run",),
    },
}
"""The commands as `lotus --help` lists them, each with examples."""

COMPLETION = """\b
Shell completion, in ~/.bashrc, ~/.zshrc or config.fish:
  eval "$(_LOTUS_COMPLETE=bash_source lotus)"
  eval "$(_LOTUS_COMPLETE=zsh_source lotus)"
  _LOTUS_COMPLETE=fish_source lotus | source"""


class Sections(click.Group):
    """A group whose help lists its commands in sections."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.commands))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                limit = formatter.width - width - 6
                rows = [(f"{c.name:<{width}}", c.get_short_help_str(limit)) for c in commands]
                formatter.write_dl(rows)


@click.group(
    cls=Sections,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog=COMPLETION,
)
@click.version_option(VERSION, prog_name="lotus")
def cli() -> None:
    """Run, track and report sweeps of LOTUS, which makes vision transformers sparse.

    SWEEP is a YAML file or the name of a bundled sweep (see `lotus list`). Ctrl-C ends a command
    cleanly, and the same command continues.
    """


for _commands in SECTIONS.values():
    for _command, _examples in _commands.items():
        _command.epilog = "\n".join(["\b", "Example:", *(f"  {line}" for line in _examples)])
        cli.add_command(_command)


def main(listens: bool = False) -> None:
    """What `lotus` does: errors that a user can mend are shown without a traceback.

    Args:
        listens: this process hears signals already; see `entry.py`.
    """
    if not listens:
        INTERRUPTS.install(exits=True)
    notices.tell(lambda text: show_text(errors, f"! {text}", "yellow"))
    try:
        code = cli.main(standalone_mode=False)
        INTERRUPTS.check()
    except SweepError as error:
        code = _say(str(error), WRONG)
    except LotusError as error:
        code = _say(f"Error: {error}", FAILED)
    except click.ClickException as error:
        error.show(sys.stderr)  # click's own stream would not keep to the encoding of the locale
        code = WRONG
    except (KeyboardInterrupt, click.Abort):
        INTERRUPTS.taken()
        code = _say(ENDED, INTERRUPTED)
    sys.exit(code if isinstance(code, int) else OK)


def _say(text: str, code: int) -> int:
    show_text(errors, text)
    return code


if __name__ == "__main__":
    from orchestrator.entry import main as program

    program()
