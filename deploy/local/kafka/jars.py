"""The broker's jars: fetched once a user, each compared with the sha256 in jars.sha256, never used half-fetched."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.errors import DeployError
from deploy.supervisor.process_spec import ProgressCallback

PACKAGE_FOLDER = Path(__file__).resolve().parent
_TIMEOUT_S = 240


def locked_digests() -> dict[str, str]:
    """File name -> sha256 of every jar."""
    return {f"{artifact}-{version}.jar": digest for digest, (_, artifact, version) in _entries()}


def _entries() -> list[tuple[str, tuple[str, str, str]]]:
    """The lock's lines: sha256, and group, artifact and version."""
    entries = []
    for line in (PACKAGE_FOLDER / "jars.sha256").read_text().splitlines():
        digest, coordinates = line.split()
        group, artifact, version = coordinates.split(":")
        entries.append((digest, (group, artifact, version)))
    return entries


def require_jars(cache: Path, report: ProgressCallback) -> Path:
    """The folder of verified jars. Order: `KAFKA_HOME`/libs, the cache, a fetch by `mvn`, a fetch by the package jgo.

    Raises DeployError, in one line, when no jars can be had: then there is only the degraded broker.
    """
    kafka_home = os.environ.get("KAFKA_HOME")
    if kafka_home:
        libs = Path(kafka_home) / "libs"
        if not any(libs.glob("kafka-server-4.*.jar")):
            raise DeployError(f"KAFKA_HOME={kafka_home}: no Kafka 4 in {libs}")
        return libs
    stamp = hashlib.sha256((PACKAGE_FOLDER / "jars.sha256").read_bytes()).hexdigest()[:12]
    libs = cache / f"kafka-{stamp}"
    if libs.is_dir() and not _find_differences(libs):
        return libs
    shutil.rmtree(libs, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="kafka-fetching-") as folder:
        fetched = Path(folder) / "libs"
        fetched.mkdir()
        report("fetching Apache Kafka (55 MB, once)")
        _fetch(fetched)
        differences = _find_differences(fetched)
        if differences:
            raise DeployError(f"Kafka's jars are not those of jars.sha256: {differences[0]}")
        try:
            fetched.rename(libs)
        except OSError:
            # Another start of the same user was faster: its jars are as good, they are verified the same way.
            if _find_differences(libs):
                raise
    return libs


def _find_differences(libs: Path) -> list[str]:
    """What is missing from, changed in or foreign to a folder of jars."""
    expected = locked_digests()
    present = {path.name for path in libs.glob("*.jar")}
    problems = [f"{name} is missing" for name in expected if name not in present]
    problems += [f"{name} is not in the lock" for name in sorted(present - expected.keys())]
    for name in sorted(expected.keys() & present):
        digest = hashlib.sha256((libs / name).read_bytes()).hexdigest()
        if digest != expected[name]:
            problems.append(f"{name} has sha256 {digest}, expected {expected[name]}")
    return problems


def _fetch(folder: Path) -> None:
    failures = []
    for fetch in (_fetch_by_maven, _fetch_by_jgo):
        try:
            fetch(folder)
        except DeployError as error:
            failures.append(str(error))
        else:
            return
    raise DeployError("; ".join(failures))


def _fetch_by_maven(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise DeployError("no mvn on PATH")
    command = [maven, "-q", "-B", "-f", str(PACKAGE_FOLDER / "pom.xml"), "dependency:copy-dependencies"]
    try:
        completed = subprocess.run(
            [*command, f"-DoutputDirectory={folder}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise DeployError(f"mvn did not end within {_TIMEOUT_S} s") from error
    if completed.returncode != 0:
        error_lines = [line for line in completed.stdout.splitlines() if "ERROR" in line] or ["no message"]
        raise DeployError(f"mvn: {error_lines[0][:300]}")


def _fetch_by_jgo(folder: Path) -> None:
    """Exactly the jars of the lock, without Java or Maven; jgo's own resolver would choose some other versions."""
    import requests
    from jgo.maven import MavenContext

    maven = MavenContext(timeout=30)

    def fetch(entry: tuple[str, tuple[str, str, str]]) -> None:
        group, artifact, version = entry[1]
        jar = maven.project(group, artifact).at_version(version).artifact().resolve()
        shutil.copyfile(jar, folder / f"{artifact}-{version}.jar")

    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fetch, _entries()))
    except (OSError, RuntimeError, ValueError, requests.RequestException) as error:
        raise DeployError(f"jgo: {' '.join(str(error).split())[:300]}") from error
