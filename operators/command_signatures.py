"""Verify the Ed25519 signatures of commands (RFC 8032), as a pure function of the log `commands`.

The log itself records the keys, so that every reader and every replay comes to the same verdict at the same message:

| command | signed by | effect |
|---|---|---|
| `SIGNING_ROOT` | the root key that it names | the first one is the cut-over: later commands need a signature |
| `SIGNING_ROOT`, later | the current root key | replaces the root key |
| `SIGNING_KEY` | the root key | records the public key of a writer, with its validity and the kinds that it may sign |
| `SIGNING_KEY_REVOKED` | the root key | ends a key |

A signature covers the id of the platform, so that a command of another platform is invalid here, and the command's id,
so that a repeated copy is recognized. A halt (`KILL_SWITCH`) without a valid signature is applied and reported: halting
is the safe direction (`docs/decisions/`). Before the cut-over, every command is accepted as in earlier releases.
"""

from __future__ import annotations

import binascii
import hashlib
import json
from base64 import b64decode
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from schemas.records import HEARTBEAT, KILL_SWITCH, SIGNING_KEY, SIGNING_KEY_REVOKED, SIGNING_ROOT, Command

ROOT_WRITER: Final = "root"
SIGNING_KINDS: Final = frozenset({SIGNING_ROOT, SIGNING_KEY, SIGNING_KEY_REVOKED})
REASON_PREFIX: Final = "signature: "
"""The reason of a dead letter that rejects a command starts with this text."""
RECENT_MAX: Final = 512
"""Number of recent commands of each key whose ids are retained. Older commands than these are rejected."""
ANY: Final = "*"
_DOMAIN: Final = "institutional-trading-platform command 1"


class SigningKey(NamedTuple):
    """A public key as the log records it.

    `kinds` are the kinds of commands that it may sign, `actors` the actors in whose name; `("*",)` is any actor. The
    command's `ts_ns` must be in [`valid_from_ns`, `valid_until_ns`); 0 means no end.
    """

    key_id: str
    writer: str
    public_key: bytes
    kinds: tuple[str, ...]
    actors: tuple[str, ...]
    valid_from_ns: int
    valid_until_ns: int
    is_revoked: bool = False


class _RecentCommands(NamedTuple):
    """Digests of the last commands of a key, oldest first, with their `ts_ns`; older ones are at most `floor_ns`."""

    ts_ns_by_digest: Mapping[bytes, int]
    floor_ns: int


class CommandVerdict(NamedTuple):
    """The result for one command. `signatures` is the state for the next one.

    `reason` is empty for a valid command and for a repeated copy, which is not accepted. It is set for a rejected
    command, and for an accepted halt without a valid signature.
    """

    signatures: CommandSignatures
    is_accepted: bool
    reason: str = ""


_NO_KEYS: Final[Mapping[str, SigningKey]] = MappingProxyType({})
_NOTHING_RECENT: Final[Mapping[str, _RecentCommands]] = MappingProxyType({})
_NO_RECENT = _RecentCommands({}, -1)


