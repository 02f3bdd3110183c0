"""The source code that a replay runs: that of this host, or that of the recorded configuration.

A file of this host that has changed since a span of the log decides differently. The recorded text runs instead if the
record is authentic, which means that a key of this host has signed it, or if the user trusts the recording
(`--trust-source`). Otherwise the replay is refused. Recorded text is written into a private temporary folder. Only
replays use this module: a live service loads the files of its host, and does not start if one differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import structlog

from configs.recorded_settings import host_hashes, text_hash, with_user_files
from configs.settings import Settings
from operators.configuration_chain import is_signed_by
from schemas.errors import BadInput
from schemas.records import Configuration

log = structlog.get_logger(__name__)


class RecordedSource:
    """Replaces the changed files of the settings by their recorded text. A context manager that removes its folder.

    `keys` are the public keys, in base64 by key id, whose signature makes a configuration authentic. The keys that an
    authentic configuration names are then trusted too. `trusts_all` is `--trust-source`.
    """

    def __init__(self, keys: Mapping[str, str] | None = None, *, trusts_all: bool = False) -> None:
        self._keys, self._trusts_all = dict(keys or {}), trusts_all
        self._folder: TemporaryDirectory[str] | None = None
        self._reported: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def settings_for(self, configuration: Configuration, settings: Settings) -> Settings:
        """Return settings that name the recorded text in place of each file that differs from the recorded hash.

        Raises BadInput if a file differs and its recorded text must not or cannot run.
        """
        is_trusted = self._is_authentic(configuration) or self._trusts_all
        found = host_hashes(configuration.source_sha256)
        changed = {path: sha256 for path, sha256 in configuration.source_sha256.items() if found[path] != sha256}
        for path, sha256 in changed.items():
            expected, host = f"sha256 {sha256[:12]} in {configuration.configuration_id}", found[path][:12] or "no file"
            if not is_trusted:
                raise BadInput(
                    f"file {path} has {expected}, found {host} on this host, and no key of this host has signed the "
                    "record: put the recorded file back, or run the recorded source code with --trust-source"
                )
            if text_hash(configuration.sources.get(path, "")) != sha256:
                raise BadInput(f"file {path} has {expected}, found {host} on this host, and the record lacks its text")
            if (path, sha256) not in self._reported:
                self._reported.add((path, sha256))
                log.warning("the replay runs recorded source code", file=path, sha256=sha256[:12], host_file=host)
        copies = {path: self._write(path, configuration.sources[path]) for path in changed}
        return with_user_files(settings, copies)

    def _is_authentic(self, configuration: Configuration) -> bool:
        if not is_signed_by(configuration, self._keys):
            return False
        self._keys |= configuration.signers
        return True

    def _write(self, path: str, text: str) -> str:
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="recorded-source-")  # readable by this user only
        place = hashlib.sha256(f"{path}\n{text}".encode()).hexdigest()[:16]
        copy = Path(self._folder.name) / place / Path(path).name
        if not copy.exists():
            copy.parent.mkdir(mode=0o700)
            copy.write_text(text, encoding="utf-8")
        return str(copy)
