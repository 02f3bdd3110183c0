"""Private keys that sign commands and configurations: one file for each writer, in `secrets/signing/`.

| file | used by |
|---|---|
| `root.json` | `initialize` and `security keys`: signs the records of the other keys; not needed to trade |
| `api.json`, `command-line.json` | the API and the command line |
| `market_data.json` | the feed: heartbeats and the switch of a provider |
| `execution.json` | the gateway: a halt that was set while Kafka did not respond |
| `recorded.json` | the ids of the key records that Kafka acknowledged |

Only the owner may read them. `operators/command_signatures.py` and `configuration_chain.py` verify the
signatures.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import structlog

from operators.command_signatures import ANY, ROOT_WRITER, SIGNING_KINDS, decode_base64, key_id_of, signed_bytes
from operators.configuration_chain import signed_bytes as configuration_bytes
from schemas.errors import BadInput, Unavailable
from schemas.records import (
    HEARTBEAT,
    KILL_SWITCH,
    SIGNING_KEY,
    SIGNING_KEY_REVOKED,
    SIGNING_ROOT,
    Command,
    CommandKind,
    Configuration,
)

log = structlog.get_logger(__name__)

FOLDER: Final = "signing"
API: Final = "api"
COMMAND_LINE: Final = "command-line"
FEED: Final = "market_data"
GATEWAY: Final = "execution"
RECORDED_FILE: Final = "recorded.json"
PLATFORM_ACTOR: Final = "platform"
"""The actor of the key records."""
_FEED_KINDS: Final = frozenset({HEARTBEAT, "FEED_SWITCHED"})
_USER_KINDS: Final = tuple(sorted(set(get_args(CommandKind)) - _FEED_KINDS - SIGNING_KINDS))
CLOCK_TOLERANCE_NS: Final = 86_400_000_000_000
"""A new key is valid one day before its creation: the retry of an earlier submission, and a clock that was set back."""
_VERSION: Final = 1
_SEED_BYTES: Final = 32


class WriterRights(NamedTuple):
    """What a writer may sign. A writer whose commands carry event time has a key that is valid from any time."""

    kinds: tuple[str, ...]
    actors: tuple[str, ...]
    has_event_time: bool = False


WRITERS: Final[dict[str, WriterRights]] = {
    API: WriterRights(_USER_KINDS, (ANY,)),
    COMMAND_LINE: WriterRights(_USER_KINDS, (ANY,)),
    FEED: WriterRights(tuple(sorted(_FEED_KINDS)), (FEED,), has_event_time=True),
    GATEWAY: WriterRights((KILL_SWITCH,), (ANY,)),
}


class PrivateKey(NamedTuple):
    """A writer's private key. `valid_until_ns` is 0 if the key has no end date."""

    platform_id: str
    writer: str
    seed: bytes
    created_ns: int
    valid_until_ns: int = 0

    @property
    def public_key(self) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()

    @property
    def key_id(self) -> str:
        return key_id_of(self.public_key)

    def sign(self, command: Command) -> Command:
        """Return the command with this key's signature. The same command always gets the same signature."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        unsigned = command._replace(key_id=self.key_id, signature="")
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(signed_bytes(unsigned, self.platform_id))
        return unsigned._replace(signature=b64encode(signature).decode())

    def sign_configuration(self, configuration: Configuration) -> Configuration:
        """Return the configuration with this key's signature."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        unsigned = configuration._replace(key_id=self.key_id, signature="")
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(configuration_bytes(unsigned))
        return unsigned._replace(signature=b64encode(signature).decode())

    def __repr__(self) -> str:
        return f"PrivateKey({self.writer} of platform {self.platform_id})"


def new_key(platform_id: str, writer: str, created_ns: int, valid_until_ns: int = 0) -> PrivateKey:
    return PrivateKey(platform_id, writer, os.urandom(_SEED_BYTES), created_ns, valid_until_ns)


def key_file(folder: Path, writer: str) -> Path:
    return folder / f"{writer}.json"


def read_key(folder: Path, writer: str) -> PrivateKey | None:
    """Return the key of a writer; None without a file. Raises BadInput if it is unreadable or readable by others."""
    path = key_file(folder, writer)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(f"signing key {path}: {error.strerror}") from error
    if mode & 0o077:
        raise BadInput(
            f"signing key {path} is readable by others (mode {mode:o}): run `chmod 600` on it, then "
            f"`python cli.py security keys rotate {writer}`"
        )
    try:
        return decode_key(json.loads(text), writer)
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"signing key {path} is damaged: {error}") from error


def decode_key(tree: Any, writer: str) -> PrivateKey:
    """Return the key of a writer in the content of its file. Raises ValueError, KeyError and TypeError."""
    seed = decode_base64(tree["private_key"])
    if tree["version"] != _VERSION or tree["writer"] != writer or len(seed) != _SEED_BYTES:
        raise ValueError("unexpected version, writer or length")
    return PrivateKey(tree["platform_id"], writer, seed, int(tree["created_ns"]), int(tree["valid_until_ns"]))


def encode_key(key: PrivateKey) -> dict[str, Any]:
    """Return the content of a key file."""
    return {
        "version": _VERSION,
        "platform_id": key.platform_id,
        "writer": key.writer,
        "private_key": b64encode(key.seed).decode(),
        "created_ns": key.created_ns,
        "valid_until_ns": key.valid_until_ns,
    }


def write_key(folder: Path, key: PrivateKey) -> None:
    """Write or replace a key file. It is on the disk afterwards. Raises OSError."""
    write_private_file(key_file(folder, key.writer), json.dumps(encode_key(key)))


