"""Verify the records of the log `configuration`, as a pure function of this log: numbers, signatures and two persons.

Each configuration names the public keys that may sign the next one (`signers`). No signature is needed up to the first
configuration with keys. A record whose number the log has already reached is discarded: it is a duplicate, or a
concurrent change was written first. If the last configuration has `risk_manager.approvals`, a record that changes the
overrides must name two persons. Every reader and every replay has the same result for the same message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from operators.approvals import person_of
from operators.command_signatures import REASON_PREFIX, decode_base64, is_signature
from schemas.records import Configuration

_DOMAIN: Final = "institutional-trading-platform configuration 1"
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_FIELDS_OF_FIRST_SCHEMA: Final = Configuration._fields.index("signature") + 1


class ConfigurationVerdict(NamedTuple):
    """The result for one record. `signatures` is the state for the next one; `reason` is set for a rejected record."""

    signatures: ConfigurationChain
    is_accepted: bool
    reason: str = ""


class ConfigurationChain(NamedTuple):
    """What the last accepted configuration demands of the next one. Immutable.

    `number` is its number, and `signers` are the keys that may sign the next one. `approvals` is its
    `risk_manager.approvals`. Snapshots of earlier releases have neither `approvals` nor `overrides`; both are empty
    then until the next record.

    >>> ConfigurationChain(3).check(Configuration("config-3", 0, 3, "", "", "", "", "", {}, {}, {})).is_accepted
    False
    """

    number: int = 0
    signers: Mapping[str, str] = _NONE
    approvals: tuple[str, ...] = ()
    overrides: Mapping[str, str] = _NONE

    @staticmethod
    def after(configuration: Configuration | None) -> ConfigurationChain:
        """Return the state after an accepted configuration, and the first state without one."""
        if configuration is None:
            return ConfigurationChain()
        return ConfigurationChain(
            number=configuration.number,
            signers=dict(configuration.signers),
            approvals=approvals_of(configuration),
            overrides=dict(configuration.overrides),
        )

    @property
    def required(self) -> bool:
        """Whether a snapshot must hold this state."""
        return self.number > 0

    def check(self, configuration: Configuration) -> ConfigurationVerdict:
        """Return whether the configuration takes effect, and the state for the next one."""
        if configuration.number <= self.number:
            return ConfigurationVerdict(self, False)
        problem = self._signature_problem(configuration) or self._approval_problem(configuration)
        if problem:
            name, actor = (ascii(text)[1:-1][:80] for text in (configuration.configuration_id, configuration.actor))
            return ConfigurationVerdict(self, False, f"{REASON_PREFIX}{name} of actor {actor or '(none)'}: {problem}")
        return ConfigurationVerdict(ConfigurationChain.after(configuration), True)

    def _approval_problem(self, configuration: Configuration) -> str:
        if not self.approvals or names_two_persons(configuration):
            return ""
        # A start is the act of one person. It changes no override, and drops only those that it names.
        retained = {name: value for name, value in self.overrides.items() if name not in configuration.dropped}
        if dict(configuration.overrides) == retained:
            return ""
        return "a change at run time must name two persons (risk_manager.approvals)"

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
        """Return (number, signers, approvals, overrides)."""
        return self.number, dict(self.signers), self.approvals, dict(self.overrides)

    @staticmethod
    def restored(snapshot: Any) -> ConfigurationChain:
        """Return the state of a snapshot, also of one with only the number and the signers."""
        number, signers, *rest = snapshot
        approvals, overrides = rest or ((), {})
        return ConfigurationChain(number, dict(signers), tuple(approvals), dict(overrides))


def approvals_of(configuration: Configuration) -> tuple[str, ...]:
    """Return `risk_manager.approvals` of a configuration; none if its settings are not readable.

    >>> settings = '{"risk_manager": {"approvals": ["releases"]}}'
    >>> approvals_of(Configuration("config-1", 0, 1, "", "", "", settings, "", {}, {}, {}))
    ('releases',)
    """
    try:
        approvals = json.loads(configuration.settings)["risk_manager"]["approvals"]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(map(str, approvals)) if isinstance(approvals, list) else ()


def names_two_persons(configuration: Configuration) -> bool:
    """Whether one person requested a configuration and another one approved it."""
    return person_of(configuration.requested_by) not in ("", person_of(configuration.actor))


def is_signed_by(configuration: Configuration, keys: Mapping[str, str]) -> bool:
    """Whether one of these public keys, in base64 by key id, has signed the configuration."""
    public_key = keys.get(configuration.key_id)
    if public_key is None or not configuration.signature:
        return False
    return is_signature(configuration.signature, signed_bytes(configuration), decode_base64(public_key))


def signed_bytes(configuration: Configuration) -> bytes:
    """Return the bytes that a signature covers: every field except the signature, as canonical JSON.

    The fields that were added later are left out while all of them are empty, so that records from before are valid.
    """
    fields = tuple(configuration._replace(signature=""))
    if not any(fields[_FIELDS_OF_FIRST_SCHEMA:]):
        fields = fields[:_FIELDS_OF_FIRST_SCHEMA]
    return json.dumps([_DOMAIN, *fields], sort_keys=True, separators=(",", ":")).encode()
