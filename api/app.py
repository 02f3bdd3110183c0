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

from api import metrics, problems, reference_page
from api.access import caller_with
from api.client_address import ClientAddress
from api.query_parameters import reject_unknown_query_parameters
from api.request_ids import REQUEST_ID_HEADER, RequestIdMiddleware
from api.request_limits import RequestLimits
from api.resources import Resources
from api.roles import Permission
from api.routers import (
    alerts,
    audit,
    auth,
    breakers,
    cash_transfers,
    closed_lots,
    configuration,
    configuration_preview,
    configuration_requests,
    executions,
    exits,
    health,
    internal_crosses,
    lineage,
    market,
    models,
    news,
    order_entry,
    orders,
    portfolio,
    reconciliation,
    reference_data,
    releases,
    risk,
    schema_registry,
    signals,
    strategies,
    streams,
    suspensions,
    system,
    users,
)
from api.security_headers import SecurityHeaders
from configs import logs
from configs.settings import Settings, load_settings

DESCRIPTION = (
    "Money and quantities are JSON numbers, times ISO 8601 in UTC. Errors are `application/problem+json` with one "
    "sentence in `detail`. Log in with `POST /api/v1/auth/login` and send the token as `Authorization: Bearer …`; "
    "`/health`, `/docs`, `/openapi.json` and `/schema-registry` need no token, `/metrics` needs its own. An unknown "
    "query parameter is an error (422)."
)
READ_ROUTERS = (
    portfolio,
    closed_lots,
    orders,
    executions,
    internal_crosses,
    lineage,
    market,
    models,
    news,
    reference_data,
    signals,
    suspensions,
)
"""Every endpoint requires the permission READ, which all roles have."""
OTHER_ROUTERS = (
    *(order_entry, exits, cash_transfers, alerts, risk, breakers, reconciliation, releases, strategies),
    *(configuration, configuration_preview, configuration_requests, audit, auth, users, streams, health, system),
)
"""Each endpoint declares its own permission. /health is open."""

log = structlog.get_logger(__name__)


def create_app(settings: Settings | None = None, *, home: Path | None = None) -> FastAPI:
    """Return the application. The default settings are those of the files and the environment. Raises BadInput."""
    resources = Resources(load_settings() if settings is None else settings, home)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(_make_first_user, resources)
        yield
        await resources.hub.close()
        resources.close()

    app = FastAPI(
        title="Institutional Trading Platform",
        version="0.2.0",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # both load scripts from a CDN; `reference_page` serves /docs
        redoc_url=None,
    )
    app.state.resources = resources
    problems.install(app)
    metrics.install(app, resources)
    reference_page.install(app)
    app.add_middleware(RequestLimits, is_valid_token=resources.is_valid_token, registry=resources.registry)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=resources.settings.api.cors_origins,
        allow_methods=["*"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", REQUEST_ID_HEADER],
        expose_headers=[REQUEST_ID_HEADER, "Location", "Retry-After"],
    )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(ClientAddress, trusted_proxies=resources.settings.api.trusted_proxies)
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
    """Return the application for the process `api` and configure its log. Raises BadInput."""
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
