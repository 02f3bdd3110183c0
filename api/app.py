"""The HTTP API: `uvicorn api.app:served --factory`. Reads what the dataflows wrote; decides nothing."""

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
    "open to everybody are `/health`, `/metrics`, `/docs`, `/openapi.json` and `/schema-registry`."
)
READ_ROUTERS = (portfolio, orders, executions, lineage, market, models, news, signals)
"""What everybody may see who is logged in."""
PERMISSION_ROUTERS = (alerts, order_entry, risk, breakers, audit, auth, users, streams)
"""Each endpoint asks for a permission of its own."""
PUBLIC_ROUTERS = (health, schema_registry)
"""Asked by machines without a name: the supervisor, Prometheus, `kcat`."""

log = structlog.get_logger(__name__)


def create_app(settings: Settings | None = None, *, home: Path | None = None) -> FastAPI:
    """The application. Settings come from the files and the environment unless given. Raises BadInput."""
    resources = Resources(load_settings() if settings is None else settings, home)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(_make_first_user, resources)
        yield
        await resources.hub.close()
        resources.close()

    app = FastAPI(title="Institutional Trading Platform", version="0.1.0", description=DESCRIPTION, lifespan=lifespan)
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
    app.add_middleware(RequestIdMiddleware)  # outermost: the others' answers carry the id too
    for module in READ_ROUTERS:
        app.include_router(
            module.router,
            dependencies=[Depends(caller_with(Permission.READ))],
            responses=problems.problem_responses(400, 401, 403, 404, 422, 429, 503),
        )
    for router in (
        order_entry.router,
        alerts.router,
        risk.router,
        breakers.router,
        audit.router,
        auth.router,
        users.router,
        streams.router,
    ):
        app.include_router(router)
    for router in (health.router, schema_registry.router):
        app.include_router(router)
    return app


def served() -> FastAPI:
    """The application as the process `api`: it logs as the platform's other processes do. Raises BadInput."""
    logs.configure("api")
    settings = load_settings()
    logs.configure("api", settings.platform.log_level)
    return create_app(settings)


def _make_first_user(resources: Resources) -> None:
    """A database that is away, or not migrated yet, does not keep the API from starting: the first log-in tries
    again.
    """
    try:
        resources.accounts.make_first_user()
    except (DBAPIError, PoolTimeoutError) as error:
        log.warning("no first user yet", error=str(error).splitlines()[0])
