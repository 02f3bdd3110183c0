"""A program that fails, is missing or does not end is one sentence, wherever the platform runs one."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from deploy.run_program import run_program

ROOT = Path(__file__).parents[2]
ROOMS = ("api", "configs", "dataflows", "deploy", "operators", "schemas", "sinks")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ([sys.executable, "-c", "import sys; sys.exit('error: no such file')"], "error: no such file"),
        ([sys.executable, "-c", "raise SystemExit(7)"], "exited with status 7"),
        (["no-such-program-of-this-test"], "No such file or directory"),
        ([sys.executable, "-c", "import time; time.sleep(600)"], "did not finish within 1 s"),
    ],
)
def test_a_failure_is_a_sentence_and_never_an_exception(command: list[str], expected: str) -> None:
    timeout_s = 1.0 if "sleep" in command[-1] else 60.0
    assert run_program(command, timeout_s=timeout_s).error == expected


def test_the_output_of_a_program_that_succeeds_is_returned() -> None:
    result = run_program([sys.executable, "-c", "print('done')"], environment={}, timeout_s=60)
    assert (result.output.strip(), result.error) == ("done", None)


def test_each_program_that_has_a_time_limit_is_handled_when_it_reaches_the_limit() -> None:
    """`subprocess.run` raises TimeoutExpired, which is neither an OSError nor one of the platform's errors."""
    unhandled = [
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for room in ROOMS
        for file in (ROOT / room).rglob("*.py")
        if "node_modules" not in file.parts
        for call, handlers in _limited_runs(ast.parse(file.read_text(encoding="utf-8")))
        if not any("TimeoutExpired" in handler or "SubprocessError" in handler for handler in handlers)
    ]
    assert unhandled == []


def _limited_runs(tree: ast.AST, handlers: tuple[str, ...] = ()) -> list[tuple[ast.Call, tuple[str, ...]]]:
    """The calls of `subprocess.run` with a time limit, each with the exceptions that the code around it handles."""
    out: list[tuple[ast.Call, tuple[str, ...]]] = []
    if isinstance(tree, ast.Call) and ast.unparse(tree.func) == "subprocess.run":
        out += [(tree, handlers)] if any(keyword.arg == "timeout" for keyword in tree.keywords) else []
    inside = handlers
    if isinstance(tree, ast.Try):
        inside = (*handlers, *(ast.unparse(one.type) for one in tree.handlers if one.type is not None))
    for child in ast.iter_child_nodes(tree):
        is_tried = not isinstance(tree, ast.Try) or child in tree.body
        out += _limited_runs(child, inside if is_tried else handlers)
    return out
