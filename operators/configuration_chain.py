"""Verify the records of the log `configuration`, as a pure function of this log: their numbers and signatures.

Each configuration names the public keys that may sign the next one (`signers`). No signature is needed up to the first
configuration with keys. A record whose number the log has already reached is discarded: it is a duplicate, or a
concurrent change was written first. Every reader and every replay has the same result for the same message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from operators.command_signatures import REASON_PREFIX, decode_base64, is_signature
from schemas.records import Configuration

_DOMAIN: Final = "institutional-trading-platform configuration 1"
_NO_SIGNERS: Final[Mapping[str, str]] = MappingProxyType({})


class ConfigurationVerdict(NamedTuple):
    """The result for one record. `signatures` is the state for the next one; `reason` is set for a rejected record."""

    signatures: ConfigurationChain
    is_accepted: bool
    reason: str = ""


class ConfigurationChain(NamedTuple):
    """The number of the last accepted configuration, and the keys that may sign the next one. Immutable.

    >>> ConfigurationChain(3).check(Configuration("config-3", 0, 3, "", "", "", "", "", {}, {}, {})).is_accepted
    False
    """

    number: int = 0
    signers: Mapping[str, str] = _NO_SIGNERS

    @property
    def required(self) -> bool:
        """Whether a snapshot must hold this state."""
        return self.number > 0

    def check(self, configuration: Configuration) -> ConfigurationVerdict:
        """Return whether the configuration takes effect, and the state for the next one."""
        if configuration.number <= self.number:
            return ConfigurationVerdict(self, False)
        problem = self._signature_problem(configuration)
        if problem:
            name, actor = (ascii(text)[1:-1][:80] for text in (configuration.configuration_id, configuration.actor))
            return ConfigurationVerdict(self, False, f"{REASON_PREFIX}{name} of actor {actor or '(none)'}: {problem}")
        return ConfigurationVerdict(ConfigurationChain(configuration.number, dict(configuration.signers)), True)

    def _signature_problem(self, configuration: Configuration) -> str:
        if not self.signers:
            return ""
        if not configuration.signature:
            return "no signature"
        public_key = self.signers.get(configuration.key_id)
        if public_key is None:
            return f"key {ascii(configuration.key_id)[1:-1][:32]} may not sign configurations"
        if not is_signature(configuration.signature, signed_bytes(configuration), decode_base64(public_key)):
            return f"the signature is not that of key {configuration.key_id}"
        return ""

    def snapshot(self) -> Any:
        """Return (number, signers)."""
        return self.number, dict(self.signers)

    @staticmethod
    def restored(snapshot: Any) -> ConfigurationChain:
        """Return the state of a snapshot."""
        number, signers = snapshot
        return ConfigurationChain(number, dict(signers))


def signed_bytes(configuration: Configuration) -> bytes:
    """Return the bytes that a signature covers: every field except the signature, as canonical JSON."""
    fields = configuration._replace(signature="")
    return json.dumps([_DOMAIN, *fields], sort_keys=True, separators=(",", ":")).encode()
