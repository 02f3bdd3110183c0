"""Errors as `application/problem+json` (RFC 9457): one sentence in `detail`, never a traceback."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from schemas.errors import BadInput, PlatformError, Unavailable

log = structlog.get_logger(__name__)

CONTENT_TYPE = "application/problem+json"


class NotFound(PlatformError):
    """What was asked for by name does not exist."""


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(body, status, dict(headers or {}), CONTENT_TYPE)


def _platform(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, NotFound):
        return problem(404, str(error))
    if isinstance(error, BadInput):
        return problem(400, str(error))
    return problem(503 if isinstance(error, Unavailable) else 500, str(error))


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code == 404 and detail == "Not Found":
        detail = f"There is nothing at {request.url.path}."
    return problem(error.status_code, detail, error.headers)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    place = " ".join(str(part) for part in first["loc"])
    return problem(422, f"{place}: {first['msg']}, found {first.get('input')!r}.")


def _database(request: Request, error: Exception) -> JSONResponse:
    log.warning("database did not answer", path=request.url.path, error=str(error).splitlines()[0])
    if isinstance(error, ProgrammingError):
        return problem(503, "The database has not the tables of this version: run `python cli.py migrate`.")
    if isinstance(error, OperationalError | PoolTimeoutError):
        return problem(503, "The database does not answer.", {"Retry-After": "1"})
    return _unexpected(request, error)


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", path=request.url.path, exc_info=error)
    return problem(500, "An unexpected error; the API's log has the details.")


def install(app: FastAPI) -> None:
    """Answer every kind of error that an endpoint can raise."""
    app.add_exception_handler(PlatformError, _platform)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(PoolTimeoutError, _database)
    app.add_exception_handler(Exception, _unexpected)
