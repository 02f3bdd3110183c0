"""Write docs/settings.md from the settings classes: `python -m deploy.testing.settings_page`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import time
from decimal import Decimal
from inspect import cleandoc
from pathlib import Path
from textwrap import wrap
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, SecretStr

from configs.alerts import parse_duration
from configs.settings import ENVIRONMENT_VARIABLES, Settings, load_settings
from configs.settings.fields import key_types, meanings, sections_in
from configs.settings.sections import in_seconds
from deploy.home import REPOSITORY

PAGE = REPOSITORY / "docs" / "settings.md"
DEFAULT_LENGTH_MAX = 60
WIDTH = 118
SECONDS_FROM_TEXT = (in_seconds, parse_duration)
_SOURCES = {"alerts": "alerts.yaml", "database": "database.yaml", "kafka": "kafka_topics.yaml"}
_BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_TYPE_NAMES: Mapping[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "whole number",
    float: "number",
    Decimal: "number",
    Path: "path",
    time: "time of day",
    SecretStr: "secret",  # pragma: allowlist secret
    NoneType: "unset",
    Any: "any value",
}
INTRODUCTION = """\
<!-- Written by `python -m deploy.testing.settings_page` from the settings classes: edit their docstrings. -->

# Settings

This page lists all settings, one section for each part. It is generated from the classes of `configs/settings/` and
`operators/`, so that it describes exactly the keys that the platform accepts. An unknown key is an error.

A setting comes from the first of these places that has it: an environment variable, your settings file
(`--settings FILE`), the files of `configs/`, the default of the class. The name of the variable consists of the keys in
upper case with two underscores between them: `RISK_MANAGER__MAX_DAILY_LOSS=5000` sets this key:

```yaml
risk_manager:
  max_daily_loss: 5000
```

- The column *default* contains the value without a settings file of your own. A dash is an unset value; write `~` in
  YAML. Defaults of secrets are not shown ([secrets](security.md)).
- A duration is a whole number of seconds or a text such as `"30s"`, `"15m"` or `"1h"`; alerts also accept `"100ms"` and
  `immediate`.
- A limit that may be `unlimited` and is unset rejects every order.
- A rate is a number of requests per second, minute, hour or day, such as `600/minute`.
- The types have the limits that the classes declare. Further limits are checked when the settings are loaded, and the
  error names the setting, the value and what was expected.
- `[]` after a key marks a list with these keys in each entry. `.NAME` marks a mapping from a name to these keys.
- Settings that are *set by the platform* follow from other settings. Do not set them: a value of your own has no effect
  or is an error.
