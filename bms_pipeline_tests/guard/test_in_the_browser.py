"""One log-in by a one-time code opens the console and Dagster's pages, in Chromium."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from playwright.sync_api import Browser, Page

from bms_pipeline.console.context import Console
from bms_pipeline.defs.pages import guarded
from bms_pipeline.guard.door import Door
from bms_pipeline_tests.building import World, opened_world
from bms_pipeline_tests.chromium import Mouse, chromium
from bms_pipeline_tests.console.serving import served
from bms_pipeline_tests.guard.conftest import Pages, serving


@pytest.fixture(scope="module")
def console(waiting_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with opened_world(tmp_path_factory.mktemp("both") / "home", like=waiting_world) as world:
        world.let_go_of_the_warehouse()
        with served(world.settings) as found:
            yield found


@pytest.fixture(scope="module")
def dagster(console: Console, context: WorkspaceProcessContext) -> Iterator[Pages]:
    store = console.guard.door.store
    with serving(lambda port: guarded(context, Door(store, port))) as port:
        yield Pages(port, store, context.instance)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1400, "height": 900}) as context:
        yield context.new_page()


def test_a_code_opens_both_and_a_launch_from_the_launchpad_is_vouched_for(
    page: Page, console: Console, dagster: Pages, tmp_path: Path
) -> None:
    refused: list[str] = []
    sockets: list[str] = []
    page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.goto(console.new_address())
    robin = Mouse(page)
    robin.type("Your name", "Robin")
    robin.press("Go on")
    assert "code=" not in page.url

    page.goto(f"{dagster.origin}/locations/bms_pipeline/jobs/exclude/playground")
    launch = page.get_by_role("button", name="Launch Run")
    launch.wait_for(timeout=60_000)
    page.wait_for_function("() => !document.querySelector('button[disabled]')?.innerText.includes('Launch Run')")
    launch.click(timeout=60_000)
    page.wait_for_url("**/runs/**", timeout=60_000)
    (run,) = dagster.instance.get_runs(limit=1)
    assert dagster.launched() == 1
    assert run.tags["bms_pipeline/vouched"].count(".") == 1
    assert sockets, "the run page follows its run"
    assert refused == []


def test_a_code_typed_on_dagsters_pages_opens_the_console_too(page: Page, console: Console, dagster: Pages) -> None:
    page.goto(f"{dagster.origin}/runs")
    page.get_by_label("One-time code").fill(dagster.store.new_code())
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Deployment").first.wait_for(timeout=60_000)
    page.goto(console.origin)
    page.get_by_label("Your name").wait_for(timeout=30_000)


def test_who_comes_by_a_link_from_elsewhere_opens_it_once_more(page: Page, console: Console, dagster: Pages) -> None:
    page.goto(console.new_address())
    page.get_by_label("Your name").wait_for(timeout=30_000)
    with Elsewhere(f"{dagster.origin}/runs") as elsewhere:
        page.goto(elsewhere)
        page.get_by_role("link", name="there").click()
        page.get_by_role("link", name="Open it").click()
        page.get_by_text("Deployment").first.wait_for(timeout=60_000)


class Elsewhere:
    """A page of another site with a link."""

    def __init__(self, address: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(f'<a href="{address}">there</a>'.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://localhost:{self._server.server_port}/"  # another site than 127.0.0.1

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
