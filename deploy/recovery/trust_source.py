"""The option `--trust-source` of the commands that replay a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dataflows.replay.recorded_source import RecordedSource
    from deploy.home import Home

TrustSource = Annotated[
    bool,
    typer.Option(
        "--trust-source",
        help="Run recorded source code without a signature, for strategies and indicators that have changed since.",
    ),
]


def source_of_recording(home: Home, trust_source: bool) -> RecordedSource:
    """Return what a replay of this platform may run: source code that a key of this host signed, or all of it.

    Raises BadInput if a key file cannot be read.
    """
    from dataflows.replay.recorded_source import RecordedSource
    from deploy.supervisor.command_keys import signing_folder
    from sinks.signing_keys import configuration_signers

    return RecordedSource(configuration_signers(signing_folder(home)), trusts_all=trust_source)
