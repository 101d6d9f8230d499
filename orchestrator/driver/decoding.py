"""Images in files become arrays before a device is held: what is wrong with them is said now."""

from collections.abc import Callable

from orchestrator.planning.plan import Plan


def decode(plan: Plan, say: Callable[[str], None]) -> None:
    """Decode the images of each data set where this machine has not done so before.

    Raises:
        DataError: an image cannot be decoded, or there is no room.
    """
    found = {opened.dataset.digest: opened.dataset for opened in plan.opened.values()}
    for dataset in found.values():
        begun = False

        def told(done: int, count: int, name: str = dataset.name) -> None:
            nonlocal begun
            if not begun:
                say(f"{count:,} images of {name} are decoded, once for this machine")
            begun = True

        dataset.prepare(told)
