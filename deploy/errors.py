"""The error that the command line prints as one line."""


class DeployError(Exception):
    """A failed operation. The message is one line: what failed and what to do. The exit status is 1."""
