"""Deterministic keys and signed commands of a platform, for tests."""

from __future__ import annotations

import hashlib

from operators.command_signatures import ROOT_WRITER
from schemas.records import Command
from sinks.signing_keys import WRITERS, PrivateKey, key_record, revocation_record, root_record

PLATFORM = "platform-1"


class SigningAuthority:
    """The keys of one platform. `records` are its key records, as they stand first in the log `commands`."""

    def __init__(self, platform_id: str = PLATFORM, seed: str = "") -> None:
        self.platform_id, self._seed = platform_id, seed
        self.root = self.new_key(ROOT_WRITER)
        self.keys = {writer: self.new_key(writer) for writer in WRITERS}

    def new_key(self, writer: str, name: str = "", *, created_ns: int = 0, valid_until_ns: int = 0) -> PrivateKey:
        seed = hashlib.sha256(f"{self.platform_id} {self._seed} {writer} {name}".encode()).digest()
        return PrivateKey(self.platform_id, writer, seed, created_ns, valid_until_ns)

    @property
    def records(self) -> list[Command]:
        return [root_record(self.root), *(key_record(self.root, key) for key in self.keys.values())]

    def sign(self, command: Command, writer: str = "api") -> Command:
        return self.keys[writer].sign(command)

    def revocation(self, key: PrivateKey, ts_ns: int = 1) -> Command:
        return revocation_record(self.root, key.key_id, ts_ns, "test")
