"""Variables out of a file `.env` beside `cli.py`, for those that the environment does not set.

Read once, by the first process; what it starts inherits the variables. With the standard library alone: the command
line reads it before there are any packages.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from pathlib import Path

from schemas.errors import BadInput

ENV_FILE_VARIABLE = "PLATFORM_ENV_FILE"
"""Names another file, or says `off`."""
OFF = "off"
DEFAULT_FILE = Path(__file__).parents[1] / ".env"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTED = re.compile(r"""(?P<quote>['"])(?P<text>.*)(?P=quote)\s*(#.*)?""")


def use_env_file(environment: MutableMapping[str, str], default: Path = DEFAULT_FILE) -> None:
    """Add what the file sets and `environment` does not, and note there that this is done.

    A file that PLATFORM_ENV_FILE names must be there, the usual one need not. Raises BadInput with file, line and what
    is wrong, and adds nothing then.
    """
    configured = environment.get(ENV_FILE_VARIABLE)
    if configured == OFF:
        return
    path = Path(configured) if configured else default
    try:
        values = parse_variables(path.read_text(), path)
    except FileNotFoundError as error:
        if configured:
            raise BadInput(f"{ENV_FILE_VARIABLE} names {path}, which is not there") from error
        values = {}
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no UTF-8'}") from error
    for name, value in values.items():
        environment.setdefault(name, value)
    environment[ENV_FILE_VARIABLE] = OFF


def parse_variables(text: str, path: Path) -> dict[str, str]:
    """The lines `NAME=VALUE` of a file. `#` begins a comment, at the start of a line or behind a space; a value in
    quotes is taken as it is. Nothing in a value is replaced. Messages never show a value: it may be a secret.

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
            raise BadInput(f"{path} line {number}: {name} is set a second time")
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
