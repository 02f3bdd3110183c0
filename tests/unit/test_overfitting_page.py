"""The worked example of docs/howto/overfitting.md prints what the page shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "overfitting.md"


def test_the_worked_example_prints_the_output_of_the_page() -> None:
    text = PAGE.read_text()
    code, expected = (re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "text"))
    assert code is not None and expected is not None
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(code[1], str(PAGE), "exec"), {})  # noqa: S102 - the page is part of this repository
    assert output.getvalue() == expected[1]
