"""Back up a whole platform to one sealed file, and restore it. Encryption is optional."""
