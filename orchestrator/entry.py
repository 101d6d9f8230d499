"""The program `lotus`: what must happen before other imports, and how the process ends."""

import atexit
import os
import signal
import sys
from typing import Any

from orchestrator import surroundings
from orchestrator.driver.interrupts import ENDED, EXIT_CODE, INTERRUPTS, SIGNALS


class _End:
    """Ends this process after all exit handlers, without interpreter shutdown.

    Shutdown takes time, and libraries report leftovers during it, as nanobind does for each type
    that is still referenced.
    """

    def __init__(self) -> None:
        self.code = 1
        atexit.register(self._leave)  # registered first, called last

    def comes(self, code: int) -> None:
        """The work is done: from now on a signal ends the process at once, with this code."""
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
        # The code that was interrupted may have turned the interrupt into another exception.
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
