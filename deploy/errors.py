"""The one error that the command line shows as one line.

DeployError
"""


class DeployError(Exception):
    """What went wrong and what to do about it, in one line. The command line prints it and ends with status 1."""
