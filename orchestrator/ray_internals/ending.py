"""How Ray is left."""

import gc

import ray


def shut_down() -> None:
    """`ray.shutdown`, while nobody collects garbage.

    Tune leaves references to Ray's objects in cycles. Python collects them in whatever thread
    happens to make garbage. If that is another thread than this one, just while Ray's core worker
    ends, Ray ends the whole process with code 1, because it is asked to forget an object that it
    no longer knows of. So they go first, and none goes meanwhile.
    """
    gc.collect()
    collects = gc.isenabled()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if collects:
            gc.enable()
