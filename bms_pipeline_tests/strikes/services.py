"""Both stand-ins in threads of this process, each of which can be put into another state within milliseconds."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bms_sandbox.behaviour import Behaviour
from bms_sandbox.bms_server import create_app as bms_app
from bms_sandbox.documents_api import people
from bms_sandbox.documents_api.behaviour import PassportalBehaviour
from bms_sandbox.documents_api.dump import dumped
from bms_sandbox.documents_api.security import KEY_ID, SECRET
from bms_sandbox.documents_api.server import create_app as documents_app
from bms_sandbox.documents_api.store import Store
from bms_sandbox.security import PASSWORD, TENANT, USER
from bms_sandbox.tenant import Tenant

UNKNOWN = timedelta(seconds=1)
"""How long a write without answer may still take effect; the creates that come late have their own test."""


class Exchangeable:
    """An application in whose place another one can be put while it is served."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application of this moment answer."""
        assert self.app is not None
        await self.app(scope, receive, send)


class Late:
    """A gateway in front of ``app`` that takes the writes named by ``number``, hangs up, and delivers them later.

    ``numbers``: which `POST` of documents, counted from 1. Nothing is delivered before ``deliver``.
    """

    def __init__(self, app: ASGIApp, *numbers: int) -> None:
        self._app = app
        self._numbers = numbers
        self._seen = 0
        self._held: list[tuple[Scope, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer, or take the body and close the connection."""
        if scope["type"] == "http" and (scope["method"], scope["path"].endswith("/documents")) == ("POST", True):
            self._seen += 1
            if self._seen in self._numbers:
                self._held.append((scope, await _body(receive)))
                send.__self__.transport.close()  # type: ignore[attr-defined]  # uvicorn's own: ASGI cannot hang up
                return
        await self._app(scope, receive, send)

    @property
    def holds(self) -> int:
        """How many calls are under way."""
        return len(self._held)

    def deliver(self) -> None:
        """Let what was taken arrive now; its answers go nowhere."""

        async def arrive() -> None:
            for scope, body in self._held:

                async def receive(body: bytes = body) -> Message:
                    return {"type": "http.request", "body": body, "more_body": False}

                async def send(message: Message) -> None:
                    self.answers.append(message.get("status", 0))

                await self._app(scope, receive, send)

        self.answers: list[int] = []
        asyncio.run(arrive())
        self._held.clear()


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


@dataclass
class Served:
    """A stand-in that answers at ``url``."""

    url: str
    exchangeable: Exchangeable

    @property
    def port(self) -> int:
        """Of the address."""
        return int(self.url.rpartition(":")[2])


@contextmanager
def serving() -> Iterator[Served]:
    """Serve an exchangeable application in a thread of this process."""
    app = Exchangeable()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", app)
        finally:
            server.should_exit = True
            thread.join(10)


class Bms:
    """The stand-in for BMS."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self._apps: dict[int, ASGIApp] = {}

    def show(self, tenant: Tenant) -> None:
        """From now on, it is the BMS of ``tenant``."""
        app = self._apps.setdefault(id(tenant), bms_app(tenant, Behaviour().changed({"hourly_limit": None})))
        self.served.exchangeable.app = app

    def environment(self) -> dict[str, str]:
        """The settings by which the pipeline reaches it."""
        return {
            "BMS_URL": self.served.url,
            "BMS_TENANT": TENANT,
            "BMS_USERNAME": USER,
            "BMS_PASSWORD": PASSWORD,
            "BMS_CALLS_PER_HOUR": "100000",
            "BMS_CONNECTIONS": "1",
        }


class DocumentsApi:
    """The stand-in for Passportal's API."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        """What it holds."""
        assert self._store is not None
        return self._store

    def open(self, file: Path) -> None:
        """From now on, it is the Passportal of the store ``file``."""
        self._store = Store(file)
        self.served.exchangeable.app = documents_app(self._store, PassportalBehaviour())

    def late(self, *numbers: int) -> Late:
        """From now on, these creates are delivered late."""
        assert self.served.exchangeable.app is not None
        self.served.exchangeable.app = gateway = Late(self.served.exchangeable.app, *numbers)
        return gateway

    def environment(self, users_file: Path) -> dict[str, str]:
        """The settings by which the pipeline reaches it."""
        return {
            "PASSPORTAL_TARGET": "documents_api",
            "PASSPORTAL_URL": self.served.url,
            "PASSPORTAL_KEY_ID": KEY_ID,
            "PASSPORTAL_SECRET": SECRET,
            "PASSPORTAL_USERS_FILE": str(users_file),
            "PASSPORTAL_CONNECTIONS": "1",
            "PASSPORTAL_UNKNOWN_SECONDS": str(UNKNOWN.total_seconds()),
        }

    def records(self) -> list[dict[str, Any]]:
        """All that it shows, in the columns of the embedded store's table."""
        return [dumped(record) for record in self.store.records.values() if not record.disabled]

    def import_new_files(self, folder: Path, ticks: Path) -> list[str]:
        """Import what ``folder`` has and was not imported yet, as a person does who ticks files off; their names."""
        done = ticks.read_text().splitlines() if ticks.exists() else []
        new = [file for file in sorted(folder.glob("*.csv")) if file.name not in done]
        for file in new:
            people.import_file(self.store, file.name.partition("-")[0], file.read_text(), int(time.time()))
        ticks.write_text("".join(f"{name}\n" for name in (*done, *(file.name for file in new))))
        return [file.name for file in new]
