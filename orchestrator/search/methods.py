"""The search method of a block."""

from orchestrator.search.block import SearchBlock
from orchestrator.search.halving import HalvingSearch
from orchestrator.search.optuna_search import OptunaSearch
from orchestrator.search.proposal import Fixed, Point, Proposer


def proposer(block: SearchBlock, budget: int) -> Proposer:
    """Make the search method of a block.

    Args:
        budget: `finetune.epochs`, for halving.
    """
    if block.method == "optuna":
        return OptunaSearch(
            space=block.space(seeds=False),
            seeds=block.seed,
            samples=block.samples or 1,
            batch=block.batch,
            sampling_seed=block.sampling_seed,
            objectives=block.objectives,
        )
    if block.method == "halving":
        return HalvingSearch(
            candidates=tuple(block.candidates()),
            seeds=block.seed,
            budget=budget,
            min_epochs=block.min_epochs,
            reduction=block.reduction,
            winners=block.winners,
        )
    return Fixed(tuple(Point(axes) for axes in block.points()))
