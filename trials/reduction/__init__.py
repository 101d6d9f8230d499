"""Token reduction: patches leave, or merge, inside the network.

Each method is a file of tensor functions and a small reducer on top of them; `walk.py` has the
loop over the blocks that calls it, `tokens.py` what it costs.
"""

from collections.abc import Callable
from typing import Any

from trials.reduction import dynamicvit, evit, sampled, tome
from trials.reduction.config import Method, ReductionConfig
from trials.reduction.refusals import refuse
from trials.reduction.state import Module, Reducer

REDUCERS: dict[Method, Callable[[ReductionConfig, Module], Reducer]] = {
    "evit": evit.reducer,
    "tome": tome.reducer,
    "dynamicvit": dynamicvit.reducer,
    "random": sampled.reducer,
}
"""Every method but `none`."""


PREDICTORS = "reducer."
"""How the names of what a reducer has to learn begin."""


def attach(config: ReductionConfig, model: Module, seed: int) -> None:
    """Give a model what its reducer has to learn, as `model.reducer`.

    Its tensors are named `reducer.*`; a method without weights adds nothing.

    Args:
        seed: of the predictors' weights.

    Raises:
        ModelError: the method cannot reduce this model.
    """
    refuse(config, model)
    if config.method == "dynamicvit" and config.acts:
        stages = len(config.stages(len(model.blocks)))
        made: Any = dynamicvit.predictors(model.embed_dim, stages, seed)
        model.reducer = made.train(model.training)


def reducer_of(config: ReductionConfig, model: Module) -> Reducer | None:
    """The reducer of a model; None where no token ever leaves, so that it runs as it is.

    Raises:
        ModelError: the method cannot reduce this model.
    """
    refuse(config, model)
    return REDUCERS[config.method](config, model) if config.acts else None
