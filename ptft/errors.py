"""Errors that a user can mend, one class per cause; everything else is a bug and keeps its traceback."""


class UserError(Exception):
    """A mistake a user can mend: the command line prints its one sentence and exits with code 2.

    The sentence says what is wrong with the value got, what is allowed, where it came from, and what to do.
    """


class RecipeError(UserError):
    """A setting is unknown, missing, of the wrong kind or out of range."""


class DataError(UserError):
    """A corpus, a table or its labels cannot be used as they are."""


class CheckpointError(UserError):
    """A model, tokenizer or run folder is not what was asked for."""


class DeviceError(UserError):
    """The machine lacks what was asked for: a device, a precision, a library."""


class TrainingError(UserError):
    """A training cannot go on: a step was no number, or did not fit into memory."""
