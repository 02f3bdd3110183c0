"""Private keys of the writers of commands: their files, and what happens without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from operators.command_signatures import CommandSignatures
from schemas.errors import BadInput, Unavailable
from schemas.records import KILL_SWITCH, RELEASE
from sinks.signing_keys import (
    API,
    FEED,
    RECORDED_FILE,
    CommandSigner,
    key_file,
    key_record,
    new_key,
    read_key,
    root_record,
    write_key,
    write_private_file,
)
from tests.builders import command

RELEASE_COMMAND, HALT = command("cmd-1", 10, RELEASE), command("cmd-2", 10, KILL_SWITCH)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_private_file(tmp_path / RECORDED_FILE, "[]")
    return tmp_path


def test_without_keys_commands_stay_as_they_are(tmp_path: Path) -> None:
    assert CommandSigner(tmp_path / "none", API).sign(RELEASE_COMMAND) is RELEASE_COMMAND


def test_a_key_file_is_private_and_read_back(folder: Path) -> None:
    key = new_key("p", API, 5, 7)
    write_key(folder, key)
    assert key_file(folder, API).stat().st_mode & 0o777 == 0o600
    assert read_key(folder, API) == key
    assert repr(key) == "PrivateKey(api of platform p)", "no key material in logs"


def test_a_missing_key_stops_releases_but_no_halt(folder: Path) -> None:
    signer = CommandSigner(folder, API)
    with pytest.raises(Unavailable, match=r"api\.json is missing, and commands need a signature"):
        signer.sign(RELEASE_COMMAND)
    assert signer.sign(HALT) is HALT
    assert CommandSigner(folder, FEED).sign_if_possible(RELEASE_COMMAND) is RELEASE_COMMAND, "the feed does not stop"


def test_a_key_that_others_can_read_is_refused(folder: Path) -> None:
    write_key(folder, new_key("p", API, 0))
    key_file(folder, API).chmod(0o644)
    with pytest.raises(BadInput, match="readable by others"):
        read_key(folder, API)
    with pytest.raises(Unavailable, match="readable by others"):
        CommandSigner(folder, API).sign(RELEASE_COMMAND)


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"version": 1, "writer": "execution", "private_key": ""}'])
def test_a_damaged_key_is_one_sentence(folder: Path, text: str) -> None:
    write_private_file(key_file(folder, API), text)
    with pytest.raises(BadInput, match="is damaged"):
        read_key(folder, API)


def test_a_rotated_key_signs_the_next_command(folder: Path) -> None:
    root, keys = new_key("p", "root", 0), [new_key("p", API, 0) for _ in range(2)]
    signatures = CommandSignatures()
    for record in (root_record(root), *(key_record(root, key) for key in keys)):
        signatures = signatures.check(record).signatures
    signer, used = CommandSigner(folder, API), []
    for number, key in enumerate(keys):
        write_key(folder, key)
        signed = signer.sign(command(f"cmd-{number}", 10, RELEASE))
        verdict = signatures.check(signed)
        assert verdict.is_accepted, verdict.reason
        signatures = verdict.signatures
        used.append(signed.key_id)
    assert used == [key.key_id for key in keys]
