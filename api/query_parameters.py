"""Reject unknown query parameters: a misspelled filter must not return an unfiltered list."""

from __future__ import annotations

import json

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.requests import HTTPConnection

from api.problems import UnknownQueryParameter
from schemas.suggestions import did_you_mean

_NAME_SHOWN_MAX = 100


def reject_unknown_query_parameters(connection: HTTPConnection) -> None:
    """A dependency: raises UnknownQueryParameter (422) for a query parameter that the route does not declare.

    A WebSocket can only send a reason after it is accepted, so `api/routers/streams.py` calls `check` itself.
    """
    if connection.scope["type"] == "http":
        check(connection)


def check(connection: HTTPConnection) -> None:
    """Raises UnknownQueryParameter for the first query parameter that the matched route does not declare."""
    known = _declared(connection.scope["route"]) if connection.query_params else ()
    for name in connection.query_params:
        if name not in known:
            suggestion = did_you_mean(name, known, quote='"')
            expected = f"expected one of {', '.join(known)}" if known else "this endpoint has no query parameters"
            # As JSON, so that the message stays on one line.
            raise UnknownQueryParameter(
                f"unknown query parameter {json.dumps(name[:_NAME_SHOWN_MAX])}{suggestion or f'; {expected}'}"
            )


def _declared(route: APIRoute | APIWebSocketRoute) -> tuple[str, ...]:
    """Names of the query parameters of a route and of its dependencies, sorted."""
    names: set[str] = set()
    pending: list[Dependant] = [route.dependant]
    while pending:
        dependant = pending.pop()
        names |= {field.alias for field in dependant.query_params}
        pending += dependant.dependencies
    return tuple(sorted(names))
