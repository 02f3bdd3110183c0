"""Exit statuses of a dataflow process with a meaning for its supervisor."""

HANDLER_TIMED_OUT = 75
"""A handler of a strategy exceeded its time limit, and its timeout is recorded: the next start does not call it."""
