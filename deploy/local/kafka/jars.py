"""Download the broker's jars once per user, and verify each against the SHA-256 in jars.sha256."""

import hashlib
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.errors import DeployError
from deploy.run_program import run_program
from deploy.supervisor.process_spec import ProgressCallback

PACKAGE_FOLDER = Path(__file__).resolve().parent
_TIMEOUT_S = 240


def locked_digests() -> dict[str, str]:
    """Map the file name of each locked jar to its SHA-256."""
    return {f"{artifact}-{version}.jar": digest for digest, (_, artifact, version) in _entries()}


def _entries() -> list[tuple[str, tuple[str, str, str]]]:
    """The lines of the lock: SHA-256, and (group, artifact, version)."""
    entries = []
    for line in (PACKAGE_FOLDER / "jars.sha256").read_text().splitlines():
        digest, coordinates = line.split()
        group, artifact, version = coordinates.split(":")
        entries.append((digest, (group, artifact, version)))
    return entries


def require_jars(cache: Path, report: ProgressCallback) -> Path:
    """Return the folder of verified jars: `KAFKA_HOME`/libs, else the cache, else a download by `mvn` or jgo.

    Raises DeployError if no jars are available; only the degraded broker remains then.
    """
    kafka_home = os.environ.get("KAFKA_HOME")
    if kafka_home:
        libs = Path(kafka_home) / "libs"
        if not any(libs.glob("kafka-server-4.*.jar")):
            raise DeployError(f"KAFKA_HOME={kafka_home}: expected Kafka 4 in {libs}, found no kafka-server-4.*.jar")
        return libs
    stamp = hashlib.sha256((PACKAGE_FOLDER / "jars.sha256").read_bytes()).hexdigest()[:12]
    libs = cache / f"kafka-{stamp}"
    if libs.is_dir() and not _find_differences(libs):
        return libs
    shutil.rmtree(libs, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="kafka-download-") as folder:
        fetched = Path(folder) / "libs"
        fetched.mkdir()
        report("downloading Apache Kafka (55 MB, once)")
        _fetch(fetched)
        differences = _find_differences(fetched)
        if differences:
            raise DeployError(f"the downloaded Kafka jars do not match jars.sha256: {differences[0]}")
        try:
            fetched.rename(libs)
        except OSError:
            # Another start of the same user has moved its verified jars there first.
            if _find_differences(libs):
                raise
    return libs


def _find_differences(libs: Path) -> list[str]:
    """List the jars that are missing, changed or not in the lock."""
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
    error = run_program([*command, f"-DoutputDirectory={folder}"], timeout_s=_TIMEOUT_S).error
    if error is not None:
        raise DeployError(f"mvn: {error}")


def _fetch_by_jgo(folder: Path) -> None:
    """Download exactly the locked jars without Java or Maven. jgo's resolver would choose other versions of some."""
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
