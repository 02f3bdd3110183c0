"""What every service runs on: topology, stages, wiring to Kafka and PostgreSQL, statistics, stopping, halting."""
