"""Errors that a user can mend. Each says what is wrong, where, and what to do."""


class LotusError(Exception):
    """Base of every error that is shown without a traceback."""


class StageInputError(LotusError):
    """The inputs of a stage do not fit together."""


class DataError(LotusError):
    """A data set is absent, damaged or too small for what was asked."""


class ModelError(LotusError):
    """A model or its weights cannot be used for LOTUS."""


class AbsentError(LotusError):
    """What is named is not there, or not there yet; nothing is known to be wrong with it."""


class DataAbsentError(DataError, AbsentError):
    """A data set is not where it should be."""


class WeightsAbsentError(ModelError, AbsentError):
    """A weights file is not where it should be."""


class FormatError(LotusError):
    """A mask, ticket or checkpoint file is not what its format says."""
