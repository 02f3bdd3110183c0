"""Processes find the addresses and the Kafka credentials of the platform in the state folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from configs.recorded_endpoints import kafka_variables, use_recorded_addresses
from configs.settings import load_settings
from schemas.errors import BadInput

SERVERS = "127.0.0.1:19092"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    (folder / "kafka").mkdir(parents=True)
    (folder / "kafka" / "cli").write_text("cli-password\n")
    (folder / "kafka" / "risk").write_text("risk-password\n")
    endpoints = {
        "KAFKA_BOOTSTRAP_SERVERS": SERVERS,
        "DATABASE_URL": "postgresql://platform@127.0.0.1:1/trading",
        "REDIS_URL": "redis://127.0.0.1:2/0",
        "KAFKA_AUTHENTICATION": "SCRAM-SHA-512",
    }
    (folder / "endpoints.json").write_text(json.dumps(endpoints))
    return tmp_path


def security(home: Path, **variables: str) -> tuple[str, str | None, str | None]:
    environment = {"PLATFORM_HOME": str(home), "KAFKA_BOOTSTRAP_SERVERS": SERVERS, **variables}
    found = load_settings(environment=environment).kafka.security
    return found.protocol, found.user, found.password.get_secret_value() if found.password else None


def test_a_command_uses_the_credentials_of_the_command_line(home: Path) -> None:
    assert security(home) == ("SASL_PLAINTEXT", "cli", "cli-password")


def test_a_process_uses_the_credentials_of_its_principal(home: Path) -> None:
    assert security(home, PLATFORM_KAFKA_PRINCIPAL="risk") == ("SASL_PLAINTEXT", "risk", "risk-password")


def test_another_kafka_gets_no_credentials(home: Path) -> None:
    plain = ("PLAINTEXT", None, None)
    assert security(home, KAFKA_BOOTSTRAP_SERVERS="kafka.example:9092") == plain
    assert security(home, PLATFORM_KAFKA_PRINCIPAL="") == plain
    (home / "secrets" / "endpoints.json").write_text(json.dumps({"KAFKA_BOOTSTRAP_SERVERS": SERVERS}))
    assert security(home) == plain


def test_credentials_in_the_environment_have_precedence(home: Path) -> None:
    own = {"KAFKA__SECURITY__PROTOCOL": "SASL_PLAINTEXT", "KAFKA__SECURITY__USER": "me", "KAFKA_PASSWORD": "mine"}
    assert security(home, **own) == ("SASL_PLAINTEXT", "me", "mine")


def test_a_principal_without_credentials_is_named_with_the_remedy(home: Path) -> None:
    with pytest.raises(BadInput, match=r"no credentials of principal new_service .*`python cli.py start` creates them"):
        security(home, PLATFORM_KAFKA_PRINCIPAL="new_service")


def test_a_process_started_by_hand_finds_addresses_and_principal(home: Path) -> None:
    environment = {"DATABASE_URL": "postgresql://mine"}
    use_recorded_addresses(environment, home / "secrets", "risk")
    assert environment == {
        "KAFKA_BOOTSTRAP_SERVERS": SERVERS,
        "DATABASE_URL": "postgresql://mine",
        "REDIS_URL": "redis://127.0.0.1:2/0",
        "PLATFORM_KAFKA_PRINCIPAL": "risk",
    }


def test_without_a_platform_the_environment_gets_no_address(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    use_recorded_addresses(environment, tmp_path, "risk")
    assert environment == {"PLATFORM_KAFKA_PRINCIPAL": "risk"}


def test_the_password_of_a_principal_is_only_in_its_variables(home: Path) -> None:
    variables = kafka_variables(home / "secrets", "risk")
    assert "risk-password" in variables.values()
    assert "cli-password" not in variables.values()
