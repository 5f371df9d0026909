"""One log-in by a one-time code opens the console and Dagster's pages, in Chromium."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from playwright.sync_api import Browser, Locator, Page, TimeoutError

from bms_pipeline.console.context import Console
from bms_pipeline.definitions import defs as load_definitions
from bms_pipeline.defs.pages import behind_gate
from bms_pipeline.guard import vouching
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
    with serving(lambda port: behind_gate(context, Door(store, port))) as port:
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


@dataclass(frozen=True)
class Made:
    """A plan that a run in Dagster made on the console's home."""

    hash: str
    run_id: str


@pytest.fixture(scope="module")
def made(console: Console, dagster: Pages) -> Iterator[Made]:
    """The home of the console, which the settings name, with a plan that a Dagster run made there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BMS_PIPELINE_HOME", str(console.settings.bms_pipeline_home))
        job = load_definitions().resolve_job_def("plan")
        with ThreadPoolExecutor(1) as thread:  # in this one, Playwright's event loop is at work
            result = thread.submit(job.execute_in_process, instance=dagster.instance).result()
        (plan,) = result.asset_materializations_for_node("sync_plan")
        yield Made(str(plan.metadata["plan hash"].value), result.run_id)


def opened_by(page: Page, link: Locator) -> Page:
    """The page that a click on ``link`` opens.

    Dagster draws the log of a run again while it comes in. Where it does so between pressing and releasing, the click
    meets the table and not the link; a person clicks again.
    """
    for _ in range(10):
        with suppress(TimeoutError):
            with page.context.expect_page(timeout=5_000) as opened:
                link.click()
            return opened.value
    pytest.fail("no click opened a page")


@pytest.mark.parametrize("begins", ["/assets/sync_plan?view=overview", "/runs/{run_id}"])
@pytest.mark.parametrize("job", ["finish", "finish_clients"])
def test_a_plan_is_launched_with_two_clicks_after_it_was_made(
    page: Page, console: Console, dagster: Pages, made: Made, begins: str, job: str
) -> None:
    page.goto(f"{dagster.origin}/enter?code={dagster.store.new_code()}")
    page.get_by_text("Deployment").first.wait_for(timeout=60_000)
    page.set_viewport_size({"width": 1920, "height": 1080})
    page.goto(f"{dagster.origin}{begins.format(run_id=made.run_id)}")
    clicks, before = 0, dagster.instance.get_runs_count(dg.RunsFilter(job_name=job))

    link = page.locator(f'a[target="_blank"][href*="/jobs/{job}/playground/setup?config="]').first
    link.wait_for(timeout=60_000)
    launchpad = opened_by(page, link)
    clicks += 1
    launch = launchpad.get_by_role("button", name="Launch Run")
    launch.wait_for(timeout=60_000)
    launchpad.get_by_text(made.hash[:12]).first.wait_for(timeout=60_000)
    assert dagster.instance.get_runs_count(dg.RunsFilter(job_name=job)) == before, "opening the link launches nothing"
    launch.click(timeout=60_000)
    clicks += 1
    launchpad.wait_for_url("**/runs/**", timeout=60_000)

    assert clicks == 2
    (run,) = dagster.instance.get_runs(limit=1)
    assert run.job_name == job
    config: Mapping[str, Any] = run.run_config
    assert config["resources"]["approval"]["config"]["plan_hash"] == made.hash[:12]
    with vouching.vouched(console.settings, vouching.Launch(run.job_name, run.run_config, run.tags), "") as by:
        assert by == "", "the launch is vouched for; nobody gave a name"


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
