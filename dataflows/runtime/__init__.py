"""Runtime of every service: topology, stages, wiring to Kafka and PostgreSQL, statistics, shutdown and suspension."""
