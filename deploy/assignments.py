"""Settings on the command line, each as SETTING=VALUE with a value in YAML."""

from __future__ import annotations

import json
from collections.abc import Iterable

from schemas.errors import BadInput


def parse_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """Return JSON by setting. Raises BadInput for a malformed assignment, or for a setting that is given twice.

    >>> parse_assignments(["risk_manager.max_daily_loss=500", "features.indicators=[sma_20]"])
    {'risk_manager.max_daily_loss': '500', 'features.indicators': '["sma_20"]'}
    """
    from yaml import YAMLError

    from configs.yaml_text import parse_yaml, yaml_problem

    values: dict[str, str] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        setting = name.strip()
        if not separator:
            raise BadInput(f"expected SETTING=VALUE without spaces, found {assignment!r}")
        if setting in values:
            raise BadInput(f"setting {setting} is given twice; give each setting once")
        try:
            values[setting] = json.dumps(parse_yaml(text), default=str)
        except YAMLError as error:
            found = f"found {text!r}: {yaml_problem(error, text)}"
            raise BadInput(f"setting {setting}: expected YAML, such as 500 or [sma_20], {found}") from error
    return values
