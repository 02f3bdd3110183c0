"""The cluster id for the log folder of the embedded Kafka, and the archive of its classes."""

import base64
import uuid
from pathlib import Path

from deploy.errors import DeployError
from deploy.home import Home
from deploy.local.kafka.broker import cluster_id
from deploy.local.kafka.class_archive import archive_options, create_archive
from deploy.supervisor.process_spec import EmbeddedServer


def test_a_cluster_id_never_looks_like_an_option() -> None:
    dashed, plain = (
        base64.urlsafe_b64decode(text) for text in ("-AAAAAAAQACAAAAAAAAAAA==", "AAAAAAAAQACAAAAAAAAAAA==")
    )
    uuids = iter([uuid.UUID(bytes=dashed), uuid.UUID(bytes=plain)])
    assert cluster_id(lambda: next(uuids)) == "AAAAAAAAQACAAAAAAAAAAA"
    assert len(cluster_id()) == 22


def test_a_class_archive_that_cannot_be_created_is_not_used_and_not_tried_again(tmp_path: Path) -> None:
    attempts: list[tuple[str, ...]] = []
    lines: list[str] = []

    def failing_broker(home: Home, options: tuple[str, ...]) -> EmbeddedServer:
        attempts.append(options)
        raise DeployError("no log folder")

    java, libs, cache = tmp_path / "java", tmp_path / "libs", tmp_path / "cache"
    java.touch()
    libs.mkdir()
    cache.mkdir()
    for _ in range(2):
        create_archive(java, libs, cache, lines.append, failing_broker)
        assert archive_options(java, libs, cache) == ()
    assert len(attempts) == len(lines) == 1
    [archive] = cache.glob("*.jsa")
    archive.write_bytes(b"classes")
    assert archive_options(java, libs, cache) == (f"-XX:SharedArchiveFile={archive}",)
    (libs / "other.jar").touch()
    assert archive_options(java, libs, cache) == (), "the archive is of other jars"
