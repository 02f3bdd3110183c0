"""Secrets: encrypted at rest, found in their order, never printed unasked, every change noted."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pyrage
import pytest

from configs.logs import Mask, hide
from configs.secrets import KEY_VARIABLE, SecretFile, found_secrets, known_secrets
from configs.settings import NAMED, load_settings
from deploy.home import REPOSITORY
from schemas.errors import BadInput

NAME, VALUE = "POLYGON_API_KEY", "polygon-value-1"
JWT = "j" * 40


@pytest.fixture
def file(tmp_path: Path) -> SecretFile:
    return SecretFile(tmp_path / "secrets", {})


def test_a_secret_is_kept_encrypted_and_only_its_owner_reads_it(file: SecretFile) -> None:
    file.set(NAME, VALUE, by="me")
    assert file.read()[NAME].value == VALUE
    assert VALUE.encode() not in file.path.read_bytes()
    assert file.path.read_bytes().startswith(b"age-encryption.org/v1")
    for path in (file.path, file.key_path, file.audit_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    # Another implementation's reader: the key file is an ordinary age identity.
    identity = pyrage.x25519.Identity.from_str(file.key_path.read_text().strip())
    assert VALUE.encode() in pyrage.decrypt(file.path.read_bytes(), [identity])


def test_environment_goes_before_run_secrets_and_those_before_the_file(file: SecretFile, tmp_path: Path) -> None:
    mounted = tmp_path / "run"
    mounted.mkdir()
    folder = file.path.parent
    file.set(NAME, "of the file", by="me")
    assert found_secrets({}, folder, mounted)[NAME] == ("of the file", "encrypted file")
    (mounted / NAME).write_text("mounted\n")
    assert found_secrets({}, folder, mounted)[NAME] == ("mounted", str(mounted / NAME))
    assert found_secrets({NAME: "given"}, folder, mounted)[NAME] == ("given", "environment")
    assert found_secrets({NAME: ""}, folder, mounted)[NAME][0] == "mounted"


def test_the_settings_take_a_secret_and_nothing_prints_it(tmp_path: Path) -> None:
    home = {"PLATFORM_HOME": str(tmp_path)}
    assert load_settings(environment=home).api.jwt_key is None
    SecretFile(tmp_path / "secrets", {}).set("API_JWT_KEY", JWT, by="me")
    settings = load_settings(environment=home)
    assert settings.api.jwt_key is not None
    assert settings.api.jwt_key.get_secret_value() == JWT
    assert JWT not in repr(settings)
    assert load_settings(environment={}).api.jwt_key is None, "without a state folder nobody looks for one"
    other = load_settings(environment={**home, "API_JWT_KEY": "k" * 40}).api.jwt_key
    assert other is not None
    assert other.get_secret_value() == "k" * 40


def test_a_secret_that_the_settings_refuse_is_not_in_the_sentence(tmp_path: Path) -> None:
    SecretFile(tmp_path / "secrets", {}).set("API_JWT_KEY", "too-short-secret", by="me")
    with pytest.raises(BadInput, match=r"api\.jwt_key") as caught:
        load_settings(environment={"PLATFORM_HOME": str(tmp_path)})
    assert "too-short-secret" not in str(caught.value)


def test_a_secret_of_the_file_is_masked_in_logs(tmp_path: Path) -> None:
    SecretFile(tmp_path / "secrets", {}).set("API_JWT_KEY", JWT, by="me")
    load_settings(environment={"PLATFORM_HOME": str(tmp_path)})
    mask = hide.__self__  # type: ignore[attr-defined]
    assert isinstance(mask, Mask)
    assert mask.masked(f"refused by {JWT}") == "refused by ***"


def test_rotation_keeps_the_value_before_until_it_is_confirmed(file: SecretFile) -> None:
    file.set(NAME, "first", by="me")
    file.rotate(NAME, "second", by="me")
    assert file.read()[NAME][:2] == ("second", "first")
    with pytest.raises(BadInput, match="the last rotation of POLYGON_API_KEY is not confirmed"):
        file.rotate(NAME, "third", by="me")
    file.back(NAME, by="me")
    assert file.read()[NAME][:2] == ("first", None)
    file.rotate(NAME, "third", by="me")
    file.confirm(NAME, by="you")
    assert file.read()[NAME][:2] == ("third", None)
    with pytest.raises(BadInput, match="no rotation of POLYGON_API_KEY waits"):
        file.confirm(NAME, by="me")
    assert [(note["action"], note["who"]) for note in file.notes()] == [
        ("set", "me"),
        ("rotate", "me"),
        ("back", "me"),
        ("rotate", "me"),
        ("confirm", "you"),
    ]
    assert not {"first", "second", "third"} & set(file.audit_path.read_text().split('"'))


def test_a_new_key_opens_everything_and_the_old_one_nothing(file: SecretFile) -> None:
    file.set(NAME, VALUE, by="me")
    old = file.key_path.read_text()
    file.new_key(by="me")
    assert file.read()[NAME].value == VALUE
    with pytest.raises(BadInput, match="the key does not fit"):
        SecretFile(file.path.parent, {KEY_VARIABLE: old}).read()


def test_the_key_may_come_from_the_environment(tmp_path: Path) -> None:
    key = str(pyrage.x25519.Identity.generate())
    file = SecretFile(tmp_path, {KEY_VARIABLE: key})
    file.set(NAME, VALUE, by="me")
    assert not file.key_path.exists()
    assert SecretFile(tmp_path, {KEY_VARIABLE: key}).read()[NAME].value == VALUE
    with pytest.raises(BadInput, match=r"secrets\.key is missing and PLATFORM_SECRETS_KEY is not set"):
        SecretFile(tmp_path, {}).read()
    with pytest.raises(BadInput, match="PLATFORM_SECRETS_KEY holds no age key"):
        SecretFile(tmp_path, {KEY_VARIABLE: "hunter2"}).read()
    with pytest.raises(BadInput, match="the key comes from PLATFORM_SECRETS_KEY"):
        file.new_key(by="me")


def test_a_damaged_file_and_an_open_key_are_refused(file: SecretFile) -> None:
    file.set(NAME, VALUE, by="me")
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BadInput, match="the key does not fit, or the file is damaged"):
        file.read()
    file.path.write_bytes(whole)
    file.key_path.chmod(0o644)
    with pytest.raises(BadInput, match="may be read by others"):
        file.read()


def test_the_settings_know_nothing_that_is_secret_and_not_listed() -> None:
    secret = {name for name in NAMED if name.endswith(("_KEY", "_SECRET", "_TOKEN", "_PASSWORD"))}
    assert secret <= known_secrets().keys(), "describe it in configs/secrets.yaml"


# -- the commands ------------------------------------------------------------------------------------------------------


def secrets(home: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", "secrets", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PLATFORM_HOME": str(home), "TZ": "UTC"},
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_commands_keep_values_to_themselves(tmp_path: Path) -> None:
    for done in (
        secrets(tmp_path, "set", NAME, "-", given=VALUE + "\n"),
        secrets(tmp_path, "list"),
        secrets(tmp_path, "list", "--json"),
        secrets(tmp_path, "rotate", NAME, "second-value"),
        secrets(tmp_path, "rotate", NAME, "--confirm"),
    ):
        assert done.returncode == 0, done.stderr
        assert VALUE not in done.stdout + done.stderr
        assert "second-value" not in done.stdout + done.stderr
    asked = secrets(tmp_path, "get", NAME)
    assert (asked.returncode, asked.stdout) == (2, "")
    assert "without a terminal give --yes" in asked.stderr
    assert secrets(tmp_path, "get", NAME, "--yes").stdout == "second-value\n"
    assert secrets(tmp_path, "delete", NAME, "--yes").returncode == 0
    assert "is set nowhere" in secrets(tmp_path, "get", NAME, "--yes").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("set", "POLYGON_KEY", "x"), "error: there is no secret 'POLYGON_KEY'; there are API_JWT_KEY"),
        (("set", NAME, ""), "must be printable text, found nothing"),
        (("set", NAME), "is missing; - reads it from standard input"),
        (("rotate", NAME, "x"), "POLYGON_API_KEY is not in the encrypted file"),
        (("rotate", NAME, "x", "--confirm"), "rotate takes a new value, --confirm or --back: one of them"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = secrets(tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
