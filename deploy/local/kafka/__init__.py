"""Embedded Apache Kafka: a real broker (KRaft, one node) out of jars that Maven fetches and a lock verifies."""
