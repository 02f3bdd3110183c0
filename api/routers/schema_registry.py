"""The read side of a Confluent schema registry, so that `kcat -s value=avro -r …/schema-registry` decodes the topics.

Subjects are record names (RecordNameStrategy): a topic holds several record types. Ids are those of `schemas.codec`.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from schemas.codec import SCHEMA_IDS, schema_json

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
VERSION = 1

router = APIRouter(prefix="/schema-registry", tags=["schema registry"])

_TYPE_OF_ID = {schema_id: record_type for record_type, schema_id in SCHEMA_IDS.items()}


def _subject(record_type: type) -> str:
    schema = json.loads(schema_json(record_type))
    return f"{schema['namespace']}.{schema['name']}"


_TYPE_OF_SUBJECT = {_subject(record_type): record_type for record_type in SCHEMA_IDS}


def _answer(body: Any, status: int = 200) -> JSONResponse:
    return JSONResponse(body, status, media_type=CONTENT_TYPE)


def _missing(code: int, message: str) -> JSONResponse:
    """An error as registries answer it: their clients read `error_code`."""
    return _answer({"error_code": code, "message": message}, 404)


def _version(subject: str, version: str) -> dict[str, Any] | JSONResponse:
    record_type = _TYPE_OF_SUBJECT.get(subject)
    if record_type is None:
        return _missing(40401, f"Subject '{subject}' not found.")
    if version not in (str(VERSION), "latest", "-1"):
        return _missing(40402, f"Version {version} not found.")
    return {
        "subject": subject,
        "version": VERSION,
        "id": SCHEMA_IDS[record_type],
        "schemaType": "AVRO",
        "schema": schema_json(record_type),
    }


@router.get("")
@router.get("/", include_in_schema=False)
def get_root() -> JSONResponse:
    """Clients ask for this to see that a registry is there."""
    return _answer({})


@router.get("/schemas/types")
def get_types() -> JSONResponse:
    return _answer(["AVRO"])


@router.get("/schemas/ids/{schema_id}")
def get_schema(schema_id: int) -> JSONResponse:
    """The schema of an id that stands in a message's first five bytes."""
    record_type = _TYPE_OF_ID.get(schema_id)
    if record_type is None:
        return _missing(40403, f"Schema {schema_id} not found.")
    return _answer({"schema": schema_json(record_type)})


@router.get("/schemas/ids/{schema_id}/versions")
def get_schema_versions(schema_id: int) -> JSONResponse:
    record_type = _TYPE_OF_ID.get(schema_id)
    if record_type is None:
        return _missing(40403, f"Schema {schema_id} not found.")
    return _answer([{"subject": _subject(record_type), "version": VERSION}])


@router.get("/subjects")
def get_subjects() -> JSONResponse:
    return _answer(sorted(_TYPE_OF_SUBJECT))


@router.get("/subjects/{subject}/versions")
def get_versions(subject: str) -> JSONResponse:
    if subject not in _TYPE_OF_SUBJECT:
        return _missing(40401, f"Subject '{subject}' not found.")
    return _answer([VERSION])


@router.get("/subjects/{subject}/versions/{version}")
def get_version(subject: str, version: str) -> JSONResponse:
    """`version` is a number or "latest"."""
    found = _version(subject, version)
    return found if isinstance(found, JSONResponse) else _answer(found)


@router.get("/subjects/{subject}/versions/{version}/schema")
def get_version_schema(subject: str, version: str) -> JSONResponse:
    found = _version(subject, version)
    return found if isinstance(found, JSONResponse) else _answer(json.loads(found["schema"]))


@router.get("/config")
def get_config() -> JSONResponse:
    """New readers read old messages: the log is kept, so every release must."""
    return _answer({"compatibilityLevel": "BACKWARD"})


@router.get("/mode")
def get_mode() -> JSONResponse:
    return _answer({"mode": "READONLY"})
