"""The archive of the topics: Avro container files by topic, partition and day."""
