"""What can be wrong with a store: which errors last, and what to do about them."""

import errno
import os
import re
from pathlib import Path

from orchestrator.secrets import redacted
from trials.errors import LotusError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
GONE = {errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTDIR, errno.ENAMETOOLONG}
UNABLE = {errno.EINVAL, errno.ENOSYS}

_FULL_ON_S3 = re.compile(r"(?i)quota|storagefull|insufficient(storage|capacity)|\b507\b")


class StoreUnusable(LotusError):  # noqa: N818 - a state, not a mistake
    """The store is full, read-only or gone: no sweep can continue on it until that is fixed."""


class StoreAway(LotusError, OSError):  # noqa: N818
    """The store did not answer for a while; it may do so later."""


def unusable(url: str, error: Exception, what: str) -> StoreUnusable:
    """The error for a store that waiting does not help.

    Args:
        what: `read` or `written`.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number in FULL or _full_on_s3(error):
        words = "is full: free space or run `lotus gc`"
    elif number == errno.EROFS:
        words = "is read-only: mount it for writing"
    elif number in CLOSED or isinstance(error, PermissionError):
        words = f"must not be {what} by this user: check its permissions and keys"
    else:
        words = f"cannot be {what}: check the path and that it is mounted"
    text = f"{named(url)} {words} ({_reason(error)}). Nothing that is finished is lost:"
    return StoreUnusable(f"{text} the same command continues.")


def away(url: str, error: Exception) -> StoreAway:
    """The error for a store that does not answer."""
    return StoreAway(
        f"{named(url)} does not answer ({_reason(error)}). Nothing is "
        "lost: the same command continues when it does."
    )


def named(url: str) -> str:
    """The store as an error names it."""
    return f"the store, {setting_of(url)} = {redacted(url)},"


def setting_of(url: str) -> str:
    """The setting that gives the address: the environment variable, if it is set to it."""
    variable = os.environ.get("LOTUS_STORE")
    same = variable and url in (variable, str(Path(variable).expanduser().absolute()))
    return "LOTUS_STORE" if same else "storage.path"


def of_storage(error: Exception) -> bool:
    """Whether an error comes from a file system or an object store, not from our own code."""
    package = type(error).__module__.split(".")[0]
    return isinstance(error, OSError) or package in ("botocore", "aiobotocore", "aiohttp", "s3fs")


def lasting(error: Exception) -> bool:
    """Whether waiting does not help."""
    number = error.errno if isinstance(error, OSError) else None
    no_keys = type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError")
    refused = isinstance(error, PermissionError | NotADirectoryError | IsADirectoryError)
    return number in FULL | CLOSED | GONE | UNABLE or refused or no_keys or _full_on_s3(error)


def _full_on_s3(error: Exception) -> bool:
    answer = getattr(error.__cause__, "response", None) or getattr(error, "response", None)
    if not isinstance(answer, dict):
        return False
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return bool(_FULL_ON_S3.search(f"{answer.get('Error', {}).get('Code')} {status}"))


def _reason(error: Exception) -> str:
    return redacted(str(error) or type(error).__name__)[:300]
