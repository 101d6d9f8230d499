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
from orchestrator.driver.interrupts import ENDED, INTERRUPTS
from orchestrator.planning.problems import SweepError
from orchestrator.remote import laptop
from orchestrator.versions import VERSION
from trials.errors import LotusError

COMMANDS = (
    files.list_sweeps,
    files.schema,
    new,
    import_weights,
    running.plan,
    running.run,
    results.report,
    results.select,
    results.export,
    upkeep.doctor,
    upkeep.gc,
    upkeep.ui,
    *laptop.COMMANDS,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(VERSION, prog_name="lotus")
def cli() -> None:
    """Run, track and report sweeps of LOTUS, which makes vision transformers sparse.

    SWEEP is a YAML file or the name of a bundled sweep (see `lotus list`). Ctrl-C ends a command
    cleanly, and the same command continues.
    """


for _command in COMMANDS:
    cli.add_command(_command)


def main(listens: bool = False) -> None:
    """What `lotus` does: errors that a user can mend are shown without a traceback.

    Args:
        listens: this process hears signals already; see `entry.py`.
    """
    if not listens:
        INTERRUPTS.install(exits=True)
    notices.tell(lambda text: errors.print(f"! {text}", style="yellow", soft_wrap=True))
    try:
        code = cli.main(standalone_mode=False)
        INTERRUPTS.check()
    except SweepError as error:
        code = _say(str(error), WRONG)
    except LotusError as error:
        code = _say(f"Error: {error}", FAILED)
    except click.ClickException as error:
        error.show()
        code = WRONG
    except (KeyboardInterrupt, click.Abort):
        INTERRUPTS.taken()
        code = _say(ENDED, INTERRUPTED)
    sys.exit(code if isinstance(code, int) else OK)


def _say(text: str, code: int) -> int:
    errors.print(text, highlight=False, soft_wrap=True)
    return code


if __name__ == "__main__":
    from orchestrator.entry import main as program

    program()
