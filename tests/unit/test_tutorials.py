"""Every tutorial or README command that needs no running platform prints the output that the page shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tutorials import EVENTUALLY, HERE, PAGES, Command, PageFile, TutorialShell, output_matches, read_page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tutorial_commands_print_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PLATFORM_HOME": str(tmp_path / "var"), "PLATFORM_PYTHON_ENV": "current"}
    shell = TutorialShell(tmp_path, environment)
    try:
        shell.run_steps(read_page(page.read_text()), HERE)
    finally:
        shell.close()


PAGE = """
```python
# a.py
print(1)
```

```console
$ echo a \\
> b
a b
```

<!-- platform: eventually -->

```console
$ date
…
```
"""


def test_files_commands_and_markers_of_a_page_are_read() -> None:
    assert read_page(PAGE) == [
        PageFile("a.py", "# a.py\nprint(1)\n"),
        Command(8, HERE, "echo a \\\nb", "a b\n"),
        Command(16, EVENTUALLY, "date", "…\n"),
    ]
    with pytest.raises(ValueError, match="unknown comment"):
        read_page("<!-- platfrom -->\n```console\n$ true\n```\n")


def test_other_output_and_a_failing_command_are_detected(tmp_path: Path) -> None:
    shell = TutorialShell(tmp_path, os.environ)
    try:
        shell.run_steps([Command(1, HERE, "N=1", ""), Command(2, HERE, "echo $N", "1\n")], HERE)
        shell.run_steps([Command(1, HERE, "echo error: no; false", "error: no\n")], HERE)
        with pytest.raises(AssertionError, match="line 3"):
            shell.run_steps([Command(3, HERE, "echo 2", "1\n")], HERE)
        with pytest.raises(AssertionError, match="exit code 1"):
            shell.run_steps([Command(4, HERE, "echo 1; false", "1\n")], HERE)
    finally:
        shell.close()


def test_an_ellipsis_matches_text_in_a_line_or_any_lines() -> None:
    assert output_matches("a … c\n", "a  b  c\n")
    assert output_matches("…\nlast\n", "last\n")
    assert output_matches("first\n…\nlast\n", "first\n1\n2\nlast\n")
    assert not output_matches("a … c\n", "a b\nc\n")
    assert not output_matches("first\n", "first\nsecond\n")
    assert not output_matches("", "anything\n")
