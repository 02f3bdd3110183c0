"""Read secrets from the environment, from files in /run/secrets, or from the encrypted file of the state folder.

The sources are listed in order of precedence. The encrypted file is `secrets/secrets.age` in the age format. Its key is
PLATFORM_SECRETS_KEY or the content of `secrets/secrets.key`, which only its owner may read.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from configs.yaml_text import parse_yaml
from schemas.errors import BadInput

if TYPE_CHECKING:
    from pyrage.x25519 import Identity

KEY_VARIABLE = "PLATFORM_SECRETS_KEY"
RUN_SECRETS = Path("/run/secrets")
VERSION = 1
_FOLDER = Path(__file__).parent


class SecretSpec(NamedTuple):
    """A secret that the platform uses. `generated`: the platform can generate it as random text."""

    name: str
    purpose: str
    required_when: str
    generated: bool


class StoredSecret(NamedTuple):
    """One secret in the encrypted file. `previous` is the value before a rotation that is not confirmed yet."""

    value: str
    previous: str | None
    set_at: str
    set_by: str


@cache
def declared_secrets() -> dict[str, SecretSpec]:
    """Return the secrets of `secrets.yaml`, by name."""
    tree = parse_yaml((_FOLDER / "secrets.yaml").read_text())
    return {
        name: SecretSpec(name, entry["for"], entry["required_when"], bool(entry.get("generated")))
        for name, entry in tree.items()
    }


def secrets_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of the encrypted file, in PLATFORM_HOME or in `var/` of the repository."""
    return Path(environment.get("PLATFORM_HOME") or _FOLDER.parent / "var").resolve() / "secrets"


def resolve_secrets(
    environment: Mapping[str, str], folder: Path, run_secrets: Path = RUN_SECRETS
) -> dict[str, tuple[str, str]]:
    """Return name -> (value, source) of each known secret that is set.

    Raises BadInput if the encrypted file exists but cannot be opened.
    """
    resolved = {
        name: (stored.value, "encrypted file") for name, stored in SecretFile(folder, environment).read().items()
    }
    for name in declared_secrets():
        path = run_secrets / name
        if path.is_file():
            resolved[name] = (_read_text(path), str(path))
        if environment.get(name):
            resolved[name] = (environment[name], "environment")
    return resolved


def secret(name: str, environment: Mapping[str, str] | None = None) -> str | None:
    """Return the value of one known secret, or None if it is not set. For secrets without a setting."""
    assert name in declared_secrets(), f"{name} is not in secrets.yaml"
    environment = os.environ if environment is None else environment
    value, _ = resolve_secrets(environment, secrets_folder(environment)).get(name, (None, ""))
    return value


def _read_text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise BadInput(f"secret {path}: {error.strerror}") from error


