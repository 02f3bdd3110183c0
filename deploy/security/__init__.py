"""Scan the source tree for vulnerabilities, and check a platform against the security checklist."""
