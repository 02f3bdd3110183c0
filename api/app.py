"""The HTTP API: `uvicorn api.app:create_app --factory`. Reads what the dataflows wrote; decides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from api import metrics, problems
from api.resources import Resources
from api.routers import health, lineage, market, orders, portfolio, risk, schema_registry
from configs.settings import Settings, load_settings

DESCRIPTION = (
    "Money and quantities are JSON numbers, times ISO 8601 in UTC. Errors are `application/problem+json` with one "
    "sentence in `detail`."
)


def create_app(settings: Settings | None = None, *, home: Path | None = None) -> FastAPI:
    """The application. Settings come from the files and the environment unless given. Raises BadInput."""
    resources = Resources(load_settings() if settings is None else settings, home)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        resources.close()

    app = FastAPI(title="Institutional Trading Platform", version="0.1.0", description=DESCRIPTION, lifespan=lifespan)
    app.state.resources = resources
    problems.install(app)
    metrics.install(app, resources)
    for part in (portfolio, orders, lineage, market, risk, health, schema_registry):
        app.include_router(part.router)
    return app
