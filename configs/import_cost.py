"""Make the imports of a process cheaper. The packages `configs`, `dataflows` and `api` do this before anything else.

A start of the platform runs fifteen Python processes, and imports are most of their processor time. With the defaults
of Python and structlog, importing the features service takes 0.71 s of processor time, and the supervisor 0.85 s. With
both changes they take 0.60 s and 0.64 s.
"""

import gc
import sys
from contextlib import suppress

COLLECT_AFTER = 20_000
"""Number of new objects that starts a garbage collection; Python's default is 700. Imports create objects that are
never freed, so collections during imports are wasted. Reference counting, which frees all other objects, does not
change. Cyclic garbage is freed later; it takes some megabytes at most.
"""


def reduce_import_cost() -> None:
    """Collect garbage less often, and load structlog without rich."""
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
    _import_structlog_without_rich()


def _import_structlog_without_rich() -> None:
    """Import structlog while rich appears to be missing.

    structlog imports rich, with pygments and attrs, for tracebacks that `configs/logs.py` never prints. Programs that
    use rich themselves import it afterwards. The bootstrap of the command line runs without the platform's packages.
    """
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # None makes `import rich` fail
    try:
        with suppress(ImportError):
            import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
