"""When Python looks for garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nothing_is_garbage() -> Iterator[None]:
    """No garbage collection while many objects are made that all stay for now.

    The collector would walk over them, and over everything that torch and MLflow brought along,
    again and again: a third of the time of a large plan, and half of reading many runs.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
