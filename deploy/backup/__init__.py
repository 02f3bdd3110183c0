"""Back up the database to one file, and restore it. Encryption is optional."""