def write_private_file(path: Path, text: str) -> None:
    """Replace a file atomically; only its owner can read it. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


# -- key records -------------------------------------------------------------------------------------------------------


def root_record(root: PrivateKey) -> Command:
    """Return the record of the root key. The first one in a log is the cut-over. A repeat has the same id."""
    public_key = b64encode(root.public_key).decode()
    arguments = {"platform_id": root.platform_id, "public_key": public_key}
    return root.sign(_key_record(SIGNING_ROOT, f"signing-root-{root.key_id}", root.created_ns, arguments))


def key_record(root: PrivateKey, key: PrivateKey) -> Command:
    """Return the record of a writer's key, signed by the root key. A repeat with the same rights has the same id."""
    rights = WRITERS[key.writer]
    arguments = {
        "writer": key.writer,
        "public_key": b64encode(key.public_key).decode(),
        "kinds": ",".join(rights.kinds),
        "actors": ",".join(rights.actors),
        "valid_from_ns": str(0 if rights.has_event_time else max(0, key.created_ns - CLOCK_TOLERANCE_NS)),
        "valid_until_ns": str(key.valid_until_ns or ""),
    }
    arguments = {name: value for name, value in arguments.items() if value}
    version = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()[:8]
    return root.sign(_key_record(SIGNING_KEY, f"signing-key-{key.key_id}-{version}", key.created_ns, arguments))


def revocation_record(root: PrivateKey, key_id: str, ts_ns: int, reason: str) -> Command:
    """Return the record that ends a key, signed by the root key."""
    record = _key_record(SIGNING_KEY_REVOKED, f"signing-key-revoked-{key_id}", ts_ns, {"key_id": key_id})
    return root.sign(record._replace(reason=reason))


def _key_record(kind: CommandKind, command_id: str, ts_ns: int, arguments: dict[str, str]) -> Command:
    return Command(
        command_id=command_id,
        ts_ns=ts_ns,
        kind=kind,
        actor=PLATFORM_ACTOR,
        reason="signing keys",
        arguments=arguments,
    )


def read_recorded(folder: Path) -> list[str] | None:
    """Return the ids of the key records that Kafka acknowledged; None if the platform does not sign commands."""
    try:
        return [str(name) for name in json.loads((folder / RECORDED_FILE).read_text())]
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder / RECORDED_FILE} cannot be read: {error}") from error


# -- signing -----------------------------------------------------------------------------------------------------------


class CommandSigner:
    """Signs the commands of one writer. A rotated key file takes effect with the next command."""

    def __init__(self, folder: Path, writer: str) -> None:
        assert writer in WRITERS, f"unknown writer {writer}"
        self._folder, self._writer = folder, writer
        self._cached: tuple[tuple[int, int], PrivateKey] | None = None

    def sign(self, command: Command) -> Command:
        """Return the signed command; the same command on a platform that does not sign commands.

        Raises Unavailable if the key cannot be read. A halt is then returned unsigned: readers apply it nevertheless.
        """
        try:
            key = self._key()
        except BadInput as error:
            if command.kind == KILL_SWITCH:
                log.error("the halt is not signed", error=str(error))
                return command
            raise Unavailable(str(error)) from error
        return command if key is None else key.sign(command)

    def sign_if_possible(self, command: Command) -> Command:
        """Return the signed command, or the same command if the key cannot be read. For writers that must not stop."""
        try:
            return self.sign(command)
        except Unavailable as error:
            log.error("the command is not signed", kind=command.kind, error=str(error))
            return command

    def _key(self) -> PrivateKey | None:
        path = key_file(self._folder, self._writer)
        try:
            file_stat = path.stat()
        except FileNotFoundError:
            if read_recorded(self._folder) is None:
                return None
            raise BadInput(
                f"signing key {path} is missing, and commands need a signature: run "
                f"`python cli.py security keys rotate {self._writer}`"
            ) from None
        except OSError as error:
            raise BadInput(f"signing key {path}: {error.strerror}") from error
        version = (file_stat.st_mtime_ns, file_stat.st_ino)
        if self._cached is None or self._cached[0] != version:
            key = read_key(self._folder, self._writer)
            if key is None:
                raise BadInput(f"signing key {path} was removed")
            self._cached = (version, key)
        return self._cached[1]


# -- configurations ----------------------------------------------------------------------------------------------------

CONFIGURATION_SIGNERS: Final = (ROOT_WRITER, COMMAND_LINE, API)
"""The keys that may sign configurations."""


def configuration_signers(folder: Path) -> dict[str, str]:
    """Return the public keys in base64, by key id, that may sign the next configuration; none without keys.

    Raises BadInput if a key file cannot be read.
    """
    keys = [read_key(folder, writer) for writer in CONFIGURATION_SIGNERS]
    return {key.key_id: b64encode(key.public_key).decode() for key in keys if key is not None}


def sign_configuration(folder: Path, configuration: Configuration, signers: Mapping[str, str]) -> Configuration:
    """Return the configuration with a signature by one of `signers`, the keys of the last one.

    It is unsigned if there are no signers. Raises BadInput if this host has none of their keys.
    """
    if not signers:
        return configuration
    for writer in CONFIGURATION_SIGNERS:
        key = read_key(folder, writer)
        if key is not None and key.key_id in signers:
            return key.sign_configuration(configuration)
    raise BadInput(
        f"none of the keys in {folder} may sign the configuration; the last configuration allows only "
        f"{', '.join(signers)}: after `security keys rotate`, run `python cli.py restart`; restore lost keys from a "
        "backup"
    )
