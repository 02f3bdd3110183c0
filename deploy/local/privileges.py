"""Drop root privileges for PostgreSQL, which refuses to run as root.

The server runs as the user `nobody`. A state folder is often below a folder that only root can enter (`/root`, a
temporary folder with mode 0700). Then the child keeps CAP_DAC_READ_SEARCH as an ambient capability, so that no files
must be copied or opened to other users. With it, the server process could read any file; the platform's database role
is not a superuser and cannot make it do so.
Source: capabilities(7), section "Ambient"; PR_CAP_AMBIENT in prctl(2).
"""

import ctypes
import os
import signal
from pathlib import Path

NOBODY = 65534
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
_PR_SET_PDEATHSIG, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 28, 47, 2
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CAPABILITY_VERSION_3 = 0x20080522
_LIBC = ctypes.CDLL(None, use_errno=True)


def reachable(path: Path, uid: int = NOBODY) -> bool:
    """Return whether `uid` can enter `path` and every folder above it."""
    for folder in (path, *path.parents):
        status = folder.stat()
        if not status.st_mode & 0o001 and status.st_uid != uid:
            return False
    return True


def search_capability() -> int | None:
    """Return the weakest permitted capability that lets a user enter any folder; None if there is none.

    Containers often drop CAP_DAC_READ_SEARCH and keep CAP_DAC_OVERRIDE.
    """
    permitted = 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            permitted = int(line.split()[1], 16)
    return next((cap for cap in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if permitted >> cap & 1), None)


def become_user(uid: int, *, retain_search_capability: bool) -> None:
    """Switch from root to `uid`, in a child between fork and exec. Raises OSError if the kernel refuses."""
    capability = search_capability() if retain_search_capability else None
    if capability is not None:
        # Keeps capabilities across the change of user, also for access(2), with which initdb finds its programs.
        _libc_call("prctl", _PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    if capability is not None:
        bit = 1 << capability
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        # effective, permitted, inheritable for the low and then the high 32 capabilities
        data = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
        _libc_call("capset", header, data)
        _libc_call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def tie_to_parent() -> None:
    """Have the kernel kill this child when its parent ends. Call it between fork and exec, after a change of user."""
    _libc_call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _libc_call(name: str, *arguments: object) -> None:
    if getattr(_LIBC, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
