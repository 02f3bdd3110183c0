"""`/docs`: the reference of the endpoints as one HTML page, generated from the OpenAPI description.

The page has no script and loads nothing, so it works without internet and its policy forbids everything else. The
usual viewers (Swagger UI, ReDoc) are loaded from a CDN.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

Tree = Mapping[str, Any]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem; color: #1d2733 }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccd5dd }
h3 { font: 600 1rem ui-monospace, monospace; margin: 1.6rem 0 .3rem }
h3 b { display: inline-block; min-width: 4.5rem; color: #0b62a4 }
table { border-collapse: collapse; margin: .4rem 0; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #e4e9ee }
th { font-weight: 600 } code { font: .9em ui-monospace, monospace } p { margin: .3rem 0 }
@media (prefers-color-scheme: dark) { body { background: #10161c; color: #d6dee6 } a, h3 b { color: #6db8f2 } }
"""
STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def install(app: FastAPI) -> None:
    """Serve the page at `/docs`. The description does not change while the process runs."""

    @cache
    def page() -> str:
        return "".join(render_page(app.openapi()))

    @app.get("/docs", include_in_schema=False)
    def get_docs() -> HTMLResponse:
        return HTMLResponse(page(), headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


def render_page(description: Tree) -> Iterator[str]:
    """Yield the page of an OpenAPI 3.1 description."""
    info = description["info"]
    title = escape(f"{info['title']} {info['version']}")
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
    yield f"<h1>{title}</h1><p>{_text(info.get('description', ''))}</p>"
    yield '<p>The same description for programs: <a href="/openapi.json">/openapi.json</a>.</p>'
    by_tag: dict[str, list[tuple[str, str, Tree]]] = {}
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault((operation.get("tags") or ["other"])[0], []).append((method.upper(), path, operation))
    links = [f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in sorted(by_tag)]
    yield f"<p>{' · '.join(links)}</p>"
    for tag in sorted(by_tag):
        yield f'<h2 id="{escape(tag)}">{escape(tag)}</h2>'
        for method, path, operation in by_tag[tag]:
            yield from _render_operation(method, path, operation)
    yield "<h2 id=schemas>Bodies</h2>"
    for name, schema in sorted(description.get("components", {}).get("schemas", {}).items()):
        yield from _render_schema(name, schema)


def _render_operation(method: str, path: str, operation: Tree) -> Iterator[str]:
    yield f"<h3><b>{method}</b>{escape(path)}</h3><p>{_text(operation.get('description', operation['summary']))}</p>"
    if not operation.get("security"):
        yield "<p>No token.</p>"
    rows = [
        (f"<code>{escape(one['name'])}</code>", escape(one["in"]), _type(one["schema"]), _note(one, one["schema"]))
        for one in operation.get("parameters", ())
    ]
    yield _table(("parameter", "in", "type", "description"), rows)
    if body := operation.get("requestBody"):
        yield f"<p>Body: {_media_type(body['content'])}</p>"
    statuses: Tree = operation["responses"]
    errors = [status for status in statuses if status.startswith(("4", "5"))]
    results = [
        f"{escape(status)} {_media_type(response.get('content', {}))}".strip()
        for status, response in statuses.items()
        if status not in errors
    ]
    yield f"<p>Response: {', '.join(results)}. Errors: {', '.join(map(escape, errors)) or 'none'}.</p>"


def _render_schema(name: str, schema: Tree) -> Iterator[str]:
    yield f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{_text(schema.get("description", ""))}</p>'
    required = set(schema.get("required", ()))
    rows = [
        (f"<code>{escape(field)}</code>", _type(one), _note({"required": field in required}, one))
        for field, one in schema.get("properties", {}).items()
    ]
    yield _table(("field", "type", "description"), rows)


def _table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = ["<tr><th>" + "<th>".join(titles), *("<tr><td>" + "<td>".join(row) for row in rows)]
    return f"<table>{''.join(lines)}</table>"


def _media_type(content: Tree) -> str:
    return next((_type(one.get("schema", {})) for one in content.values()), "")


def _type(schema: Tree) -> str:
    """Return the HTML of a type: a link to a schema, alternatives, a list, or a name with its allowed values."""
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).rsplit("/", 1)[1])
        return f'<a href="#{name}">{name}</a>'
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[key]))
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map to {_type(schema['additionalProperties'])}"
    return escape(str(schema.get("format") or schema.get("type", "any")))


def _note(owner: Tree, schema: Tree) -> str:
    notes = [schema.get("description", "")]
    if owner.get("required"):
        notes.append("required")
    elif schema.get("default") not in (None, ""):
        notes.append(f"default {schema['default']}")
    limits = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "above", "exclusiveMaximum": "below"}
    notes += [f"{words} {schema[name]}" for name, words in limits.items() if name in schema]
    return _text("; ".join(note for note in notes if note))


def _text(text: str) -> str:
    """Return the text as HTML: `code` in backquotes, everything else escaped."""
    parts = escape(" ".join(text.split())).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))
