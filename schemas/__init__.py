"""Records that travel in topics, their Avro encoding, and the errors of bad data."""
