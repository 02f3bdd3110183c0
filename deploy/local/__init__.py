"""Embedded PostgreSQL, Redis and Kafka: real servers on loopback, without Docker or root."""
