"""A stand-in for Passportal's API on a real socket, holding what a test puts into it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn
from pydantic import SecretStr

from bms_pipeline.core.settings import Settings
from bms_pipeline.passportal.documents.client import DocumentsClient
from bms_pipeline.passportal.documents.memory import RememberedDocuments
from bms_pipeline.passportal.documents.target import DocumentsPassportal
from bms_pipeline.warehouse.connection import connect
from bms_sandbox.documents_api.behaviour import PassportalBehaviour
from bms_sandbox.documents_api.security import KEY_ID, SECRET
from bms_sandbox.documents_api.server import create_app
from bms_sandbox.documents_api.store import Link, Record, Store
from bms_sandbox.documents_api.templates import TEMPLATES

START = 1_800_000_000
ACME, BETA = 11, 12


@dataclass
class Service:
    """A running stand-in. Its clock and ours is ``now``; ``pauses`` are the seconds that clients slept by it.

    ``meanwhile``: what a person does while a client sleeps, once.
    """

    url: str
    folder: Path
    store: Store
    now: float = START
    pauses: list[float] = field(default_factory=list)
    meanwhile: Callable[[], None] | None = None

    def settings(self, **overrides: Any) -> Settings:
        values = {
            "passportal_target": "documents_api",
            "passportal_url": self.url,
            "passportal_key_id": KEY_ID,
            "passportal_secret": SecretStr(SECRET),
            "bms_pipeline_home": self.folder / "home",
        }
        return Settings(_env_file=None, **{**values, **overrides})  # type: ignore[call-arg]

    def target(self, **overrides: Any) -> DocumentsPassportal:
        return DocumentsPassportal(self.settings(**overrides), clock=lambda: self.now, sleep=self.sleep)

    def client(self, **overrides: Any) -> DocumentsClient:
        return DocumentsClient(self.settings(**overrides), clock=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        if self.meanwhile is not None:
            act, self.meanwhile = self.meanwhile, None
            act()

    def behave(self, **switches: Any) -> None:
        self.steer("POST", "behaviour", switches)

    def calls(self) -> dict[str, int]:
        """Calls since they were last asked for, by method and route template."""
        made = self.steer("GET", "calls")
        self.steer("POST", "reset-calls")
        return dict(made)

    def record(self, record_id: str | int) -> dict[str, Any]:
        (found,) = (each for each in self.steer("GET", "records") if each["id"] == str(record_id))
        return dict(found)

    def titles(self, kind: str) -> list[str]:
        return sorted(each["title"] for each in self.steer("GET", "records") if each["type"] == kind)

    def hold(self, record_id: int, kind: str, title: str, template: int | None = None, **more: Any) -> None:
        """Enter a record as a person does; ``values`` by label."""
        client = more.pop("client_id", ACME if template else None)
        self.store.put([Record(record_id, kind, title, int(self.now), template=template, client_id=client, **more)])

    def edit(self, record_id: str | int, **changes: Any) -> None:
        self.steer("POST", "edit", {"id": str(record_id), **changes})

    def steer(self, method: str, verb: str, order: Any = None) -> Any:
        answer = requests.request(method, f"{self.url}/sandbox/{verb}", json=order, timeout=60)
        assert answer.ok, answer.text
        return answer.json()


def fill(service: Service) -> None:
    """Two clients and a document of each type that we write."""
    service.hold(ACME, "client", "Acme & Söhne, 100% +")
    service.hold(BETA, "client", "Beta")
    service.hold(101, "asset", "PC-1", 79, values={"Name": "PC-1", "Serial Number": "SN-1", "Hostname": "pc-1.local"})
    service.hold(102, "contact", "Ann Lee", 5000, values={
        "First Name": "Ann", "Last Name": "Lee", "Middle Name": "Q.", "Location": Link("HQ", 103, "location"),
        "Notes": "Prefers e-mail.\n\nNever before 10 am.",
    })  # fmt: skip
    service.hold(103, "location", "HQ", 5001, values={"Name": "HQ", "City": "Graz"})
    assert set(TEMPLATES) > {79, 5000, 5001}


class _Server:
    """One event loop for all stand-ins of a session: starting a thread and a loop for each would take longer."""

    def __init__(self) -> None:
        self._serving: list[Future[None]] = []
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def serve(self, folder: Path) -> tuple[Service, Callable[[], None]]:
        file = folder / "passportal.ndjson"
        Store.make(file, [])
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        service = Service(f"http://127.0.0.1:{listener.getsockname()[1]}", folder, Store(file))
        app = create_app(service.store, PassportalBehaviour(), lambda: service.now)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="critical", access_log=False, date_header=False, lifespan="off",
                           timeout_graceful_shutdown=1)
        )  # fmt: skip
        self._serving.append(asyncio.run_coroutine_threadsafe(server._serve([listener]), self.loop))

        def stop() -> None:
            """Let it end by itself: waiting for that takes a tenth of a second."""
            server.should_exit = server.force_exit = True

        return service, stop

    def close(self) -> None:
        for each in self._serving:
            each.result(60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(60)
        self.loop.close()


@pytest.fixture(scope="session")
def server() -> Iterator[_Server]:
    made = _Server()
    yield made
    made.close()


@pytest.fixture
def empty_service(server: _Server, tmp_path: Path) -> Iterator[Service]:
    """Holds nothing."""
    service, stop = server.serve(tmp_path)
    with kept_open(service.settings()):
        yield service
    stop()


@contextmanager
def kept_open(settings: Settings) -> Iterator[None]:
    """The pipeline's memory of a home folder, so that opening it once more takes no time."""
    RememberedDocuments(settings.documents_file).listed("asset")
    with closing(connect(settings.documents_file)) as memory:
        memory.execute("SET threads = 1")
        yield


@pytest.fixture
def service(empty_service: Service) -> Service:
    """Holds what ``fill`` enters."""
    fill(empty_service)
    return empty_service
