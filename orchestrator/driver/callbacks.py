"""What Tune tells of its run beside what it tells its searcher, and how its run is ended."""

from collections.abc import Callable, Iterable
from typing import Any

from ray import tune

from orchestrator.driver.interrupts import Stop
from orchestrator.driver.searcher import Running, TuneSearcher


class Starts(tune.Callback):  # type: ignore[misc]
    """Tells what really starts, and keeps the display alive while Tune waits.

    Args:
        heard: asks what processes say of how far they have come.
    """

    def __init__(self, searcher: TuneSearcher, heard: Callable[[], None]) -> None:
        self.searcher: TuneSearcher | None = searcher
        self.heard = heard

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self.searcher is None:
            return
        self.searcher.dispatcher.tell_room()
        self.heard()
        self.searcher.dispatcher.beat()
        for lost in _unreported(trials, self.searcher.running):
            self.searcher.on_trial_complete(lost, error=True)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self.searcher is not None:
            running = self.searcher.running
            running.start(trial)
            self.searcher.dispatcher.begun(running.batches[trial.trial_id])

    def __getstate__(self) -> dict[str, Any]:
        return {"searcher": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _unreported(trials: Iterable[Any], running: Running) -> list[str]:
    """Trials that Tune has given up without telling its searcher, as when a reset fails."""
    lost, left = [], len(running.batches)
    for trial in reversed(list(trials)):  # what runs stands near the end
        if left == 0:
            break
        if trial.trial_id in running.batches:
            left -= 1
            if trial.status == trial.ERROR:
                running.trials.setdefault(trial.trial_id, trial)
                lost.append(trial.trial_id)
    return lost


class StopAll(tune.Stopper):  # type: ignore[misc]
    """Ends Tune's run when a stop has been asked for, without waiting for what runs."""

    def __init__(self, stop: Stop, running: Running) -> None:
        self.stop, self.running = stop, running

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self.stop.reason is None:
            return False
        # Here, because Tune forgets the processes next, and a stage may take hours to end.
        self.running.kill()
        return True

    def __getstate__(self) -> dict[str, Any]:
        return {"stop": Stop(), "running": Running()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
