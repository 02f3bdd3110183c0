"""Run a user's Python file as a module of its own, and find its declarations."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

from schemas.errors import BadInput

_sha256_by_module: dict[str, str] = {}


class _UncachedLoader(SourceFileLoader):
    """Always runs the file's present source. The bytecode cache compares only its length and modification second."""

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path)
        _sha256_by_module[fullname] = text_sha256(source)
        code: CodeType = self.source_to_code(source, self.path)
        return code


def text_sha256(source: bytes) -> str:
    """Return SHA-256 of the text of a file, whose hash does not depend on the line ends.

    >>> text_sha256(b"x = 1\\r\\n") == text_sha256(b"x = 1\\n")
    True
    """
    text = source.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    return hashlib.sha256(text.encode()).hexdigest()


def loaded_sha256(module_name: str) -> str:
    """Return SHA-256 of the text that `load_module` ran last for a module; "" for a module of the platform."""
    return _sha256_by_module.get(module_name, "")


def load_module(where: str, file: Path, prefix: str) -> ModuleType:
    """Run `file` (absolute) and return its module, whose name starts with `prefix`.

    Raises BadInput if the file fails. Its message starts with `where`.
    """
    # A unique name, so that a user's file never hides a module of the platform or of another file.
    module_name = f"{prefix}_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    spec = spec_from_file_location(module_name, file, loader=_UncachedLoader(module_name, str(file)))
    assert spec is not None and spec.loader is not None, f"no importer for {file}"
    module = module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise BadInput(f"{where}: the file fails with {on_one_line(error)}") from error
    return module


def on_one_line(error: Exception) -> str:
    """Return the type and text of an exception of the user's code on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def declaration_position(kind: type, name: str) -> tuple[str, int]:
    """Return the file and line where a class, or a method of it, assigns `name` last; else its own first line.

    A class without a readable file, such as one of a notebook, is at line 0 of its module.
    """
    try:
        file = inspect.getsourcefile(kind) or ""
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, TypeError):
        return kind.__module__, 0
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == kind.__name__]
    lines = [
        one.lineno
        for one in (node for definition in classes for node in ast.walk(definition))
        if isinstance(one, ast.Assign | ast.AnnAssign)
        and name in map(_name_of, one.targets if isinstance(one, ast.Assign) else [one.target])
    ]
    return file, max(lines) if lines else inspect.getsourcelines(kind)[1]


def _name_of(target: ast.AST | None) -> str | None:
    if isinstance(target, ast.Name):
        return target.id
    return target.attr if isinstance(target, ast.Attribute) else None