class SecretFile:
    """The encrypted file. A missing file has no secrets; the first write creates the file and its key."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment_key = folder, environment.get(KEY_VARIABLE)
        self.path, self.key_path = folder / "secrets.age", folder / "secrets.key"
        self.audit_path = folder / "secrets-audit.log"

    def read(self) -> dict[str, StoredSecret]:
        """Return all secrets by name. Raises BadInput if the key is missing, readable by others or wrong."""
        if not self.path.exists():
            return {}
        import pyrage

        identity = self._identity()
        if identity is None:
            raise BadInput(f"{self.path} cannot be opened: {self.key_path} is missing and {KEY_VARIABLE} is not set")
        try:
            tree = json.loads(pyrage.decrypt(self.path.read_bytes(), [identity]))
        except (pyrage.DecryptError, ValueError) as error:
            raise BadInput(f"{self.path} cannot be opened: the key is wrong or the file is damaged") from error
        except OSError as error:
            raise BadInput(f"{self.path} cannot be read: {error.strerror}") from error
        if tree.get("version") != VERSION:
            raise BadInput(f"{self.path}: expected version {VERSION}, found {tree.get('version')!r}")
        return {name: StoredSecret(**fields) for name, fields in tree["secrets"].items()}

    def set(self, name: str, value: str, *, by: str) -> None:
        """Set a value and remove the previous value of an unconfirmed rotation."""
        with self._edit() as secrets:
            secrets[name] = StoredSecret(value, None, _now(), by)
        self.append_audit("set", name, by=by)

    def rotate(self, name: str, value: str, *, by: str) -> None:
        """Set a new value and store the previous one until the rotation is confirmed.

        Raises BadInput if the secret is not set or its last rotation is not confirmed.
        """
        with self._edit() as secrets:
            stored = _stored(secrets, name)
            if stored.previous is not None:
                raise BadInput(
                    f"the last rotation of {name} is pending: run `secrets rotate {name} --confirm` or `--back` first"
                )
            secrets[name] = StoredSecret(value, stored.value, _now(), by)
        self.append_audit("rotate", name, by=by)

    def confirm(self, name: str, *, by: str) -> None:
        """Confirm a rotation: remove the previous value."""
        with self._edit() as secrets:
            secrets[name] = _unconfirmed(secrets, name)._replace(previous=None)
        self.append_audit("confirm", name, by=by)

    def roll_back(self, name: str, *, by: str) -> None:
        """Roll back a rotation: restore the previous value."""
        with self._edit() as secrets:
            stored = _unconfirmed(secrets, name)
            assert stored.previous is not None, "a rotated secret has a previous value"
            secrets[name] = StoredSecret(stored.previous, None, _now(), by)
        self.append_audit("back", name, by=by)

    def delete(self, name: str, *, by: str) -> None:
        with self._edit() as secrets:
            _stored(secrets, name)
            del secrets[name]
        self.append_audit("delete", name, by=by)

    def replace_key(self, *, by: str) -> None:
        """Encrypt all secrets with a new key, which replaces the old one. After a crash, the stored key still opens
        the file.

        Raises BadInput if the key comes from the environment.
        """
        from pyrage import x25519

        if self._environment_key:
            raise BadInput(f"the key comes from {KEY_VARIABLE}: unset it so that the platform generates one")
        with self._exclusive():
            secrets = self.read()
            old, new = self._identity(), x25519.Identity.generate()
            self._write(secrets, *([old] if old else []), new)
            _write(self.key_path, f"{new}\n".encode())
            self._write(secrets, new)
        self.append_audit("new-key", "*", by=by)

    def append_audit(self, action: str, name: str, *, by: str) -> None:
        """Append time, user, action and name of the secret to the audit log, never a value."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        line = json.dumps({"at": _now(), "who": by, "action": action, "name": name}) + "\n"
        with os.fdopen(os.open(self.audit_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as file:
            file.write(line)

    def audit_entries(self) -> list[dict[str, str]]:
        if not self.audit_path.exists():
            return []
        return [json.loads(line) for line in self.audit_path.read_text().splitlines()]

    @contextmanager
    def _edit(self) -> Iterator[dict[str, StoredSecret]]:
        """Yield all secrets and write them at the end of the block. Only one process at a time changes the file."""
        from pyrage import x25519

        with self._exclusive():
            secrets = self.read()
            yield secrets
            identity = self._identity()
            if identity is None:
                identity = x25519.Identity.generate()
                _write(self.key_path, f"{identity}\n".encode())
            self._write(secrets, identity)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(self._folder / "secrets.lock", "w", opener=_open_private) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise BadInput(f"secrets in {self._folder} cannot be changed: {error.strerror}") from error

    def _write(self, secrets: Mapping[str, StoredSecret], *identities: Identity) -> None:
        import pyrage

        tree: dict[str, Any] = {
            "version": VERSION,
            "secrets": {name: stored._asdict() for name, stored in secrets.items()},
        }
        _write(self.path, pyrage.encrypt(json.dumps(tree).encode(), [identity.to_public() for identity in identities]))

    def _identity(self) -> Identity | None:
        from pyrage import IdentityError, x25519

        if self._environment_key:
            text, where = self._environment_key, KEY_VARIABLE
        elif self.key_path.exists():
            if stat.S_IMODE(self.key_path.stat().st_mode) & 0o077:
                raise BadInput(f"{self.key_path} is readable by others: run `chmod 600` on it, then `secrets new-key`")
            text, where = _read_text(self.key_path), str(self.key_path)
        else:
            return None
        try:
            return x25519.Identity.from_str(text.strip())
        except IdentityError as error:
            raise BadInput(f"{where}: expected an age key (AGE-SECRET-KEY-1…)") from error


def _stored(secrets: Mapping[str, StoredSecret], name: str) -> StoredSecret:
    if name not in secrets:
        raise BadInput(f"{name} is not in the encrypted file")
    return secrets[name]


def _unconfirmed(secrets: Mapping[str, StoredSecret], name: str) -> StoredSecret:
    stored = _stored(secrets, name)
    if stored.previous is None:
        raise BadInput(f"{name} has no pending rotation")
    return stored


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _write(path: Path, content: bytes) -> None:
    """Write the whole file or nothing, readable only by its owner."""
    temporary = path.with_name(f"{path.name}.part")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
