"""`make pin`: images by digest. Needs Python, and docker with buildx or skopeo or crane.

A tag can be moved to another image at any time, a digest is the image. Each reference to an image
of somebody else, in the compose file, the Dockerfile and the Kubernetes files, becomes
`name:tag@sha256:...`, with the digest that the registry has for the tag now; one that has a digest
already gets the new one. That is a change to look at and to commit.

python orchestrator/deploy/pin.py [FOLDER]
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FILES = ("docker-compose.yml", "Dockerfile", "orchestrator/deploy/kubernetes/*.yaml")

OURS = "lotus-sweep"
"""Built from the Dockerfile: it has no digest before it is pushed."""

REFERENCE = re.compile(
    r"(?m)^(?P<before>[ \t-]*image:[ ]+|FROM[ ]+|# syntax=)"
    r"(?P<name>[a-z0-9][\w./-]*):(?P<tag>[\w][\w.-]*)(?P<digest>@sha256:[0-9a-f]{64})?(?=\s|$)"
)

ASKING = (
    ("docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", "{}"),
    ("skopeo", "inspect", "--format", "{{.Digest}}", "docker://{}"),
    ("crane", "digest", "{}"),
)
"""Programs that ask a registry for the digest of a tag, of all platforms together."""

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class PinError(Exception):
    """A digest cannot be learned."""


def references(folder: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    """Every reference to an image of somebody else, with the file that holds it."""
    for path in files(folder):
        for found in REFERENCE.finditer(path.read_text(encoding="utf-8")):
            if found["name"] != OURS:
                yield path, found


def files(folder: Path) -> list[Path]:
    """Those that refer to images."""
    return sorted(path for pattern in FILES for path in folder.glob(pattern))


def asked(image: str) -> str:
    """The digest that the registry has for a tag.

    Raises:
        PinError: none of the programs is here, or none learns it.
    """
    said = []
    for program, *rest in ASKING:
        if not shutil.which(program):
            continue
        command = [program, *(word.replace("{}", image) for word in rest)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0 and DIGEST.fullmatch(found := done.stdout.strip()):
            return found
        said.append(f"{program}: {(done.stderr or done.stdout).strip()[:200]}")
    reason = "; ".join(said) or "neither docker nor skopeo nor crane is installed"
    raise PinError(f"the digest of {image} cannot be learned ({reason})")


def pin(folder: Path) -> dict[str, str]:
    """Write the digest behind every tag; all of them or none.

    Raises:
        PinError: one cannot be learned. Nothing is written.
    """
    images = sorted({f"{found['name']}:{found['tag']}" for _, found in references(folder)})
    digests = {image: asked(image) for image in images}

    def pinned(found: re.Match[str]) -> str:
        image = f"{found['name']}:{found['tag']}"
        return f"{found['before']}{image}@{digests[image]}" if image in digests else found[0]

    for path in files(folder):
        before = path.read_text(encoding="utf-8")
        if (after := REFERENCE.sub(pinned, before)) != before:
            path.write_text(after, encoding="utf-8")
    return digests


def main() -> int:
    """Exit code 0, or 1 with a sentence."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent.parent
    try:
        for image, digest in pin(folder).items():
            print(f"{image}@{digest}")
    except PinError as error:
        print(f"{error}. Nothing is changed.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
