"""`initialize` creates and records the signing keys; a crash at any record, a rotation or a restore loses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from configs.settings import load_settings
from deploy.backup.signing_root import open_root, replace_keys, sealed_root
from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor import command_keys
from deploy.supervisor.command_keys import RecordedKeys, record_command_keys, rotate_key, signing_folder
from operators.command_signatures import ROOT_WRITER, CommandSignatures
from schemas.errors import BadInput, Unavailable
from schemas.records import RELEASE, SIGNING_ROOT, Command
from sinks.signing_keys import API, COMMAND_LINE, RECORDED_FILE, WRITERS, CommandSigner, key_file, new_key, read_key
from tests.builders import command

SETTINGS = load_settings(environment={})


class TopicStub:
    """The topic `commands`: accepts `left` more records, then no response. It verifies as every reader does."""

    def __init__(self) -> None:
        self.accepted: list[Command] = []
        self.rejected: list[Command] = []
        self.signatures = CommandSignatures()
        self.left = 1000

    def send(self, record: Command) -> None:
        if not self.left:
            raise Unavailable("no response")
        self.left -= 1
        verdict = self.signatures.check(record)
        self.signatures = verdict.signatures
        if verdict.is_accepted:
            self.accepted.append(record)
        elif verdict.reason:
            self.rejected.append(record)

    def recorded_keys(self, _: str) -> RecordedKeys:
        roots = [r.arguments["public_key"] for r in self.accepted if r.kind == SIGNING_ROOT]
        keys = self.signatures.keys.values()
        return RecordedKeys(roots, {k.key_id for k in keys if not k.is_revoked and k.writer != ROOT_WRITER})

    def current(self) -> dict[str, str]:
        """Return the valid key id of each writer, which must be one."""
        found = [(key.writer, key.key_id) for key in self.signatures.keys.values() if not key.is_revoked]
        assert len(dict(found)) == len(found), found
        return dict(found)


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> TopicStub:
    stub = TopicStub()
    monkeypatch.setattr("sinks.commands.CommandLog", lambda *_, **__: stub)
    monkeypatch.setattr(command_keys, "recorded_keys", stub.recorded_keys)
    return stub


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def key_ids(home: Home, writers: Sequence[str] = (ROOT_WRITER, *WRITERS)) -> dict[str, str]:
    keys = {writer: read_key(signing_folder(home), writer) for writer in writers}
    return {writer: key.key_id for writer, key in keys.items() if key is not None}


def assert_signs(home: Home, topic: TopicStub, name: str) -> None:
    for writer in (API, COMMAND_LINE):
        signed = CommandSigner(signing_folder(home), writer).sign(command(f"{name}-{writer}", 2**62, RELEASE))
        topic.send(signed)
        assert topic.accepted[-1] == signed


def test_the_first_start_records_a_key_for_every_writer(home: Home, topic: TopicStub) -> None:
    assert len(record_command_keys(home, SETTINGS, "p")) == 1 + len(WRITERS)
    assert topic.current() == key_ids(home)
    assert {path.stat().st_mode & 0o077 for path in signing_folder(home).iterdir()} == {0}
    assert record_command_keys(home, SETTINGS, "p") == [], "a further start changes nothing"
    assert_signs(home, topic, "first")


@pytest.mark.parametrize("records", range(1 + len(WRITERS)))
def test_a_crash_over_the_cut_over_is_completed_by_the_next_start(
    home: Home, topic: TopicStub, records: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.left = records
    with pytest.raises(DeployError, match="no response"):
        record_command_keys(home, SETTINGS, "p")
    topic.left = 1000
    # The acknowledgement of the last record may be lost too.
    (signing_folder(home) / RECORDED_FILE).unlink(missing_ok=True)
    record_command_keys(home, SETTINGS, "p")
    assert topic.current() == key_ids(home)
    assert not topic.rejected
    assert_signs(home, topic, "after")


@pytest.mark.parametrize("writer", [API, ROOT_WRITER])
def test_a_rotated_key_replaces_the_old_one(home: Home, topic: TopicStub, writer: str) -> None:
    record_command_keys(home, SETTINGS, "p")
    before = key_ids(home)
    new_id, old_id = rotate_key(home, SETTINGS, writer, valid_until_ns=0, overlap_s=0, reason="test")
    assert (before[writer], key_ids(home)[writer]) == (old_id, new_id)
    assert topic.current() == key_ids(home)
    assert record_command_keys(home, SETTINGS, "p") == []
    assert_signs(home, topic, "rotated")


@pytest.mark.parametrize(("writer", "records"), [(API, 0), (API, 1), (ROOT_WRITER, 0)])
def test_an_interrupted_rotation_leaves_one_key(home: Home, topic: TopicStub, writer: str, records: int) -> None:
    record_command_keys(home, SETTINGS, "p")
    topic.left = records
    with pytest.raises(DeployError, match="no response"):
        rotate_key(home, SETTINGS, writer, valid_until_ns=0, overlap_s=0, reason="test")
    topic.left = 1000
    record_command_keys(home, SETTINGS, "p")
    assert topic.current() == key_ids(home)
    assert_signs(home, topic, "interrupted")


def test_a_restore_elsewhere_makes_new_keys_and_revokes_the_old_ones(
    home: Home, topic: TopicStub, tmp_path: Path
) -> None:
    record_command_keys(home, SETTINGS, "p")
    before, stolen = key_ids(home), CommandSigner(signing_folder(home), API).sign(command("stolen", 2**62, RELEASE))
    sealed = sealed_root(home, "k" * 40)
    assert sealed is not None
    elsewhere = Home(tmp_path / "elsewhere")
    replace_keys(elsewhere, open_root(sealed, "k" * 40, Path("backup.tar")))
    record_command_keys(elsewhere, SETTINGS, "p")
    assert topic.current() == key_ids(elsewhere)
    assert not set(before.values()) & set(key_ids(elsewhere, tuple(WRITERS)).values())
    assert key_ids(elsewhere)[ROOT_WRITER] == before[ROOT_WRITER]
    topic.send(stolen)
    assert topic.rejected == [stolen]
    with pytest.raises(BadInput, match="damaged"):
        open_root(sealed, "x" * 40, Path("backup.tar"))


def test_a_foreign_or_missing_root_key_refuses_the_start(home: Home, topic: TopicStub, tmp_path: Path) -> None:
    record_command_keys(Home(tmp_path / "other"), SETTINGS, "p")
    with pytest.raises(DeployError, match=r"root\.json is missing"):
        record_command_keys(home, SETTINGS, "p")
    replace_keys(home, new_key("p", ROOT_WRITER, 0))
    with pytest.raises(DeployError, match="has another root key"):
        record_command_keys(home, SETTINGS, "p")


def test_the_root_key_may_be_stored_elsewhere(home: Home, topic: TopicStub) -> None:
    record_command_keys(home, SETTINGS, "p")
    key_file(signing_folder(home), ROOT_WRITER).unlink()
    assert record_command_keys(home, SETTINGS, "p") == []
    assert_signs(home, topic, "offline")
    with pytest.raises(DeployError, match="put it back for the rotation"):
        rotate_key(home, SETTINGS, API, valid_until_ns=0, overlap_s=0, reason="test")


def test_the_keys_of_another_platform_are_moved_to_another_folder(home: Home, topic: TopicStub) -> None:
    record_command_keys(home, SETTINGS, "removed")
    topic.__init__()  # type: ignore[misc]  # the topics were removed with the platform
    record_command_keys(home, SETTINGS, "p")
    assert topic.current() == key_ids(home)
    assert (home.secrets / "signing-removed" / "root.json").exists()
