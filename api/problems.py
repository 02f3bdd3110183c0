"""Errors as `application/problem+json` (RFC 9457): one sentence in `detail`, never a traceback."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import DataError, DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from api import request_ids
from api.tokens import Unauthenticated
from schemas.errors import BadInput, PlatformError, Unavailable

log = structlog.get_logger(__name__)

CONTENT_TYPE = "application/problem+json"
_FOUND_MAX = 100


class Forbidden(PlatformError):
    """The caller is known and may not do this."""


class NotFound(PlatformError):
    """What was asked for by name does not exist."""


class Conflict(PlatformError):
    """It contradicts what is there already."""


class TooManyRequests(PlatformError):
    """The caller's rate is used up for `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Problem(BaseModel):
    """`detail` is one sentence. `request_id` finds the request in the log."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    request_id = request_ids.current.get()
    found = Problem(
        type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail, request_id=request_id
    )
    named = {} if request_id is None else {request_ids.HEADER: request_id}
    return JSONResponse(found.model_dump(), status, {**named, **(headers or {})}, CONTENT_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For `responses=` of a router: these statuses are problems."""
    reference = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "model": Problem,
            "content": {CONTENT_TYPE: {"schema": reference}},
        }
        for status in statuses
    }


_STATUS_OF: dict[type[PlatformError], int] = {
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooManyRequests: 429,
    BadInput: 400,
    Unavailable: 503,
}


def _platform(request: Request, error: Exception) -> JSONResponse:
    status = next((found for kind, found in _STATUS_OF.items() if isinstance(error, kind)), 500)
    headers = {}
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after_s)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(status, str(error), headers)


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
    if "password" in place or "token" in place:
        return problem(422, f"{place}: {first['msg']}.")  # not to be repeated, not even to its owner
    found = repr(first.get("input"))
    shown = found if len(found) <= _FOUND_MAX else f"{found[:_FOUND_MAX]}…"
    return problem(422, f"{place}: {first['msg']}, found {shown}.")


def _database(request: Request, error: Exception) -> JSONResponse:
    log.warning("database did not answer", path=request.url.path, error=str(error).splitlines()[0])
    if isinstance(error, ProgrammingError):
        return problem(503, "The database has not the tables of this version: run `python cli.py migrate`.")
    if isinstance(error, DataError):
        return problem(400, "A value is outside of what the database can hold.")
    if isinstance(error, OperationalError | PoolTimeoutError):
        return problem(503, "The database does not answer.", {"Retry-After": "1"})
    return _unexpected(request, error)


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", path=request.url.path, exc_info=error)
    return problem(500, "An unexpected error; the API's log has the details.")


class PlainAddresses:
    """ASGI middleware: no NUL in an address. No name holds one, and Postgres could not even be asked for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and ("\0" in scope["path"] or b"%00" in scope["query_string"]):
            await problem(400, "An address holds no NUL characters.")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def install(app: FastAPI) -> None:
    """Answer every kind of error that an endpoint can raise."""
    app.add_middleware(PlainAddresses)
    app.add_exception_handler(PlatformError, _platform)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(PoolTimeoutError, _database)
    app.add_exception_handler(Exception, _unexpected)
