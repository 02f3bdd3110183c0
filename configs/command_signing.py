"""Find the private key of a writer of commands in the state folder."""

from __future__ import annotations

import os
from collections.abc import Mapping

from configs.secrets import secrets_folder
from sinks.signing_keys import FOLDER, CommandSigner


def command_signer(writer: str, environment: Mapping[str, str] | None = None) -> CommandSigner:
    """Return the signer of a writer (`sinks/signing_keys.py`) of the platform in PLATFORM_HOME."""
    return CommandSigner(secrets_folder(os.environ if environment is None else environment) / FOLDER, writer)
