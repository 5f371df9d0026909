"""Ways to call the sandbox from a test: over a socket, or the application itself with a clock that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import requests

from bms_sandbox.behaviour import Behaviour
from bms_sandbox.bms_server import create_app
from bms_sandbox.process import Sandbox
from bms_sandbox.security import PASSWORD, TENANT, USER
from bms_sandbox.tenant import Tenant

LOGIN = {"GrantType": "password", "UserName": USER, "Password": PASSWORD, "Tenant": TENANT}


class Clock:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Caller:
    """The application without a socket."""

    app: Any
    clock: Clock
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, query: dict[str, Any] | None = None) -> httpx.Response:
        return self.request("GET", path, params=query)

    def post(self, path: str, **form: Any) -> httpx.Response:
        return self.request("POST", path, **form)

    def request(self, method: str, path: str, **how: Any) -> httpx.Response:
        return asyncio.run(self._request(method, path, how))

    async def _request(self, method: str, path: str, how: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://sandbox", headers=self.headers) as client:
            return await client.request(method, path, **how)

    def log_in(self, **fields: str) -> httpx.Response:
        answer = self.post("/v2/security/authenticate", data={**LOGIN, **fields})
        envelope = {name.casefold(): value for name, value in answer.json().items()}
        if envelope["success"] is True:
            self.headers["Authorization"] = f"Bearer {envelope['result']['accessToken']}"
        return answer

    def rows(self, path: str, **query: Any) -> list[dict[str, Any]]:
        answer = self.get(path, query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["result"])


def caller(tenant: Tenant, **switches: Any) -> Caller:
    """A caller who is logged in already."""
    clock = Clock()
    made = Caller(create_app(tenant, Behaviour().changed(switches), clock), clock)
    assert made.log_in().status_code == 200
    return made


@contextmanager
def logged_in(sandbox: Sandbox) -> Iterator[requests.Session]:
    """A session with a token, over a socket."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(f"{sandbox.url}/v2/security/authenticate", data=LOGIN, timeout=60)
        session.headers["Authorization"] = f"Bearer {answer.json()['result']['accessToken']}"
        yield session
