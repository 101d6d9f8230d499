"""The program `lotus`: what has to be so before anything else is imported, and how it ends."""

import atexit
import os
import signal
import sys
from typing import Any

from orchestrator import surroundings
from orchestrator.driver.interrupts import ENDED, EXIT_CODE, INTERRUPTS, SIGNALS


class _End:
    """The end of this process, after everything that others have to do then.

    The interpreter is not taken apart: libraries would tell of what they find left over, as
    nanobind does of each type that somebody still holds, and it takes time.
    """

    def __init__(self) -> None:
        self.code = 1
        atexit.register(self._leave)  # the first to be registered is the last to be called

    def comes(self, code: int) -> None:
        """The work is done and its result stands: a signal only makes the end quicker."""
        self.code = code
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                signal.signal(number, lambda *_: os._exit(self.code))

    def _leave(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(self.code)


def main() -> None:
    """Run `lotus` with the arguments of this process."""
    end = _End()
    INTERRUPTS.install(exits=True)
    INTERRUPTS.raise_what_python_swallows()
    try:
        surroundings.prepare()
        from orchestrator.cli import main as lotus

        lotus(listens=True)
    except SystemExit as ended:
        end.comes(_code_of(ended.code))
    except BaseException as error:
        # Where it came up, something may have made another exception of it.
        if not isinstance(error, KeyboardInterrupt) and not INTERRUPTS.owed:
            raise
        end.comes(EXIT_CODE)
        print(ENDED, file=sys.stderr)


def _code_of(code: Any) -> int:
    if isinstance(code, str):
        print(code, file=sys.stderr)
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    main()
