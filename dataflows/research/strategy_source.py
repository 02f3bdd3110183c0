"""Find what a strategy's source must not do: read a clock, randomness or files, or keep memory on `self`."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import NamedTuple

from configs.source_files import declaration_position

_IMPURE_MODULES = frozenset({"asyncio", "http", "httpx", "io", "multiprocessing", "os", "pathlib", "random"})
_IMPURE_MODULES |= {"requests", "secrets", "shutil", "socket", "sqlite3", "subprocess", "tempfile", "threading"}
_IMPURE_MODULES |= {"time", "urllib"}
_IMPURE_CALLS = frozenset({"open", "input", "print", "exec", "eval"})
_CLOCK_CALLS = frozenset({"now", "utcnow", "today"})


class Finding(NamedTuple):
    """Something that makes a strategy unfit to trade.

    `check` is declarations, purity, dry run, orders, snapshots, look-ahead or warm-up.
    """

    check: str
    message: str
    file: str
    line: int

    def text(self) -> str:
        return f"{self.file}:{self.line}: {self.check}: {self.message}"


def purity_findings(strategy: object) -> list[Finding]:
    """Return the places in the strategy's file that read a clock, randomness or files, or change `self`."""
    file = inspect.getsourcefile(type(strategy)) or ""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    findings: list[Finding] = []
    for node in ast.walk(tree):
        findings += [Finding("purity", text, file, getattr(node, "lineno", 0)) for text in _impurities(node)]
    for one in ast.walk(tree):
        if isinstance(one, ast.ClassDef) and one.name == type(strategy).__name__:
            findings += _changes_of_self(one, file)
    return sorted(findings, key=lambda finding: finding.line)


def _impurities(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        return [f"imports {name}" for name in names if name.partition(".")[0] in _IMPURE_MODULES]
    if isinstance(node, ast.Global):
        return [f"changes the global variable {name}" for name in node.names]
    if isinstance(node, ast.Call):
        callee = node.func
        if isinstance(callee, ast.Name) and callee.id in _IMPURE_CALLS:
            return [f"calls {callee.id}()"]
        if isinstance(callee, ast.Attribute) and callee.attr in _CLOCK_CALLS:
            return [f"reads a clock: {ast.unparse(callee)}()"]
    if isinstance(node, ast.Attribute) and node.attr == "random" and isinstance(node.value, ast.Name):
        return [f"uses randomness: {ast.unparse(node)}"]
    return []


def _changes_of_self(class_definition: ast.ClassDef, file: str) -> list[Finding]:
    findings: list[Finding] = []
    for method in class_definition.body:
        if not isinstance(method, ast.FunctionDef) or method.name == "__init__":
            continue
        for node in ast.walk(method):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            findings += [
                Finding("purity", f"{method.name} changes {ast.unparse(target)}; use the state", file, target.lineno)
                for target in targets
                if isinstance(target, ast.Attribute)
                and isinstance(target.value, ast.Name)
                and target.value.id == "self"
            ]
    return findings


def at_class(check: str, message: str, kind: type) -> Finding:
    """Return a finding at the first line of a class."""
    return Finding(check, message, inspect.getsourcefile(kind) or "", inspect.getsourcelines(kind)[1])


def at_declaration(check: str, message: str, kind: type, name: str) -> Finding:
    """Return a finding where a class, or a method of it, assigns `name` last; else at the first line of the class."""
    return Finding(check, message, *declaration_position(kind, name))
