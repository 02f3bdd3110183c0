"""Read environment variables from the file `.env` next to `cli.py`. The environment has precedence.

The first process reads the file; its child processes inherit the variables. Uses only the standard library, because the
command line reads the file before any packages are installed.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from pathlib import Path

from schemas.errors import BadInput

ENV_FILE_VARIABLE = "PLATFORM_ENV_FILE"
"""The path of another file, or `off`."""
OFF = "off"
DEFAULT_FILE = Path(__file__).parents[1] / ".env"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTED = re.compile(r"""(?P<quote>['"])(?P<text>.*)(?P=quote)\s*(#.*)?""")


def use_env_file(environment: MutableMapping[str, str], default: Path = DEFAULT_FILE) -> None:
    """Add the variables that the file sets and `environment` does not, and set PLATFORM_ENV_FILE to `off` there.

    A file that PLATFORM_ENV_FILE names must exist; the default file is optional. Raises BadInput with file, line and
    error, and then adds nothing.
    """
    configured = environment.get(ENV_FILE_VARIABLE)
    if configured == OFF:
        return
    path = Path(configured) if configured else default
    try:
        values = parse_variables(path.read_text(), path)
    except FileNotFoundError as error:
        if configured:
            raise BadInput(f"{ENV_FILE_VARIABLE} names {path}, which does not exist") from error
        values = {}
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'expected UTF-8'}") from error
    for name, value in values.items():
        environment.setdefault(name, value)
    environment[ENV_FILE_VARIABLE] = OFF


def parse_variables(text: str, path: Path) -> dict[str, str]:
    """Parse the lines `NAME=VALUE` of a file. `#` starts a comment at the start of a line or after a space. A value in
    quotes is used without its quotes. Nothing in a value is expanded. Error messages never show a value: it may be a
    secret.

    >>> parse_variables("# account\\nINITIAL_CAPITAL=1000000  # dollars\\nexport A='b # c'\\n", Path(".env"))
    {'INITIAL_CAPITAL': '1000000', 'A': 'b # c'}
    """
    parsed: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip().removeprefix("export ").strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in stripped.partition("="))
        if not equals:
            raise BadInput(f"{path} line {number}: expected NAME=VALUE, found no '='")
        if not _NAME.fullmatch(name):
            raise BadInput(f"{path} line {number}: expected a name of letters, digits and _, found {name!r}")
        if name in parsed:
            raise BadInput(f"{path} line {number}: {name} is already set in an earlier line")
        parsed[name] = _value(value, f"{path} line {number}: {name}")
    return parsed


def _value(text: str, where: str) -> str:
    if text[:1] not in ("'", '"'):
        return "" if text.startswith("#") else re.split(r"\s+#", text, maxsplit=1)[0]
    quoted = _QUOTED.fullmatch(text)
    if quoted is None:
        raise BadInput(f"{where} expected a closing {text[0]} at the end, found none")
    if quoted["quote"] in quoted["text"]:
        raise BadInput(f"{where} expected no {text[0]} within the quotes, found one; use the other kind of quotes")
    return quoted["text"]
