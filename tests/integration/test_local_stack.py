"""The embedded services, run for real: they keep their state, and say clearly why they cannot start."""

from confluent_kafka.admin import AdminClient


def test_shared_kafka_is_a_real_broker(kafka: str) -> None:
    assert AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=5).brokers
