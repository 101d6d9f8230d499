"""Errors that a user can mend. Each says what is wrong, where, and what to do."""


class LotusError(Exception):
    """Base of every error that is shown without a traceback."""


class StageInputError(LotusError):
    """The inputs of a stage do not fit together."""


class DataError(LotusError):
    """A data set is absent, damaged or too small for what was asked."""


class ModelError(LotusError):
    """A model or its weights cannot be used for LOTUS."""


class FormatError(LotusError):
    """A mask, ticket or checkpoint file is not what its format says."""
