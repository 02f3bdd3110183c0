"""Only the owner can access the state folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from deploy.home import Home


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_closed_to_others(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create_folders()
    passable = 0o711 if os.geteuid() == 0 else 0o700
    assert mode(home.root) == mode(home.data) == passable
    for folder in (home.run, home.stats, home.logs, home.recovery, home.secrets):
        assert mode(folder) == 0o700


def test_files_of_an_older_release_are_closed_and_software_stays_executable(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for name in ("run/state.json", "data/kafka/orders-0/0.log", "models/model.pkl", "env-1/bin/postgres"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("")
        path.chmod(0o755)
        path.parent.chmod(0o755)
    outside = tmp_path.with_name(f"{tmp_path.name}-outside")
    outside.write_text("")
    outside.chmod(0o644)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "link").symlink_to(outside)
    home.create_folders()
    assert mode(tmp_path / "run/state.json") == mode(tmp_path / "data/kafka/orders-0") == 0o700
    assert mode(tmp_path / "data/kafka/orders-0/0.log") & 0o077 == 0
    assert mode(tmp_path / "models/model.pkl") & 0o077 == 0
    assert mode(tmp_path / "env-1/bin/postgres") == 0o755
    assert mode(outside) == 0o644


def test_a_key_that_others_could_read_stays_detectable(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create_folders()
    key = home.secrets / "secrets.key"
    key.write_text("")
    key.chmod(0o644)
    home.create_folders()
    assert mode(key) == 0o644, "the key must be replaced, so the check of configs/secrets.py must still find it"


def test_passwords_of_principals_are_random_and_owner_only(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create_folders()
    password = home.kafka_password("risk")
    assert password == home.kafka_password("risk") != home.kafka_password("api")
    assert mode(home.secrets / "kafka") == 0o700
    assert mode(home.secrets / "kafka" / "risk") == 0o600
