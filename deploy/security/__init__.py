"""Scans the source tree for vulnerabilities, and checks a platform against the security checklist."""
