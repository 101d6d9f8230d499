"""What the user's folder, locale, terminal and account do to a process of ours, and what is done.

Only the standard library is imported here, and little of it: this comes before all else.
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
"""For so long a terminal may take nothing; then what was to be shown is dropped."""


def prepare() -> None:
    """Make this process, and those that it starts, independent of where it was started."""
    open_standard_streams()
    name_files_in_utf8()
    leave_working_directory_out()
    have_name()
    show_in_any_locale()


def name_files_in_utf8() -> None:
    """Go on as a Python that reads and writes names of files as all others do, in any locale.

    What is shown keeps the encoding of the locale. The new Python takes the place of this one.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    shown = {"PYTHONUTF8": "1", "PYTHONIOENCODING": sys.stdout.encoding}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | shown)


def leave_working_directory_out() -> None:
    """Take the working directory off the import path, here and in all processes from here.

    It comes there by an empty entry, as of `PYTHONPATH=$PYTHONPATH:/mine`, or by `.`; then a
    `yaml.py` in the user's folder is imported in place of the real one. Entries that name a folder
    stay, and so does the folder of this code.
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
    """Where these packages lie."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def user_name() -> str:
    """The user's name, or their number where the system knows no name for it."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if value := os.environ.get(variable):
            return value
    return _known_name() or f"uid-{os.getuid()}"


def have_name() -> None:
    """Give a user whom the system does not know, as in a container, a name and a home.

    MLflow, torch and others ask for them, and fail.
    """
    if _known_name() is None:
        os.environ["LOGNAME"] = user_name()
        if not os.environ.get("HOME"):
            os.environ["HOME"] = private_folder()
    if not os.access(os.path.expanduser("~"), os.W_OK):
        # Else matplotlib says at each start where it keeps its fonts instead.
        os.environ.setdefault("MPLCONFIGDIR", private_folder())


def _known_name() -> str | None:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None


def private_folder() -> str:
    """A folder below the temporary one in which nobody else can put anything."""
    path = Path(tempfile.gettempdir()) / f"lotus-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    status = path.lstat()
    if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022:
        return str(path)
    return tempfile.mkdtemp(prefix="lotus-")


def open_standard_streams() -> None:
    """Where one of the three was closed, the next file to be opened would take its place."""
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
    """Nothing that is printed ends a program: not a character, and not a terminal that is gone."""
    codecs.register_error(SHOWN, _plainly)
    for name in ("stdout", "stderr"):
        setattr(sys, name, _steady(getattr(sys, name)))
    # For processes from here, which know nothing of our handler.
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
    """What nobody can read any more is dropped: a closed terminal, a pipe's dead end, a full disk.

    A sweep is worth more than what it prints.
    """

    def write(self, data: Any) -> int:
        try:
            written = super().write(data)
            if written is None:  # it does not block, and is full
                select.select([], [self], [], FULL_TERMINAL_S)
                written = super().write(data)
        except OSError:
            written = None
        return len(data) if written is None else written
