"""Embedded Apache Kafka: one KRaft node, from jars that Maven downloads and a lock verifies."""