class CommandSignatures(NamedTuple):
    """The keys that a log has recorded so far, and the recent commands. Immutable; `check` returns the next state.

    >>> CommandSignatures().check(Command("cmd-1", 0, "RELEASE", "ann", "", {})).is_accepted
    True
    """

    platform_id: str = ""
    root_id: str = ""
    keys: Mapping[str, SigningKey] = _NO_KEYS
    recent: Mapping[str, _RecentCommands] = _NOTHING_RECENT

    @property
    def required(self) -> bool:
        """Whether the log has passed the cut-over, so that commands need a signature."""
        return bool(self.root_id)

    def check(self, command: Command) -> CommandVerdict:
        """Return whether the command takes effect, and the state for the next command."""
        if not self.required:
            return self._check_first_root(command) if command.kind == SIGNING_ROOT else CommandVerdict(self, True)
        problem = self._signature_problem(command)
        if problem:
            return self._unverified(command, problem)
        if command.kind == HEARTBEAT:
            return CommandVerdict(self, True)  # repeated heartbeats have no effect
        digest, recent = _digest(command.command_id), self.recent.get(command.key_id, _NO_RECENT)
        if any(digest in one.ts_ns_by_digest for one in self.recent.values()):
            return CommandVerdict(self, False)
        if command.ts_ns <= recent.floor_ns:
            return self._unverified(command, f"the last {RECENT_MAX} commands of key {command.key_id} are newer")
        state = self
        if command.kind in SIGNING_KINDS:
            applied = self._apply_key_record(command)
            if isinstance(applied, str):
                return CommandVerdict(self, False, f"{REASON_PREFIX}{_described(command)}: {applied}")
            state = applied
        return CommandVerdict(state._remembering(command, digest), True)

    def _unverified(self, command: Command, problem: str) -> CommandVerdict:
        reason = f"{REASON_PREFIX}{_described(command)}: {problem}"
        if command.kind == KILL_SWITCH:
            return CommandVerdict(self, True, f"{reason}; applied, because a halt is the safe direction")
        return CommandVerdict(self, False, reason)

    def _signature_problem(self, command: Command) -> str:
        """Return why the signature does not authorize the command, or "" if it does."""
        if not command.signature:
            return "no signature"
        key = self.keys.get(command.key_id)
        if key is None:
            return f"unknown key {ascii(command.key_id)[1:-1][:32]}"
        if key.is_revoked:
            return f"key {key.key_id} of {key.writer} is revoked"
        if command.kind in SIGNING_KINDS and key.key_id != self.root_id:
            return f"key {key.key_id} of {key.writer} is not the root key"
        if command.kind not in key.kinds:
            return f"key {key.key_id} of {key.writer} may not sign this kind"
        if ANY not in key.actors and command.actor not in key.actors:
            return f"key {key.key_id} of {key.writer} may not sign for this actor"
        if command.ts_ns < key.valid_from_ns:
            return f"key {key.key_id} of {key.writer} is valid from {key.valid_from_ns}"
        if key.valid_until_ns and command.ts_ns >= key.valid_until_ns:
            return f"key {key.key_id} of {key.writer} was valid until {key.valid_until_ns}"
        if not is_signed_by(command, self.platform_id, key.public_key):
            return f"the signature is not that of key {key.key_id} of {key.writer} on platform {self.platform_id}"
        return ""

    def _check_first_root(self, command: Command) -> CommandVerdict:
        """Take the first root key, which must have signed its own record."""
        state = self._apply_key_record(command)
        if isinstance(state, str):
            return CommandVerdict(self, False, f"{REASON_PREFIX}{_described(command)}: {state}")
        root = state.keys[state.root_id]
        if command.key_id != root.key_id or not is_signed_by(command, state.platform_id, root.public_key):
            problem = "the first root record must be signed by its own key"
            return CommandVerdict(self, False, f"{REASON_PREFIX}{_described(command)}: {problem}")
        return CommandVerdict(state._remembering(command, _digest(command.command_id)), True)

    def _apply_key_record(self, command: Command) -> CommandSignatures | str:
        """Return the state after a key record whose signature is valid, or why its arguments are invalid."""
        arguments = command.arguments
        if command.kind == SIGNING_KEY_REVOKED:
            key = self.keys.get(arguments.get("key_id", ""))
            if key is None or key.key_id == self.root_id:
                return "argument key_id must be a recorded key other than the root key"
            return self._with_key(key._replace(is_revoked=True))._without_recent(key.key_id)
        public_key = decode_base64(arguments.get("public_key", ""))
        if len(public_key) != 32:
            return "argument public_key must be 32 bytes in base64"
        if command.kind == SIGNING_ROOT:
            return self._with_root(arguments.get("platform_id", ""), public_key)
        new_key = _parse_key(arguments, public_key)
        if isinstance(new_key, str):
            return new_key
        known = self.keys.get(new_key.key_id)
        if new_key.key_id == self.root_id or (known is not None and known.is_revoked):
            return f"key {new_key.key_id} is the root key or revoked"
        return self._with_key(new_key)

    def _with_root(self, platform_id: str, public_key: bytes) -> CommandSignatures | str:
        if not platform_id or platform_id != (self.platform_id or platform_id):
            return "argument platform_id must be the id of this platform"
        root = SigningKey(
            key_id=key_id_of(public_key),
            writer=ROOT_WRITER,
            public_key=public_key,
            kinds=tuple(sorted(SIGNING_KINDS)),
            actors=(ANY,),
            valid_from_ns=0,
            valid_until_ns=0,
        )
        known = self.keys.get(root.key_id)
        if known is not None and (known.is_revoked or known.writer != ROOT_WRITER):
            return f"key {root.key_id} is revoked or the key of {known.writer}"
        keys = dict(self.keys)
        if self.root_id and self.root_id != root.key_id:
            keys[self.root_id] = keys[self.root_id]._replace(is_revoked=True)
        keys[root.key_id] = root
        return self._replace(platform_id=platform_id, root_id=root.key_id, keys=keys)

    def _with_key(self, key: SigningKey) -> CommandSignatures:
        return self._replace(keys={**self.keys, key.key_id: key})

    def _without_recent(self, key_id: str) -> CommandSignatures:
        return self._replace(recent={name: recent for name, recent in self.recent.items() if name != key_id})

    def _remembering(self, command: Command, digest: bytes) -> CommandSignatures:
        recent = self.recent.get(command.key_id, _NO_RECENT)
        by_digest, floor_ns = {**recent.ts_ns_by_digest, digest: command.ts_ns}, recent.floor_ns
        if len(by_digest) > RECENT_MAX:
            floor_ns = max(floor_ns, by_digest.pop(next(iter(by_digest))))
        return self._replace(recent={**self.recent, command.key_id: _RecentCommands(by_digest, floor_ns)})

    def snapshot(self) -> Any:
        """Return (platform id, root key id, keys as tuples, [(key id, {digest: ts_ns}, floor)])."""
        recent = [(key_id, dict(one.ts_ns_by_digest), one.floor_ns) for key_id, one in self.recent.items()]
        return self.platform_id, self.root_id, [tuple(key) for key in self.keys.values()], recent

    @staticmethod
    def restored(snapshot: Any) -> CommandSignatures:
        """Return the state of a snapshot."""
        platform_id, root_id, keys, recent = snapshot
        return CommandSignatures(
            platform_id=platform_id,
            root_id=root_id,
            keys={key[0]: SigningKey(*key) for key in keys},
            recent={key_id: _RecentCommands(dict(by_digest), floor_ns) for key_id, by_digest, floor_ns in recent},
        )


