"""Hash of everything that determines a process: command, environment, user, code and settings files."""

import functools
import hashlib
import json
from pathlib import Path

from deploy.home import REPOSITORY
from deploy.supervisor.process_spec import ProcessKind, ProcessSpec

_CODE_FOLDERS = ("api", "configs", "dataflows", "deploy", "operators", "schemas", "sinks")
_CODE_SUFFIXES = (".py", ".yaml", ".avsc", ".properties", ".ini")
# Variables of the shell or of systemd that no process of the platform reads.
_SESSION_VARIABLES = frozenset(
    {"_", "COLUMNS", "DISPLAY", "HISTFILE", "LINES", "LS_COLORS", "OLDPWD", "PWD", "SHLVL", "TERM", "TERM_PROGRAM"}
    | {"TMUX", "TMUX_PANE", "TTY", "WINDOWID"}
    | {"INVOCATION_ID", "JOURNAL_STREAM", "MAINPID", "MANAGERPID", "NOTIFY_SOCKET", "SYSTEMD_EXEC_PID"}
)
_SESSION_PREFIXES = ("BASH_FUNC_", "DBUS_", "GPG_", "SSH_", "SUDO_", "VSCODE_", "XDG_SESSION")


@functools.cache
def code_fingerprint(root: Path = REPOSITORY) -> str:
    """Return a hash of the names, sizes and times of the platform's code and settings files at the first call."""
    stamps = [
        _stamp(path)
        for folder in _CODE_FOLDERS
        for path in sorted((root / folder).rglob("*"))
        if path.suffix in _CODE_SUFFIXES and "node_modules" not in path.parts
    ]
    stamps.append(_stamp(root / ".env"))
    return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return (str(path), -1, -1)
    return (str(path), status.st_size, status.st_mtime_ns)


def fingerprint(spec: ProcessSpec, code: str = "") -> str:
    """Return a hash of everything that determines a process. `code` is the fingerprint of its code, if it is ours."""
    environment = {
        name: value
        for name, value in spec.environment.items()
        if name not in _SESSION_VARIABLES and not name.startswith(_SESSION_PREFIXES)
    }
    settings_file = environment.get("PLATFORM_SETTINGS")
    parts = {
        "command": list(spec.command),
        "environment": sorted(environment.items()),
        "uid": spec.uid,
        "settings": _stamp(Path(settings_file)) if settings_file else None,
        "code": "" if spec.kind is ProcessKind.SERVICE else code or code_fingerprint(),
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
