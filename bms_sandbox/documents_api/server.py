"""The stand-in for Passportal as a web application, with calls of its own that play the person at the keyboard."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exception_handlers import http_exception_handler
from starlette.exceptions import HTTPException as RouterRefused
from starlette.types import ASGIApp

from bms_sandbox.clock import Clock
from bms_sandbox.documents_api import people
from bms_sandbox.documents_api.behaviour import PassportalBehaviour
from bms_sandbox.documents_api.dump import dumped
from bms_sandbox.documents_api.service import ROUTES, DocumentsService, refused_by_router
from bms_sandbox.documents_api.store import Store
from bms_sandbox.hang_up import able_to_hang_up


def create_app(
    store: Store, behaviour: PassportalBehaviour | None = None, clock: Callable[[], float] = time.time
) -> ASGIApp:
    """The application that answers for ``store``; tokens and dates go by ``clock`` until that is set."""
    app = FastAPI(title="Passportal sandbox", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    service = DocumentsService(store, behaviour or PassportalBehaviour(), Clock(clock))
    for route in ROUTES:
        app.add_route(route.path, service.endpoint(route), methods=[route.method])
    _add_steering(app, service)
    _add_person(app, service)

    @app.exception_handler(RouterRefused)
    async def refuse(request: Request, error: RouterRefused) -> Response:
        if request.url.path.startswith("/sandbox"):
            return await http_exception_handler(request, error)
        return refused_by_router(service, error)

    return able_to_hang_up(app)


def _add_steering(app: FastAPI, service: DocumentsService) -> None:
    """The calls under ``/sandbox`` that no person does: no login, and nothing that Passportal has."""

    @app.get("/sandbox/health")
    async def health() -> dict[str, Any]:
        """How many records of each type are served."""
        rows: dict[str, int] = {}
        for each in service.store.records.values():
            rows[each.type] = rows.get(each.type, 0) + 1
        return {"rows": rows}

    @app.get("/sandbox/calls")
    async def calls() -> dict[str, int]:
        """Calls so far, by method and route template."""
        return dict(service.calls)

    @app.post("/sandbox/reset-calls")
    async def reset_calls() -> dict[str, int]:
        """Forget all calls."""
        service.calls.clear()
        return {}

    @app.post("/sandbox/clock")
    async def set_clock(order: dict[str, float]) -> dict[str, float]:
        """Set the clock to ``{"now": seconds since the epoch}``, from where it runs on."""
        service.clock.set(order["now"])
        return order

    @app.post("/sandbox/behaviour")
    async def behave(switches: dict[str, Any]) -> dict[str, Any]:
        """Set switches; the behaviour from now on."""
        try:
            service.behave(service.behaviour.changed(switches))
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return service.behaviour.as_switches()

    @app.get("/sandbox/records")
    async def records() -> list[dict[str, Any]]:
        """All that Passportal shows, as the embedded store's table has it."""
        return [dumped(each) for each in service.store.records.values() if not each.disabled]


def _add_person(app: FastAPI, service: DocumentsService) -> None:
    """The calls under ``/sandbox`` that do what a person does in Passportal's pages."""

    @app.get("/sandbox/users.csv")
    async def users() -> Response:
        """Export the users."""
        return Response(people.exported_users(service.store), media_type="text/csv")

    @app.post("/sandbox/import/{entity}")
    async def import_file(entity: str, request: Request) -> dict[str, int]:
        """Import the CSV that is the body: ``clients`` or ``users``."""
        try:
            text = (await request.body()).decode()
            return {"imported": people.import_file(service.store, entity, text, int(service.clock()))}
        except (ValueError, KeyError) as error:
            raise HTTPException(422, str(error)) from error

    @app.post("/sandbox/edit")
    async def edit(order: dict[str, Any]) -> dict[str, Any]:
        """Change one record as ``people.edit`` says; the record then."""
        try:
            return dumped(people.edit(service.store, order, int(service.clock())))
        except (ValueError, LookupError) as error:
            raise HTTPException(422, str(error)) from error