def signed_bytes(command: Command, platform_id: str) -> bytes:
    """Return the bytes that a signature covers: every field of the command except the signature, and the platform.

    JSON of a list of texts, a number and pairs is unambiguous, and the pairs are sorted, so that it is canonical.
    """
    arguments = sorted(command.arguments.items())
    fields = (command.command_id, command.ts_ns, command.kind, command.actor, command.reason, arguments, command.key_id)
    return json.dumps([_DOMAIN, platform_id, *fields], separators=(",", ":")).encode()


def key_id_of(public_key: bytes) -> str:
    """Return the id of a key: the first 16 hexadecimal digits of SHA-256 over the public key."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def is_signed_by(command: Command, platform_id: str, public_key: bytes) -> bool:
    """Whether the command carries a valid signature of this key for this platform."""
    return is_signature(command.signature, signed_bytes(command, platform_id), public_key)


def is_signature(signature: str, signed: bytes, public_key: bytes) -> bool:
    """Whether a signature in base64 is that of this key over these bytes."""
    # Imported here, because only readers of signed commands need it: the import takes 40 ms.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(decode_base64(signature), signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def decode_base64(text: str) -> bytes:
    """Return the bytes in base64 text, or no bytes if it is invalid."""
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _parse_key(arguments: Mapping[str, str], public_key: bytes) -> SigningKey | str:
    writer = arguments.get("writer", "")
    kinds, actors = (tuple(filter(None, arguments.get(name, "").split(","))) for name in ("kinds", "actors"))
    valid_from, valid_until = (arguments.get(name, "0") for name in ("valid_from_ns", "valid_until_ns"))
    if not writer or writer == ROOT_WRITER or not kinds or not actors:
        return "arguments writer, kinds and actors must be set"
    if not all(text.isascii() and text.isdigit() and len(text) < 20 for text in (valid_from, valid_until)):
        return "arguments valid_from_ns and valid_until_ns must be nanoseconds"
    if SIGNING_KINDS & set(kinds):
        return "only the root key may sign key records"
    return SigningKey(
        key_id=key_id_of(public_key),
        writer=writer,
        public_key=public_key,
        kinds=kinds,
        actors=actors,
        valid_from_ns=int(valid_from),
        valid_until_ns=int(valid_until),
    )


def _described(command: Command) -> str:
    kind, command_id, actor = (ascii(text)[1:-1][:80] for text in (command.kind, command.command_id, command.actor))
    return f"{kind} {command_id} of actor {actor or '(none)'}"


def _digest(command_id: str) -> bytes:
    return hashlib.sha256(command_id.encode()).digest()[:8]
