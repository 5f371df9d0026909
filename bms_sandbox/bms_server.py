"""The stand-in for BMS as a web server on the loopback address, with a few calls of its own to steer it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import FastAPI, HTTPException

from bms_sandbox.behaviour import Behaviour
from bms_sandbox.bms_service import ROUTES, BmsService
from bms_sandbox.clock import Clock
from bms_sandbox.serving import serve_app
from bms_sandbox.tenant import Tenant

PREFIXES = ("", "/api2")
"""The API host answers without the prefix, the web portal with it."""


def create_app(tenant: Tenant, behaviour: Behaviour | None = None, clock: Callable[[], float] = time.time) -> FastAPI:
    """Create the application for ``tenant``; tokens, limits and dates go by ``clock`` until it is set."""
    app = FastAPI(title="BMS sandbox", docs_url=None, redoc_url=None, openapi_url=None)
    service = BmsService(tenant, behaviour or Behaviour(), Clock(clock))
    for route in ROUTES:
        for prefix in PREFIXES:
            # Every path parameter of this API is a record's id.
            path = prefix + route.path.replace("}", ":int}")
            app.add_route(path, service.endpoint(route), methods=[route.method])
    _add_steering(app, service)
    return app


def _add_steering(app: FastAPI, service: BmsService) -> None:
    """Add the calls under ``/sandbox``: they need no login, and BMS has none of them."""

    @app.get("/sandbox/health")
    async def health() -> dict[str, Any]:
        """Return the served tenant."""
        rows = {name: len(records) for name, records in service.tenant.rows.items()}
        return {"size": service.tenant.truth.size, "seed": service.tenant.truth.seed, "rows": rows}

    @app.get("/sandbox/calls")
    async def calls() -> dict[str, int]:
        """Return the calls so far, by method and route template."""
        return dict(service.limit.calls)

    @app.get("/sandbox/figures")
    async def figures() -> dict[str, Any]:
        """Return by method and route template: the most calls in any hour, those over the limit, and failed calls."""
        limit = service.limit
        return {"most_in_an_hour": dict(limit.most), "refused": dict(limit.refused), "failed": service.failed}

    @app.post("/sandbox/clock")
    async def set_clock(order: dict[str, float]) -> dict[str, float]:
        """Set the clock to ``{"now": seconds since the epoch}``, from where it runs on."""
        service.clock.set(order["now"])
        return order

    @app.post("/sandbox/reset-calls")
    async def reset_calls() -> dict[str, int]:
        """Forget all calls, also those that count towards the limit."""
        service.limit.reset()
        return {}

    @app.post("/sandbox/behaviour")
    async def behave(switches: dict[str, Any]) -> dict[str, Any]:
        """Set switches; return the behaviour from now on."""
        try:
            service.behave(service.behaviour.changed(switches))
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return service.behaviour.as_switches()

    @app.post("/sandbox/mutate")
    async def mutate(order: dict[str, Any]) -> Any:  # noqa: ANN401  # JSON
        """Change the tenant as in a day by ``{"seed": n}``, or in a number of ``"hours"``; return the changes."""
        return msgspec.to_builtins(service.mutate(order["seed"], order.get("hours", 24)))


def serve(
    tenant: Tenant,
    behaviour: Behaviour | None = None,
    *,
    port: int = 0,
    ready: Callable[[str], None] = lambda url: None,
    parent: int | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Serve ``tenant`` as ``serve_app`` does. Tokens and limits go by ``clock``."""
    serve_app(create_app(tenant, behaviour, clock), port=port, ready=ready, parent=parent)
