"""The cluster id for the log folder of the embedded Kafka."""

import base64
import uuid

from deploy.local.kafka.broker import cluster_id


def test_a_cluster_id_never_looks_like_an_option() -> None:
    dashed, plain = (
        base64.urlsafe_b64decode(text) for text in ("-AAAAAAAQACAAAAAAAAAAA==", "AAAAAAAAQACAAAAAAAAAAA==")
    )
    uuids = iter([uuid.UUID(bytes=dashed), uuid.UUID(bytes=plain)])
    assert cluster_id(lambda: next(uuids)) == "AAAAAAAAQACAAAAAAAAAAA"
    assert len(cluster_id()) == 22
