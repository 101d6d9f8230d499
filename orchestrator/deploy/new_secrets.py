"""`make secrets`: the cluster's env file with random secrets. Needs nothing but Python.

python orchestrator/deploy/new_secrets.py orchestrator/deploy/env.example .env
"""

import os
import re
import secrets
import sys
from pathlib import Path

EMPTY = re.compile(r"(?m)^([A-Z0-9_]+)=$")
"""A name without a value: a secret to be made."""

NAME = re.compile(r"(?m)^([A-Z0-9_]+)=")
"""Any name."""


def filled(text: str) -> str:
    """The same text with a random value behind each name that has none.

    Letters and digits only: they mean the same in files, addresses and shells.
    """
    return EMPTY.sub(lambda found: f"{found[1]}={secrets.token_hex(20)}", text)


def write(example: Path, target: Path) -> None:
    """Make the file, readable by its owner only.

    Raises:
        FileExistsError: there is one; its secrets stand in the volumes of a cluster.
    """
    text = filled(example.read_text(encoding="utf-8"))
    made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(made, "w", encoding="utf-8") as out:
        out.write(text)


def add(example: Path, target: Path) -> list[str]:
    """Give a file of an earlier version the secrets that it has not; their names."""
    before = target.read_text(encoding="utf-8")
    have = set(NAME.findall(before))
    new = [name for name in EMPTY.findall(example.read_text(encoding="utf-8")) if name not in have]
    if new:
        with target.open("a", encoding="utf-8") as out:
            lines = [filled(f"{name}=") + "\n" for name in new]
            out.write(("" if before.endswith("\n") or not before else "\n") + "".join(lines))
    return new


def main() -> int:
    """Exit code 0, or 1 with a sentence."""
    example, target = map(Path, sys.argv[1:])
    try:
        write(example, target)
    except FileExistsError:
        if new := add(example, target):
            print(f"{target} has new secrets beside those that it had: {', '.join(new)}")
            return 0
        print(
            f"{target} is there already and stays as it is: PostgreSQL and MLflow keep the "
            "passwords with which they first started. To begin anew, data included: "
            f"`docker compose down --volumes`, remove {target}, `make secrets`.",
            file=sys.stderr,
        )
        return 1
    print(f"{target} has new secrets and can be read by you only")
    return 0


if __name__ == "__main__":
    sys.exit(main())
