"""Check out a commit of the platform into an empty folder, and install its locked packages there."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

from dataflows.research.bundles.verification import Workplace
from deploy.home import REPOSITORY
from deploy.run_program import last_error_line, run_program
from schemas.errors import BadInput

_LOCK = Path("deploy") / "locks" / "requirements.txt"
_INSTALL = (
    "import sys; from pathlib import Path; from deploy.bootstrap import require_environment; "
    "print(require_environment(Path(sys.argv[1])))"
)


def fresh_workplace(commit: str, lock: str, folder: Path) -> Workplace:
    """Return the code of a commit and a new Python with its locked packages, both in `folder`.

    The packages are those of the commit's own lock, with their hashes; a lock from elsewhere is never installed. Raises
    BadInput if this repository does not have the commit, if its lock is not `lock`, or if the installation fails.
    """
    code = folder / "code"
    code.mkdir()
    archive = folder / "code.tar"
    command = ["git", "-C", str(REPOSITORY), "archive", "--format=tar", "-o", str(archive), commit]
    if not commit:
        raise BadInput("commit: the run has none; --fresh-environment needs the commit of the code")
    packed = run_program(command, timeout_s=300)
    if packed.error is not None:
        raise BadInput(f"commit: git cannot read {commit} here; fetch it (git fetch): {packed.error}")
    with tarfile.open(archive) as members:
        members.extractall(code, filter="data")
    if (code / _LOCK).read_text(encoding="utf-8") != lock:
        raise BadInput(f"lock: the bundle has other locked packages than commit {commit}")
    installed = run_program(
        [sys.executable, "-c", _INSTALL, str(folder / "home")], cwd=code, error_line=last_error_line
    )
    if installed.error is not None:
        raise BadInput(f"lock: the locked packages cannot be installed: {installed.error}")
    return Workplace(code, Path(installed.output.strip().splitlines()[-1]))
