"""Run the tutorial commands that need a platform, on the platform that the first tutorial starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import http
from tests.e2e.cli_platform import CliPlatform
from tests.tutorials import EVENTUALLY, PLATFORM, ROOT, TutorialShell, read_page

pytestmark = pytest.mark.timeout(900)

PASSWORD = "a password of the tutorials"  # pragma: allowlist secret  (of users that live as long as this test)
FIRST = "first-strategy"
OTHERS = ("traders-day", "risk-officer", "operating")  # in this order, because the last one stops the platform


def run_page(shell: TutorialShell, name: str) -> None:
    shell.run_steps(read_page((ROOT / "docs" / "tutorials" / f"{name}.md").read_text()), PLATFORM, EVENTUALLY)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TutorialShell]:
    """The reader's shell after the first tutorial. The password files of its users exist."""
    folder = tmp_path_factory.mktemp("tutorials")
    platform = CliPlatform(folder / "var")
    # Services resolve a strategy path from the repository root. The reader's file is in `folder`: make it absolute.
    replacements = {
        "127.0.0.1:8000": f"127.0.0.1:{platform.ports.api}",
        "dip.py:Dip": f"{folder}/dip.py:Dip",
        # The default is two seconds. Other processes on the machine of the tests may need the processors.
        "kill-switch on": "kill-switch on --timeout 30",
    }
    shell = TutorialShell(folder, platform.environment, replacements)
    try:
        run_page(shell, FIRST)
        create_users(platform, folder)
        yield shell
    finally:
        shell.close()
        platform.discard()


def create_users(platform: CliPlatform, folder: Path) -> None:
    """Create a trader and a risk officer. Set new passwords for both and for the admin."""
    one_time_password = (platform.home.secrets / "admin-password").read_text().strip()
    with http.client(base_url=f"{platform.api_url}/api/v1") as client:
        admin = set_password(client, "admin", one_time_password, folder)
        for name, role in (("ann", "trader"), ("ray", "risk")):
            response = client.post("/users", json={"username": name, "role": role}, headers=admin)
            set_password(client, name, response.raise_for_status().json()["one_time_password"], folder)


def set_password(client: httpx.Client, name: str, one_time_password: str, folder: Path) -> dict[str, str]:
    """Replace the one-time password, write the new one to NAME.password and return the header of the new session."""
    login = client.post("/auth/login", json={"username": name, "password": one_time_password})
    header = {"Authorization": f"Bearer {login.raise_for_status().json()['access_token']}"}
    change = {"current_password": one_time_password, "new_password": PASSWORD}
    changed = client.post("/auth/password", json=change, headers=header).raise_for_status()
    file = folder / f"{name}.password"
    file.touch(0o600)
    file.write_text(PASSWORD)
    return {"Authorization": f"Bearer {changed.json()['access_token']}"}


@pytest.mark.parametrize("name", OTHERS)
def test_tutorial_commands_on_the_platform_print_what_the_page_shows(shell: TutorialShell, name: str) -> None:
    run_page(shell, name)
