"""`notebook` opens the notebooks on loopback with a token, and names the nearest notebook for an unknown name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import bootstrap
from deploy.commands.notebook import LOOPBACK, copy_notebooks, find_notebook
from deploy.home import REPOSITORY, Home
from deploy.local.ports import free_ports
from schemas.errors import BadInput
from tests import http

STOP_TIMEOUT_S = 60
ADDRESS = re.compile(rf"http://{re.escape(LOOPBACK)}:(\d+)/lab/tree/first_idea\.ipynb\?token=([0-9a-f]+)")


def test_jupyterlab_answers_on_loopback_with_its_token_and_stops(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.cli", "notebook", "first_idea", "--no-browser"]
    process = subprocess.Popen(
        [*command, "--port", str(free_ports(1)[0])],
        cwd=REPOSITORY,
        env={**os.environ, "PLATFORM_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY), "JUPYTER_TOKEN": "fixed"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        lines: list[str] = []
        found = None
        for line in process.stderr:
            lines.append(line)
            if (found := ADDRESS.search(line)) is not None:
                break
        assert found is not None, "".join(lines)
        with http.client(base_url=f"http://{LOOPBACK}:{found[1]}", trust_env=False) as client:
            assert client.get("/api/contents").status_code == 403, "a request without the token is rejected"
            assert client.get("/api/contents", params={"token": "fixed"}).status_code == 403
            answer = client.get("/api/contents", headers={"Authorization": f"token {found[2]}"})
        assert "first_idea.ipynb" in {one["name"] for one in answer.raise_for_status().json()["content"]}
        process.terminate()
        process.communicate(timeout=STOP_TIMEOUT_S)
    finally:
        process.kill()
        process.wait()


def test_an_unknown_notebook_is_one_sentence_with_the_nearest_name() -> None:
    with pytest.raises(BadInput, match=r"^unknown notebook 'first_ide'; did you mean first_idea\? Known notebooks: "):
        find_notebook("first_ide")


def test_a_copy_stays_as_the_user_left_it(tmp_path: Path) -> None:
    folder = copy_notebooks(Home(tmp_path))
    (folder / "first_idea.ipynb").write_text("mine")
    assert copy_notebooks(Home(tmp_path)) == folder
    assert (folder / "first_idea.ipynb").read_text() == "mine"


@pytest.mark.parametrize(
    ("command", "lock"),
    [
        ("notebook", "requirements-notebook.txt"),
        ("notebook first_idea --no-browser", "requirements-notebook.txt"),
        ("notebook --help", "requirements.txt"),
        ("", "requirements.txt"),
    ],
)
def test_the_notebook_packages_are_installed_for_this_command_alone(command: str, lock: str) -> None:
    assert bootstrap.required_lock(command.split()) == lock
