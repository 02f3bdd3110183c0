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
from api.tokens import SecondFactorRequired, Unauthenticated
from schemas.errors import BadInput, PlatformError, Unavailable

log = structlog.get_logger(__name__)

CONTENT_TYPE = "application/problem+json"
_INPUT_SHOWN_MAX = 100


class Forbidden(PlatformError):
    """The caller is authenticated but lacks the permission."""


class NotFound(PlatformError):
    """The requested object does not exist."""


class Conflict(PlatformError):
    """The request contradicts the current state."""


class UnacceptableOrder(PlatformError):
    """The order breaks a rule that does not depend on the account: lot, tick, or a price on the wrong side."""


class UnknownQueryParameter(BadInput):
    """The route does not declare this query parameter."""


class TooManyRequests(PlatformError):
    """The caller exceeded the rate limit. The caller may retry after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Problem(BaseModel):
    """`detail` is one sentence. `request_id` identifies the request in the log."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None


def _one_line(text: str) -> str:
    """Return the text on one line: a value from a request may contain line breaks."""
    return " ".join(text.split())


SECOND_FACTOR_REQUIRED = "urn:problem:second-factor-required"
"""The type of the problem that asks a client to send the log-in again with a code."""


def problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, *, type_: str = "about:blank"
) -> JSONResponse:
    request_id = request_ids.current_request_id.get()
    body = Problem(
        type=type_,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=_one_line(detail),
        request_id=request_id,
    )
    id_header = {} if request_id is None else {request_ids.REQUEST_ID_HEADER: request_id}
    return JSONResponse(body.model_dump(), status, {**id_header, **(headers or {})}, CONTENT_TYPE)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` argument of a router that documents these statuses as problems."""
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
    UnacceptableOrder: 422,
    UnknownQueryParameter: 422,  # before its base class
    BadInput: 400,
    Unavailable: 503,
}


def _platform_error(request: Request, error: Exception) -> JSONResponse:
    status = next((code for kind, code in _STATUS_OF.items() if isinstance(error, kind)), 500)
    headers = {}
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after_s)
    if status == 503:
        headers["Retry-After"] = "1"
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    type_ = SECOND_FACTOR_REQUIRED if isinstance(error, SecondFactorRequired) else "about:blank"
    return problem(status, str(error), headers, type_=type_)


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code == 404 and detail == "Not Found":
        detail = f"No endpoint at {request.url.path}. See /docs for the endpoints."
    return problem(error.status_code, detail, error.headers)


def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    location = " ".join(str(part) for part in first["loc"])
    if "password" in location or "token" in location:
        return problem(422, f"{location}: {first['msg']}.")  # never repeat a secret in a response
    input_text = repr(first.get("input"))
    shown = input_text if len(input_text) <= _INPUT_SHOWN_MAX else f"{input_text[:_INPUT_SHOWN_MAX]}…"
    return problem(422, f"{location}: {first['msg']}, found {shown}.")


def _database_error(request: Request, error: Exception) -> JSONResponse:
    log.warning("database request failed", path=request.url.path, error=str(error).splitlines()[0])
    if isinstance(error, ProgrammingError):
        return problem(503, "The database schema does not match this version. Run `python cli.py migrate`.")
    if isinstance(error, DataError):
        return problem(400, "A value is outside the range that the database can store.")
    if isinstance(error, OperationalError | PoolTimeoutError):
        return problem(503, "The database is unavailable.", {"Retry-After": "1"})
    return _unexpected_error(request, error)


def _unexpected_error(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", path=request.url.path, exc_info=error)
    return problem(500, "Unexpected error. The API log contains the details.")


class NulCharacterFilter:
    """ASGI middleware: rejects NUL characters in URLs. No name contains one, and PostgreSQL rejects them in queries."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and ("\0" in scope["path"] or b"%00" in scope["query_string"]):
            await problem(400, "A URL must not contain NUL characters.")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def install(app: FastAPI) -> None:
    """Register a handler for every kind of error that an endpoint can raise."""
    app.add_middleware(NulCharacterFilter)
    app.add_exception_handler(PlatformError, _platform_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(DBAPIError, _database_error)
    app.add_exception_handler(PoolTimeoutError, _database_error)
    app.add_exception_handler(Exception, _unexpected_error)
