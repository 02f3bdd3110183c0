"""Names of classes and files: each class has one name of its own, and no name is one of the vague ones."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("operators", "dataflows", "sinks", "api", "configs", "deploy", "schemas")
VAGUE = {"utils", "helpers", "common", "base", "core", "manager", "processor"}
CLASS = re.compile(r"^class ([A-Z]\w*)", re.MULTILINE)
ALIAS = re.compile(r"^([A-Z]\w*[a-z]\w*)(?:: TypeAlias)? = ", re.MULTILINE)


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): path.read_text() for path in files}


@pytest.fixture(scope="module")
def files_of_class(sources: dict[str, str]) -> dict[str, list[str]]:
    files = defaultdict(list)
    for file, source in sources.items():
        for name in CLASS.findall(source):
            files[name].append(file)
    return files


def test_no_two_modules_define_a_class_of_the_same_name(files_of_class: dict[str, list[str]]) -> None:
    assert len(files_of_class) > 500
    assert {name: files for name, files in files_of_class.items() if len(files) > 1} == {}


def test_no_type_alias_has_the_name_of_a_class(sources: dict[str, str], files_of_class: dict[str, list[str]]) -> None:
    aliases = [(file, name) for file, source in sources.items() for name in ALIAS.findall(source)]
    assert len(aliases) > 200
    assert [(file, name) for file, name in aliases if name in files_of_class] == []


def test_no_class_and_no_file_has_a_vague_name(sources: dict[str, str], files_of_class: dict[str, list[str]]) -> None:
    file_words = {file: set(Path(file).stem.split("_")) for file in sources}
    class_words = {name: {word.lower() for word in re.findall("[A-Z][a-z]+", name)} for name in files_of_class}
    assert [name for name, words in {**file_words, **class_words}.items() if words & VAGUE] == []
