"""The read-only part of a Confluent schema registry, so that `kcat -s value=avro -r …/schema-registry` decodes topics.

Subjects are record names (RecordNameStrategy), because a topic holds several record types. Schema ids are those of
`schemas.codec`.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from schemas.codec import SCHEMA_IDS, load_older_schemas, schema_json

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"

router = APIRouter(prefix="/schema-registry", tags=["schema registry"])


def _subject(record_type: type) -> str:
    schema = json.loads(schema_json(record_type))
    return f"{schema['namespace']}.{schema['name']}"


class _Version(NamedTuple):
    """One schema of a subject; `version` counts 1, 2, 3 ... in order of schema id."""

    subject: str
    version: int
    schema_id: int
    schema: str


def _versions() -> list[_Version]:
    schemas = {
        number: (_subject(record_type), schema) for number, (record_type, schema) in load_older_schemas().items()
    }
    schemas |= {number: (_subject(kind), schema_json(kind)) for kind, number in SCHEMA_IDS.items()}
    counts: dict[str, int] = {}
    versions = []
    for number, (subject, schema) in sorted(schemas.items()):
        counts[subject] = counts.get(subject, 0) + 1
        versions.append(_Version(subject, counts[subject], number, schema))
    return versions


_BY_ID = {one.schema_id: one for one in _versions()}
_BY_SUBJECT: dict[str, list[_Version]] = {}
for _one in _BY_ID.values():
    _BY_SUBJECT.setdefault(_one.subject, []).append(_one)


def _response(body: Any, status: int = 200) -> JSONResponse:
    return JSONResponse(body, status, media_type=CONTENT_TYPE)


def _missing(code: int, message: str) -> JSONResponse:
    """Return an error in the format of a schema registry: clients read `error_code`."""
    return _response({"error_code": code, "message": message}, 404)


def _version(subject: str, version: str) -> dict[str, Any] | JSONResponse:
    versions = _BY_SUBJECT.get(subject)
    if versions is None:
        return _missing(40401, f"Subject '{subject}' not found.")
    latest = version in ("latest", "-1")
    entry = versions[-1] if latest else next((one for one in versions if str(one.version) == version), None)
    if entry is None:
        return _missing(40402, f"Version {version} not found.")
    return {
        "subject": subject,
        "version": entry.version,
        "id": entry.schema_id,
        "schemaType": "AVRO",
        "schema": entry.schema,
    }


@router.get("")
@router.get("/", include_in_schema=False)
def get_root() -> JSONResponse:
    """Clients call this to check that the registry is available."""
    return _response({})


@router.get("/schemas/types")
def get_types() -> JSONResponse:
    return _response(["AVRO"])


@router.get("/schemas/ids/{schema_id}")
def get_schema(schema_id: int) -> JSONResponse:
    """The schema with this id. The first five bytes of a message contain the id."""
    entry = _BY_ID.get(schema_id)
    return _missing(40403, f"Schema {schema_id} not found.") if entry is None else _response({"schema": entry.schema})


@router.get("/schemas/ids/{schema_id}/versions")
def get_schema_versions(schema_id: int) -> JSONResponse:
    entry = _BY_ID.get(schema_id)
    if entry is None:
        return _missing(40403, f"Schema {schema_id} not found.")
    return _response([{"subject": entry.subject, "version": entry.version}])


@router.get("/subjects")
def get_subjects() -> JSONResponse:
    return _response(sorted(_BY_SUBJECT))


@router.get("/subjects/{subject}/versions")
def get_versions(subject: str) -> JSONResponse:
    if subject not in _BY_SUBJECT:
        return _missing(40401, f"Subject '{subject}' not found.")
    return _response([one.version for one in _BY_SUBJECT[subject]])


@router.get("/subjects/{subject}/versions/{version}")
def get_version(subject: str, version: str) -> JSONResponse:
    """`version` is a number or "latest"."""
    entry = _version(subject, version)
    return entry if isinstance(entry, JSONResponse) else _response(entry)


@router.get("/subjects/{subject}/versions/{version}/schema")
def get_version_schema(subject: str, version: str) -> JSONResponse:
    entry = _version(subject, version)
    return entry if isinstance(entry, JSONResponse) else _response(json.loads(entry["schema"]))


@router.get("/config")
def get_config() -> JSONResponse:
    """BACKWARD: every release reads the messages of earlier releases, because the log is retained."""
    return _response({"compatibilityLevel": "BACKWARD"})


@router.get("/mode")
def get_mode() -> JSONResponse:
    return _response({"mode": "READONLY"})
