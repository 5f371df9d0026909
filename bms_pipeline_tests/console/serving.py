"""A console that serves on a real socket, and a person in front of it who has no more than HTML forms."""

from __future__ import annotations

import contextlib
import html
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
import uvicorn

from bms_pipeline.console.app import create_app
from bms_pipeline.console.context import Console
from bms_pipeline.core.settings import Settings
from bms_pipeline.guard.serving import configured


@dataclass
class Person:
    """One browser: it follows links, keeps cookies, and sends the forms that a page holds as that page holds them."""

    console: Console
    name: str = "Alex"
    session: requests.Session = field(default_factory=requests.Session)
    page: requests.Response | None = None
    wanted: str = ""

    def __post_init__(self) -> None:
        """Open an address with a one-time code and say who it is; the way to the first page is not followed.

        ``wanted``: the address opened before the log-in.
        """
        self.session.trust_env = False
        self.session.headers["Connection"] = "close"  # so that nobody has to close it
        if self.wanted:
            self.get(self.wanted)
        leads_to = re.search(r'url=([^"]*)"', self.get(self.console.new_address()))
        assert leads_to
        self.get(html.unescape(leads_to[1]))
        self._post("/name", {**self.form("/name"), "name": self.name}, follows=False)

    @property
    def origin(self) -> str:
        """Where the console is."""
        return f"http://127.0.0.1:{self.console.port}"

    @property
    def source(self) -> str:
        """What the page is made of."""
        assert self.page is not None
        return self.page.text

    def get(self, address: str) -> str:
        """Open ``address``; what it shows."""
        self.page = self.session.get(urljoin(self.origin, address), timeout=60)
        return self.page.text

    def form(self, action: str) -> dict[str, list[str]]:
        """The fields of the page's form that is sent to ``action``, as they are when nobody touched them."""
        assert self.page is not None
        found = re.search(rf'<form method="post" action="{re.escape(action)}".*?</form>', self.page.text, re.DOTALL)
        assert found, f"no form for {action} on {self.page.url}: {self.page.text[-1500:]}"
        fields: dict[str, list[str]] = {}
        for tag in re.findall(r"<input[^>]*>", found.group()):
            said = {name: html.unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', tag)}
            is_choice = said.get("type") in ("checkbox", "radio")
            if "name" in said and " disabled" not in tag and (not is_choice or " checked" in tag):
                fields.setdefault(said["name"], []).append(said.get("value", "on" if is_choice else ""))
        return fields

    def send(self, action: str, **fields: Any) -> str:
        """Send the page's form for ``action`` with ``fields`` filled (None: left out); what comes back."""
        self._post(action, {**self.form(action), **fields}, follows=True)
        assert self.page is not None
        return self.page.text

    def upload(self, action: str, name: str, content: bytes) -> str:
        """Send the page's form for ``action`` with a file; what comes back."""
        assert self.page is not None
        [token] = re.findall(rf'action="{re.escape(action)}".*?name="csrf" value="(\w+)"', self.page.text, re.DOTALL)[
            :1
        ]
        self.page = self.session.post(
            urljoin(self.origin, action),
            data={"csrf": token},
            files={"file": (name, content, "text/csv")},
            headers={"Origin": self.origin},
            timeout=60,
        )
        return self.page.text

    def _post(self, action: str, fields: dict[str, Any], *, follows: bool) -> None:
        self.page = self.session.post(
            urljoin(self.origin, action),
            data={name: value for name, value in fields.items() if value is not None},
            headers={"Origin": self.origin},
            allow_redirects=follows,
            timeout=60,
        )

    @property
    def status(self) -> int:
        """The HTTP status of the last answer."""
        assert self.page is not None
        return self.page.status_code

    @property
    def text(self) -> str:
        """What the page says, without its tags."""
        assert self.page is not None
        body = re.sub(r"<(head|script|style)\b.*?</\1>", "", self.page.text, flags=re.DOTALL)
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


@contextlib.contextmanager
def served(settings: Settings, env_file: Path | None = None) -> Iterator[Console]:
    """A console on the home of ``settings``, in a thread; stopped on leaving."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = create_app(settings, listener.getsockname()[1], env_file or settings.bms_pipeline_home / ".env")
        server = uvicorn.Server(configured(app))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            # The kernel takes the call at once, and it is answered when the console is ready.
            requests.get(app.state.console.origin, headers={"Connection": "close"}, timeout=60)
            yield app.state.console
        finally:
            server.should_exit = True
            thread.join()