"""
ENVIRONMENT_INTRODUCTION = (
    "## Environment variables with short names\n\nThese variables set the same keys as the long names do."
)


class PageSection(NamedTuple):
    """One section of the page.

    path    its keys, such as `market_data.live`, with `[]` for a list and `.NAME` for a mapping
    cls     its class
    values  the values of `configs/`; None in a list or mapping, whose entries have the defaults of the class
    """

    path: str
    cls: type
    values: Any


def sections(path: str, cls: type, values: Any, seen: set[type]) -> Iterator[PageSection]:
    """Return a section and all sections inside, each class once."""
    seen.add(cls)
    yield PageSection(path, cls, values)
    for name, annotation in key_types(cls).items():
        if _is_set_by_platform(cls, name):
            continue
        for inner in sections_in(annotation):
            if inner not in seen:
                key = f"{path}.{name}" if path else name
                in_collection = _collection_suffix(annotation)
                value = None if in_collection or values is None else getattr(values, name)
                yield from sections(key + in_collection, inner, value, seen)


def _is_set_by_platform(cls: type, name: str) -> bool:
    meaning = meanings(cls).get(name)
    return meaning is not None and meaning.text.startswith("set by the platform")


def _collection_suffix(annotation: Any) -> str:
    """Return `[]` if the type is a list, `.NAME` if it is a mapping, "" otherwise."""
    for inner in _union_members(annotation):
        origin = get_origin(inner)
        if origin in (tuple, frozenset):
            return "[]"
        if origin in (dict, Mapping):
            return ".NAME"
    return ""


def _union_members(annotation: Any) -> Sequence[Any]:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def render_page() -> str:
    """Return the page. Raises KeyError for a setting without a meaning."""
    settings = load_settings(environment={})
    all_parts = list(sections("", Settings, settings, set()))
    titles = {part.cls: part.path for part in all_parts}
    blocks = [INTRODUCTION.rstrip(), *(render_section(part, titles) for part in all_parts), ENVIRONMENT_INTRODUCTION]
    rows = [f"| `{name}` | `{'.'.join(path)}` |" for name, path in ENVIRONMENT_VARIABLES.items()]
    blocks.append("\n".join(["| variable | setting |", "|---|---|", *rows]))
    return "\n\n".join(blocks) + "\n"


def render_section(part: PageSection, titles: Mapping[type, str]) -> str:
    """Return the heading and the table of one section. `titles` names the section of each class."""
    title = f"## {part.path}" if part.path else "## All parts"
    texts = meanings(part.cls)
    rows = ["| key | type | default | unit | meaning |", "|---|---|---|---|---|"]
    for name, annotation in key_types(part.cls).items():
        if name not in texts:
            raise KeyError(f"setting {part.path}.{name} has no meaning in the docstring of {part.cls.__name__}")
        text, unit = texts[name]
        if _is_set_by_platform(part.cls, name):
            kind, default = "", ""
        else:
            kind = _link_to_section(annotation, titles) or describe_type(annotation)
            default = _default_text(part, name, annotation)
        rows.append(f"| `{name}` | {kind} | {default} | {unit} | {_sentence(text)} |")
    return "\n\n".join([title, introduction(part.cls), "\n".join(rows)])


def introduction(cls: type) -> str:
    """Return the first paragraph of a docstring, without the sentence about the exceptions."""
    paragraph = " ".join(cleandoc(cls.__doc__ or "").partition("\n\n")[0].split())
    text = re.sub(r"\bNone\b", "Unset", re.sub(r" ?Raises BadInput [^.]*\.", "", paragraph))
    return "\n".join(wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False))


def _link_to_section(annotation: Any, titles: Mapping[type, str]) -> str:
    """Return a link to the keys of a type. Empty for a type without keys of its own."""
    sections = list(sections_in(annotation))
    if not sections:
        return ""
    title = titles[sections[0]]
    link = f"[`{title}`](#{_anchor(title)})"
    optional = " or unset" if NoneType in _union_members(annotation) else ""
    return {"": link, "[]": f"list of {link}", ".NAME": f"mapping of names to {link}"}[
        _collection_suffix(annotation)
    ] + optional


def _anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-")


def _sentence(text: str) -> str:
    text = re.sub(r"\bNone\b", "unset", text).replace("|", "\\|")
    text = re.sub(r"\bdocs/([\w/-]+\.md)", r"[docs/\1](\1)", text)
    first = text if text.startswith("`") else text[0].upper() + text[1:]
    return first if first.endswith(".") else f"{first}."


def describe_type(annotation: Any) -> str:
    """Return the accepted values of a type.

    >>> describe_type(Literal["a", "b"] | None)
    '`a`, `b` or unset'
    >>> describe_type(tuple[Path, ...])
    'list of path'
    """
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        if any(isinstance(each, BeforeValidator) and each.func in SECONDS_FROM_TEXT for each in metadata):
            optional = " or unset" if NoneType in _union_members(inner) else ""
            return _with_bounds("duration", metadata) + optional
        return _with_bounds(describe_type(inner), metadata)
    arguments = get_args(annotation)
    match get_origin(annotation):
        case None:
            return "section" if list(sections_in(annotation)) else _TYPE_NAMES[annotation]
        case origin if origin is Literal:
            return ", ".join(f"`{value}`" for value in arguments)
        case origin if origin in (Union, UnionType):
            return " or ".join(describe_type(each) for each in arguments)
        case origin if origin in (tuple, frozenset):
            return f"list of {describe_type(arguments[0])}"
        case _:
            return f"mapping of {describe_type(arguments[0])} to {describe_type(arguments[1])}"


def _with_bounds(kind: str, metadata: Sequence[Any]) -> str:
    bounds = " and ".join(_bounds(metadata))
    return f"{kind} {bounds}" if bounds else kind


def _bounds(metadata: Sequence[Any]) -> Iterator[str]:
    """Return the limits in the metadata of an annotation, such as `>= 1`."""
    for each in metadata:
        for bound in getattr(each, "metadata", [each]):
            for attribute, sign in _BOUNDS.items():
                if hasattr(bound, attribute):
                    yield f"{sign} {getattr(bound, attribute)}"


def _default_text(part: PageSection, name: str, annotation: Any) -> str:
    if _holds_secret(annotation):
        return "not shown"
    value = _class_default(part.cls, name) if part.values is None else getattr(part.values, name)
    is_section = bool(list(sections_in(annotation)))
    if is_section and value is not None and not _collection_suffix(annotation):
        return ""
    if value is MISSING:
        return "required"
    text = _value_text(value)
    if len(text) > DEFAULT_LENGTH_MAX:
        return f"see `configs/{_SOURCES.get(part.path.partition('.')[0], 'services.yaml')}`"
    return "–" if text == "" else f"`{text}`"


def _holds_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_holds_secret(each) for each in get_args(annotation))


def _class_default(cls: type, name: str) -> Any:
    """Return the default of a field. MISSING if it has none."""
    if issubclass(cls, BaseModel):
        setting = cls.model_fields[name]
        return MISSING if setting.is_required() else setting.get_default(call_default_factory=True)
    assert is_dataclass(cls), f"expected a model or a dataclass, found {cls}"
    field = next(field for field in fields(cls) if field.name == name)
    return field.default if field.default_factory is MISSING else field.default_factory()


def _value_text(value: Any) -> str:
    """Return a value as YAML has it on one line. Empty for an unset one."""
    match value:
        case None | "":
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.12g}"
        case Mapping():
            return "{" + ", ".join(f"{key}: {_value_text(inner)}" for key, inner in value.items()) + "}"
        case tuple() | frozenset():
            return "[" + ", ".join(_value_text(inner) for inner in value) + "]"
        case _ if list(sections_in(type(value))):
            cls = type(value)
            changed = {name: getattr(value, name) for name in key_types(cls)}
            return _value_text({name: each for name, each in changed.items() if each != _class_default(cls, name)})
        case _:
            return str(value)


def main() -> None:
    PAGE.write_text(render_page())
    print(f"wrote {PAGE.relative_to(REPOSITORY)}", file=sys.stderr)


if __name__ == "__main__":
    main()
