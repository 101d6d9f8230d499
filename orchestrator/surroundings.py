"""Making our processes independent of the user's folder, locale, terminal and account.

Imports only a little of the standard library, because it runs before everything else.
"""

import codecs
import contextlib
import io
import os
import select
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

SHOWN = "lotus.shown"
"""Name of the error handler for characters that an encoding lacks."""

PLAIN = {
    "–": "-", "—": "-", "−": "-", "×": "x", "·": "*", "…": "...", "±": "+/-", "≤": "<=", "≥": ">=",
    "→": "->", "’": "'", "‘": "'", "“": '"', "”": '"', "\N{NO-BREAK SPACE}": " ",
}  # fmt: skip

FULL_TERMINAL_S = 1.0
"""How long to wait for a terminal that accepts no output; then the output is dropped."""


def prepare() -> None:
    """Make this process and its children independent of where it was started."""
    open_standard_streams()
    name_files_in_utf8()
    leave_working_directory_out()
    have_name()
    show_in_any_locale()


def name_files_in_utf8() -> None:
    """Restart Python with UTF-8 for file names, whatever the locale.

    Output keeps the encoding of the locale. The new Python replaces this process.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    shown = {"PYTHONUTF8": "1", "PYTHONIOENCODING": sys.stdout.encoding}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | shown)


def leave_working_directory_out() -> None:
    """Remove the working directory from the import path, here and in child processes.

    It gets there by an empty entry, as in `PYTHONPATH=$PYTHONPATH:/mine`, or by `.`; then a
    `yaml.py` in the user's folder would be imported instead of the real one. Entries that name a
    folder stay, and so does the folder of this code.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    chosen = [os.path.abspath(entry) for entry in entries if os.path.normpath(entry) != "."]
    if chosen:
        os.environ["PYTHONPATH"] = os.pathsep.join(chosen)
    else:
        os.environ.pop("PYTHONPATH", None)
    unwanted = {"", "."}
    if len(chosen) < len(entries):
        with contextlib.suppress(FileNotFoundError):
            unwanted |= {os.getcwd()} - {*chosen, code_folder()}
    sys.path[:] = [entry for entry in sys.path if entry not in unwanted]


def code_folder() -> str:
    """The folder that contains these packages."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def user_name() -> str:
    """The user's name, or `uid-NUMBER` if the system does not know it."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if value := os.environ.get(variable):
            return value
    return _known_name() or f"uid-{os.getuid()}"


def have_name() -> None:
    """Give a user unknown to the system, as in a container, a name and a home.

    MLflow, torch and others need them.
    """
    if _known_name() is None:
        os.environ["LOGNAME"] = user_name()
        if not os.environ.get("HOME"):
            os.environ["HOME"] = private_folder()
    if not os.access(os.path.expanduser("~"), os.W_OK):
        # Otherwise matplotlib reports at each start where it keeps its fonts.
        os.environ.setdefault("MPLCONFIGDIR", private_folder())


def _known_name() -> str | None:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None


def private_folder() -> str:
    """A folder below the temporary one that nobody else can write to."""
    path = Path(tempfile.gettempdir()) / f"lotus-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    status = path.lstat()
    if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022:
        return str(path)
    return tempfile.mkdtemp(prefix="lotus-")


def open_standard_streams() -> None:
    """Open closed standard streams, whose numbers the next opened files would get."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
            os.set_inheritable(opened, True)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            raw = io.FileIO(number, "w", closefd=False)
            setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8"))


def show_in_any_locale() -> None:
    """Make sure that printing never ends a program: no character, and no closed terminal."""
    codecs.register_error(SHOWN, _plainly)
    for name in ("stdout", "stderr"):
        setattr(sys, name, _steady(getattr(sys, name)))
    # For child processes, which do not have our handler.
    os.environ["PYTHONIOENCODING"] = f"{sys.stdout.encoding}:backslashreplace"


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(
        PLAIN.get(character, "?") for character in error.object[error.start : error.end]
    ), error.end


def _steady(stream: Any) -> Any:
    stream.flush()
    raw = _Steady(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=SHOWN,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Steady(io.FileIO):
    """A file that drops output nobody can read: a closed terminal, a broken pipe, a full disk.

    A sweep is worth more than its output.
    """

    def write(self, data: Any) -> int:
        try:
            written = super().write(data)
            if written is None:  # a non-blocking file is full
                select.select([], [self], [], FULL_TERMINAL_S)
                written = super().write(data)
        except OSError:
            written = None
        return len(data) if written is None else written
