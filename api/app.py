"""The HTTP API: `uvicorn api.app:served --factory`. Serves what the dataflows wrote; makes no trading decisions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.concurrency import run_in_threadpool

from api import metrics, problems
from api.access import caller_with
from api.query_parameters import reject_unknown_query_parameters
from api.request_ids import REQUEST_ID_HEADER, RequestIdMiddleware
from api.resources import Resources
from api.roles import Permission
from api.routers import (
    alerts,
    audit,
    auth,
    breakers,
    executions,
    health,
    lineage,
    market,
    models,
    news,
    order_entry,
    orders,
    portfolio,
    risk,
    schema_registry,
    signals,
    streams,
    users,
)
from configs import logs
from configs.settings import Settings, load_settings

DESCRIPTION = (
    "Money and quantities are JSON numbers, times ISO 8601 in UTC. Errors are `application/problem+json` with one "
    "sentence in `detail`. Log in with `POST /api/v1/auth/login` and send the token as `Authorization: Bearer …`; "
    "`/health`, `/metrics`, `/docs`, `/openapi.json` and `/schema-registry` need no token. An unknown query parameter "
    "is an error (422)."
)
READ_ROUTERS = (portfolio, orders, executions, lineage, market, models, news, signals)
"""Every endpoint requires the permission READ, which all roles have."""
OTHER_ROUTERS = (order_entry, alerts, risk, breakers, audit, auth, users, streams, health)
"""Each endpoint declares its own permission. /health is open."""

log = structlog.get_logger(__name__)


def create_app(settings: Settings | None = None, *, home: Path | None = None) -> FastAPI:
    """Returns the application. The default settings are those of the files and the environment. Raises BadInput."""
    resources = Resources(load_settings() if settings is None else settings, home)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(_make_first_user, resources)
        yield
        await resources.hub.close()
        resources.close()

    app = FastAPI(title="Institutional Trading Platform", version="0.2.0", description=DESCRIPTION, lifespan=lifespan)
    app.state.resources = resources
    problems.install(app)
    metrics.install(app, resources)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=resources.settings.api.cors_origins,
        allow_methods=["*"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", REQUEST_ID_HEADER],
        expose_headers=[REQUEST_ID_HEADER, "Location", "Retry-After"],
    )
    app.add_middleware(RequestIdMiddleware)  # outermost, so that responses of the other middleware carry the id
    known_parameters = Depends(reject_unknown_query_parameters)
    for module in READ_ROUTERS:
        app.include_router(
            module.router,
            dependencies=[Depends(caller_with(Permission.READ)), known_parameters],
            responses=problems.problem_responses(400, 401, 403, 404, 422, 429, 503),
        )
    for module in OTHER_ROUTERS:
        app.include_router(module.router, dependencies=[known_parameters])
    # A schema registry ignores unknown parameters: Confluent's clients send optional ones.
    app.include_router(schema_registry.router)
    return app


def served() -> FastAPI:
    """Returns the application for the process `api` and configures its log. Raises BadInput."""
    logs.configure("api")
    settings = load_settings()
    logs.configure("api", settings.platform.log_level)
    return create_app(settings)


def _make_first_user(resources: Resources) -> None:
    """If the database is unavailable or not migrated yet, the API starts anyway and the first login retries."""
    try:
        resources.accounts.make_first_user()
    except (DBAPIError, PoolTimeoutError) as error:
        log.warning("first user not created", error=str(error).splitlines()[0])
