"""Secrets: encryption at rest, lookup order, no value in output unless requested, an audit entry for every change."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pyrage
import pytest

from configs.logs import SecretMask, mask_values
from configs.secrets import KEY_VARIABLE, SecretFile, declared_secrets, resolve_secrets
from configs.settings import ENVIRONMENT_VARIABLES, load_settings
from deploy.home import REPOSITORY
from schemas.errors import BadInput

NAME, VALUE = "POLYGON_API_KEY", "polygon-value-1"
JWT = "j" * 40


@pytest.fixture
def file(tmp_path: Path) -> SecretFile:
    return SecretFile(tmp_path / "secrets", {})


def test_secret_is_stored_encrypted_and_readable_only_by_its_owner(file: SecretFile) -> None:
    file.set(NAME, VALUE, by="me")
    assert file.read()[NAME].value == VALUE
    assert VALUE.encode() not in file.path.read_bytes()
    assert file.path.read_bytes().startswith(b"age-encryption.org/v1")
    for path in file.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    # Decrypt with another implementation: the key file is an ordinary age identity.
    identity = pyrage.x25519.Identity.from_str(file.key_path.read_text().strip())
    assert VALUE.encode() in pyrage.decrypt(file.path.read_bytes(), [identity])


def test_environment_overrides_run_secrets_which_override_the_file(file: SecretFile, tmp_path: Path) -> None:
    mounted = tmp_path / "run"
    mounted.mkdir()
    folder = file.path.parent
    file.set(NAME, "of the file", by="me")
    assert resolve_secrets({}, folder, mounted)[NAME] == ("of the file", "encrypted file")
    (mounted / NAME).write_text("mounted\n")
    assert resolve_secrets({}, folder, mounted)[NAME] == ("mounted", str(mounted / NAME))
    assert resolve_secrets({NAME: "given"}, folder, mounted)[NAME] == ("given", "environment")
    assert resolve_secrets({NAME: ""}, folder, mounted)[NAME][0] == "mounted"


def test_the_settings_take_a_secret_and_nothing_prints_it(tmp_path: Path) -> None:
    home = {"PLATFORM_HOME": str(tmp_path)}
    assert load_settings(environment=home).api.jwt_key is None
    SecretFile(tmp_path / "secrets", {}).set("API_JWT_KEY", JWT, by="me")
    settings = load_settings(environment=home)
    assert settings.api.jwt_key is not None
    assert settings.api.jwt_key.get_secret_value() == JWT
    assert JWT not in repr(settings)
    assert load_settings(environment={}).api.jwt_key is None, "without a state folder no file is read"
    other = load_settings(environment={**home, "API_JWT_KEY": "k" * 40}).api.jwt_key
    assert other is not None
    assert other.get_secret_value() == "k" * 40


def test_rejected_secret_is_not_in_the_error(tmp_path: Path) -> None:
    SecretFile(tmp_path / "secrets", {}).set("API_JWT_KEY", "too-short-secret", by="me")
    with pytest.raises(BadInput, match=r"api\.jwt_key") as error:
        load_settings(environment={"PLATFORM_HOME": str(tmp_path)})
    assert "too-short-secret" not in str(error.value)


def test_a_secret_of_the_file_is_masked_in_logs(tmp_path: Path) -> None:
    SecretFile(tmp_path / "secrets", {}).set("API_JWT_KEY", JWT, by="me")
    load_settings(environment={"PLATFORM_HOME": str(tmp_path)})
    mask = mask_values.__self__  # type: ignore[attr-defined]
    assert isinstance(mask, SecretMask)
    assert mask.mask(f"refused by {JWT}") == "refused by ***"


def test_rotation_keeps_the_previous_value_until_confirmed(file: SecretFile) -> None:
    file.set(NAME, "first", by="me")
    file.rotate(NAME, "second", by="me")
    assert file.read()[NAME][:2] == ("second", "first")
    with pytest.raises(BadInput, match="the last rotation of POLYGON_API_KEY is pending"):
        file.rotate(NAME, "third", by="me")
    file.roll_back(NAME, by="me")
    assert file.read()[NAME][:2] == ("first", None)
    file.rotate(NAME, "third", by="me")
    file.confirm(NAME, by="you")
    assert file.read()[NAME][:2] == ("third", None)
    with pytest.raises(BadInput, match="POLYGON_API_KEY has no pending rotation"):
        file.confirm(NAME, by="me")
    assert [(note["action"], note["who"]) for note in file.audit_entries()] == [
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
    file.replace_key(by="me")
    assert file.read()[NAME].value == VALUE
    with pytest.raises(BadInput, match="the key is wrong"):
        SecretFile(file.path.parent, {KEY_VARIABLE: old}).read()


def test_the_key_may_come_from_the_environment(tmp_path: Path) -> None:
    key = str(pyrage.x25519.Identity.generate())
    file = SecretFile(tmp_path, {KEY_VARIABLE: key})
    file.set(NAME, VALUE, by="me")
    assert not file.key_path.exists()
    assert SecretFile(tmp_path, {KEY_VARIABLE: key}).read()[NAME].value == VALUE
    with pytest.raises(BadInput, match=r"secrets\.key is missing and PLATFORM_SECRETS_KEY is not set"):
        SecretFile(tmp_path, {}).read()
    with pytest.raises(BadInput, match="PLATFORM_SECRETS_KEY: expected an age key"):
        SecretFile(tmp_path, {KEY_VARIABLE: "hunter2"}).read()
    with pytest.raises(BadInput, match="the key comes from PLATFORM_SECRETS_KEY"):
        file.replace_key(by="me")


def test_damaged_file_and_readable_key_are_rejected(file: SecretFile) -> None:
    file.set(NAME, VALUE, by="me")
    content = file.path.read_bytes()
    file.path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BadInput, match="the key is wrong or the file is damaged"):
        file.read()
    file.path.write_bytes(content)
    file.key_path.chmod(0o644)
    with pytest.raises(BadInput, match="is readable by others"):
        file.read()


def test_every_secret_setting_is_listed() -> None:
    secret = {name for name in ENVIRONMENT_VARIABLES if name.endswith(("_KEY", "_SECRET", "_TOKEN", "_PASSWORD"))}
    assert secret <= declared_secrets().keys(), "describe it in configs/secrets.yaml"


# -- the commands ------------------------------------------------------------------------------------------------------


def secrets(home: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", "secrets", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PLATFORM_HOME": str(home), "TZ": "UTC"},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def test_commands_do_not_print_values(tmp_path: Path) -> None:
    for result in (
        secrets(tmp_path, "set", NAME, "-", stdin=VALUE + "\n"),
        secrets(tmp_path, "list"),
        secrets(tmp_path, "list", "--json"),
        secrets(tmp_path, "rotate", NAME, "second-value"),
        secrets(tmp_path, "rotate", NAME, "--confirm"),
    ):
        assert result.returncode == 0, result.stderr
        assert VALUE not in result.stdout + result.stderr
        assert "second-value" not in result.stdout + result.stderr
    unconfirmed = secrets(tmp_path, "get", NAME)
    assert (unconfirmed.returncode, unconfirmed.stdout) == (2, "")
    assert "without a terminal, use --yes" in unconfirmed.stderr
    assert secrets(tmp_path, "get", NAME, "--yes").stdout == "second-value\n"
    assert secrets(tmp_path, "delete", NAME, "--yes").returncode == 0
    assert "is not set" in secrets(tmp_path, "get", NAME, "--yes").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("set", "POLYGON_KEY", "x"),
            "error: unknown secret 'POLYGON_KEY'; did you mean POLYGON_API_KEY? Known secrets: API_JWT_KEY",
        ),
        (("set", NAME, ""), "must be printable text, found nothing"),
        (("set", NAME), "is missing; pass it as an argument, or - to read it from standard input"),
        (("rotate", NAME, "x"), "POLYGON_API_KEY is not in the encrypted file"),
        (("rotate", NAME, "x", "--confirm"), "rotate accepts only one of VALUE, --confirm and --back"),
    ],
)
def test_invalid_input_gives_a_one_line_error(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = secrets(tmp_path, *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
