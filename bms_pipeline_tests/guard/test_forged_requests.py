"""No web page and no other user of the machine gets anything out of Dagster's pages, or launches anything there."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from starlette.requests import HTTPConnection
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from bms_pipeline.core.settings import Settings
from bms_pipeline.defs.pages import behind_gate
from bms_pipeline.guard.door import Door, VisitRefused
from bms_pipeline.guard.store import Store
from bms_pipeline_tests.guard.conftest import READ, Answer, Pages, execution, serving

LAUNCH = "mutation ($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename } }"
LAUNCHING = {"query": LAUNCH, "variables": {"p": execution("initial_sync")}}
READING = {"query": READ}
EVERYWHERE = ("/", "/runs", "/graphql", "/server_info", "/logs/x/compute_logs/y.out", "/download_debug/x", "/notebook")

SOMEBODY_ELSES: dict[str, dict[str, str | None]] = {
    "no session": {"Cookie": None},
    "made-up session": {"Cookie": "bms_pipeline=1; {name}=x.1.y"},
    "session of another home on another port": {"Cookie": "{other}"},
    "that session under our name": {"Cookie": "{name}={other_value}"},
    "session that was signed out": {"Cookie": "{ended}"},
}
FOREIGN: dict[str, dict[str, str | None]] = {
    "rebound name": {"Host": "evil.example:{port}"},
    "rebound name without port": {"Host": "evil.example"},
    "another port": {"Host": "127.0.0.1:1"},
    "no host": {"Host": None},
    "foreign origin": {"Origin": "http://evil.example"},
    "origin of another port": {"Origin": "http://127.0.0.1:1"},
    "foreign origin and site": {"Origin": "http://evil.example", "Sec_Fetch_Site": "cross-site"},
    "own origin from another site": {"Sec_Fetch_Site": "cross-site"},
    "own origin from another port": {"Sec_Fetch_Site": "same-site"},
    "no origin": {"Origin": None},
    "null origin": {"Origin": "null"},
}
KINDS = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/graphql",
    "text/plain; application/json", "application/json, text/plain", "")  # fmt: skip


class Forger:
    """Somebody who sends what a browser would have sent, but for one thing."""

    def __init__(self, pages: Pages, folder: Path) -> None:
        self._pages = pages
        name, _, _ = pages.sign_in().partition("=")
        other_store = Store(folder / "other")
        other = Pages(pages.port, other_store, pages.instance)
        session = "abc.9999999999"
        other_value = f"{session}.{other_store.sign('session', session)}"
        self._words = {"port": other.port, "name": name, "other": f"x={other_value}", "other_value": other_value}
        self._words["ended"] = f"{name}={session}.{'0' * 64}"

    def send(
        self, method: str, path: str, payload: Any = None, headers: dict[str, str | None] | None = None, kind: str = ""
    ) -> Answer:
        own: dict[str, str | None] = {"Origin": self._pages.origin, "Cookie": self._pages.sign_in()}
        changed = {n: v.format(**self._words) if v else v for n, v in (headers or {}).items()}
        body = None if payload is None else json.dumps(payload)
        kinds: dict[str, str | None] = {"Content_Type": kind or "application/json"} if body else {}
        return self._pages.ask(method, path, body, **(own | kinds | changed))


@pytest.fixture
def forger(pages: Pages, tmp_path: Path) -> Forger:
    return Forger(pages, tmp_path)


def check(pages: Pages, answer: Answer) -> None:
    assert answer.status >= 400
    assert "incremental_sync" not in answer.text
    assert "LaunchRunSuccess" not in answer.text
    assert pages.launched() == 0


@pytest.mark.parametrize("what", [*SOMEBODY_ELSES, *FOREIGN])
def test_whoever_did_not_sign_in_or_comes_from_elsewhere_reads_and_launches_nothing(
    pages: Pages, forger: Forger, what: str
) -> None:
    headers = (SOMEBODY_ELSES | FOREIGN)[what]
    for payload in (READING, LAUNCHING):
        check(pages, forger.send("POST", "/graphql", payload, headers))
    if what in SOMEBODY_ELSES or "Host" in headers:
        for path in EVERYWHERE:
            check(pages, forger.send("GET", path, headers=headers))


@pytest.mark.parametrize("payload", [READING, LAUNCHING], ids=["read", "launch"])
@pytest.mark.parametrize("headers", [{}, {"Sec_Fetch_Site": "cross-site"}, {"Origin": None}], ids=str)
def test_no_question_in_an_address_is_answered(
    pages: Pages, forger: Forger, payload: dict[str, Any], headers: dict[str, str | None]
) -> None:
    address = "/graphql?" + urlencode(
        {name: part if name == "query" else json.dumps(part) for name, part in payload.items()}
    )
    for path in (address, address.replace("/graphql?", "/graphql/?")):
        check(pages, forger.send("GET", path, headers=headers))
        check(pages, forger.send("HEAD", path, headers=headers))
        check(pages, forger.send("POST", path, {}, headers=headers))


@pytest.mark.parametrize("kind", KINDS)
def test_only_json_is_taken(pages: Pages, forger: Forger, kind: str) -> None:
    check(pages, forger.send("POST", "/graphql", LAUNCHING, kind=kind or " "))
    check(pages, forger.send("POST", "/graphql?" + urlencode({"query": LAUNCH}), LAUNCHING, kind=kind or " "))


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_other_methods_are_refused(pages: Pages, forger: Forger, method: str) -> None:
    check(pages, forger.send(method, "/graphql", LAUNCHING))


def test_a_foreign_page_may_link_here_but_not_embed_or_fetch(pages: Pages, forger: Forger) -> None:
    site = {"Sec_Fetch_Site": "cross-site"}
    assert (
        forger.send("GET", "/", headers={**site, "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}).status
        == 200
    )
    for mode, destination in (("navigate", "iframe"), ("no-cors", "script"), ("cors", "empty")):
        check(pages, forger.send("GET", "/", headers={**site, "Sec_Fetch_Mode": mode, "Sec_Fetch_Dest": destination}))
    answer = forger.send("GET", "/")
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "{own}"},
        {"Cookie": "{cookie}"},
        {"Cookie": "{cookie}", "Origin": "http://evil.example"},
        {"Cookie": "{cookie}", "Origin": "null", "Sec-Fetch-Site": "same-origin"},
        {"Cookie": "{cookie}", "Origin": "{own}", "Sec-Fetch-Site": "cross-site"},
        {"Cookie": "{cookie}", "Origin": "{own}", "Host": "evil.example"},
    ],
    ids=str,
)
def test_no_websocket_opens_for_them(pages: Pages, headers: dict[str, str]) -> None:
    words = {"own": pages.origin, "cookie": pages.sign_in()}
    sent = {name: text.format(**words) for name, text in headers.items()}
    host = sent.pop("Host", None)
    address = f"ws://{host or '127.0.0.1'}:{pages.port}/graphql"
    with pytest.raises(InvalidStatus) as refused:
        _open(pages, address, sent)
    assert refused.value.response.status_code == 403


def test_a_websocket_of_somebody_who_signed_in_reads_and_never_launches(pages: Pages) -> None:
    headers = {"Cookie": pages.sign_in(), "Origin": pages.origin}
    with _open(pages, f"ws://127.0.0.1:{pages.port}/graphql", headers) as opened:
        opened.send(json.dumps({"type": "connection_init"}))
        assert json.loads(opened.recv(30)) == {"type": "connection_ack"}
        opened.send(json.dumps({"type": "start", "id": "1", "payload": LAUNCHING}))
        assert json.loads(opened.recv(30))["type"] == "error"
    assert pages.launched() == 0


def test_somebody_who_signed_in_has_all_of_dagsters_pages(pages: Pages) -> None:
    jobs = pages.graphql(READ)["repositoriesOrError"]["nodes"][0]["jobs"]
    assert {"name": "incremental_sync"} in jobs
    answer = pages.ask("GET", "/", Cookie=pages.cookie)
    assert answer.status == 200
    assert "script-src 'nonce-" in answer.headers["content-security-policy"]


def test_who_did_not_sign_in_is_shown_where_a_code_comes_from(pages: Pages) -> None:
    answer = pages.ask("GET", "/runs")
    assert answer.status == 403
    assert "bms-pipeline sign-in" in answer.text
    assert 'name="code"' in answer.text


def test_behind_a_proxy_with_its_own_log_in_no_code_is_needed_and_everything_else_is_checked(
    pages: Pages, context: WorkspaceProcessContext
) -> None:
    with serving(
        lambda port: behind_gate(context, Door(pages.store, port, hosts=["sync.example"], proxy=True))
    ) as port:
        behind = Pages(port, pages.store, pages.instance)
        own = {"Host": "sync.example", "Origin": "https://sync.example", "Content_Type": "application/json"}
        assert "incremental_sync" in behind.ask("POST", "/graphql", json.dumps(READING), **own).text
        for changed in (
            {"Host": "evil.example"},
            {"Origin": "https://evil.example"},
            {"Origin": f"http://127.0.0.1:{port}"},
            {"Origin": None},
            {"Sec_Fetch_Site": "cross-site"},
            {"Content_Type": "text/plain"},
        ):
            check(pages, behind.ask("POST", "/graphql", json.dumps(LAUNCHING), **{**own, **changed}))


def test_host_names_count_only_with_such_a_proxy(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, bms_pipeline_home=tmp_path, bms_pipeline_hosts="sync.example, B.example")  # type: ignore[call-arg]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [(b"host", b"b.example")]}
    with pytest.raises(VisitRefused, match="not ours"):
        Door.of(settings, 1, behind_proxy=True).check(HTTPConnection(scope))
    trusting = settings.model_copy(update={"bms_pipeline_trusted_proxy": True})
    assert Door.of(trusting, 1, behind_proxy=True).check(HTTPConnection(scope)).name == ""
    with pytest.raises(VisitRefused):
        Door.of(trusting, 1).check(HTTPConnection(scope))  # the console keeps its own log-in


def _open(pages: Pages, address: str, headers: dict[str, str]) -> Any:
    raw = socket.create_connection(("127.0.0.1", pages.port), timeout=30)
    others = {name: text for name, text in headers.items() if name != "Origin"}
    origin = Origin(headers["Origin"]) if "Origin" in headers else None
    protocols = [Subprotocol("graphql-ws")]
    return connect(address, sock=raw, additional_headers=others, origin=origin, subprotocols=protocols, proxy=None)
