"""The archive of the topics: Avro container files by topic, partition and day, which continue into the topics."""
