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
_INPUT_SHOWN_MAX = 100


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
    request_id = request_ids.current_request_id.get()
    body = Problem(
        type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail, request_id=request_id
    )
    id_header = {} if request_id is None else {request_ids.REQUEST_ID_HEADER: request_id}
    return JSONResponse(body.model_dump(), status, {**id_header, **(headers or {})}, CONTENT_TYPE)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
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


def _platform_error(request: Request, error: Exception) -> JSONResponse:
    status = next((code for kind, code in _STATUS_OF.items() if isinstance(error, kind)), 500)
    headers = {}
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after_s)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(status, str(error), headers)


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code == 404 and detail == "Not Found":
        detail = f"There is nothing at {request.url.path}."
    return problem(error.status_code, detail, error.headers)


def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    location = " ".join(str(part) for part in first["loc"])
    if "password" in location or "token" in location:
        return problem(422, f"{location}: {first['msg']}.")  # not to be repeated, not even to its owner
    input_text = repr(first.get("input"))
    shown = input_text if len(input_text) <= _INPUT_SHOWN_MAX else f"{input_text[:_INPUT_SHOWN_MAX]}…"
    return problem(422, f"{location}: {first['msg']}, found {shown}.")


def _database_error(request: Request, error: Exception) -> JSONResponse:
    log.warning("database did not answer", path=request.url.path, error=str(error).splitlines()[0])
    if isinstance(error, ProgrammingError):
        return problem(503, "The database has not the tables of this version: run `python cli.py migrate`.")
    if isinstance(error, DataError):
        return problem(400, "A value is outside of what the database can hold.")
    if isinstance(error, OperationalError | PoolTimeoutError):
        return problem(503, "The database does not answer.", {"Retry-After": "1"})
    return _unexpected_error(request, error)


def _unexpected_error(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", path=request.url.path, exc_info=error)
    return problem(500, "An unexpected error; the API's log has the details.")


class NulCharacterFilter:
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
    app.add_middleware(NulCharacterFilter)
    app.add_exception_handler(PlatformError, _platform_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(DBAPIError, _database_error)
    app.add_exception_handler(PoolTimeoutError, _database_error)
    app.add_exception_handler(Exception, _unexpected_error)
