"""Take the pictures of Dagster's pages in ``docs/images``; see `make pictures`.

Starts the sandbox and `dagster dev` in a temporary folder, launches the jobs as a person would, in the browser, and
stops everything it started.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests
from playwright.sync_api import Page, sync_playwright

from bms_pipeline.reports.plan_preview import write_html
from bms_pipeline.warehouse.connection import Warehouse
from bms_pipeline_tests.chromium import find_chromium
from bms_sandbox.passportal import fill_passportal
from bms_sandbox.process import running_sandbox
from docs.pictures import save

ROOT = Path(__file__).parents[1]
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDTH, HEIGHT = 1600, 1000
START_SECONDS = 120
RUN_SECONDS = 600


def main() -> None:
    """Launch the jobs and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="small", choices=("small", "typical"))
    size = parser.parse_args().size
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        with running_sandbox(size, 1, work / "tenant") as sandbox:
            home = work / "home"
            home.mkdir()
            fill_passportal(home / "passportal.duckdb", work / "tenant")
            settings = {
                "BMS_URL": sandbox.url,
                "BMS_TENANT": sandbox.login["tenant"],
                "BMS_USERNAME": sandbox.login["username"],
                "BMS_PASSWORD": sandbox.login["password"],
                "BMS_PIPELINE_HOME": str(home),
            }
            with _dagster(work / "dagster", settings) as url, _browser() as page:
                _take(page, url, home)


def _take(page: Page, url: str, home: Path) -> None:
    _launch(page, url, "initial_sync")
    _launch(page, url, "create_unmatched", "ops:\n  decide_create_unmatched:\n    config:\n      entities: [clients]\n")
    page.goto(f"{url}/locations/bms_pipeline/jobs/include/playground")
    page.locator(".CodeMirror").first.wait_for()
    time.sleep(5)
    _shoot(page, "launchpad")
    _launch(page, url, "plan")
    write_html(Warehouse(home / "warehouse.duckdb"), home / "plan.html")
    page.goto((home / "plan.html").as_uri())
    page.locator("details").first.evaluate("each => each.open = true")
    _shoot(page, "preview")
    page.goto(f"{url}/assets/sync_plan")
    waits = page.get_by_text(re.compile(r"plan_hash: [0-9a-f]{12}")).first
    waits.wait_for()
    plan_hash = waits.inner_text().removeprefix("plan_hash: ")
    _launch(page, url, "finish_clients", f"resources:\n  approval:\n    config:\n      plan_hash: {plan_hash}\n")
    _backfill(page, url)
    _shoot(page, "backfill")

    page.goto(f"{url}/automation")
    _settle(page, "hourly_sync")
    page.set_viewport_size({"width": WIDTH, "height": 600})
    _shoot(page, "automation")

    page.set_viewport_size({"width": WIDTH, "height": 360})
    page.goto(f"{url}/asset-groups")
    _settle(page, "reconcile")
    _shoot(page, "asset_graph")
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})

    page.goto(f"{url}/assets/sync_plan?view=events")
    _settle(page, "plan hash")
    _shoot(page, "plan")


def _launch(page: Page, url: str, job: str, run_config: str = "") -> str:
    """Launch ``job`` in its launchpad and wait for the run to succeed; the run's id."""
    page.goto(f"{url}/locations/bms_pipeline/jobs/{job}/playground")
    button = page.get_by_role("button", name=re.compile("launch run", re.IGNORECASE))
    button.wait_for()
    if run_config:
        editor = page.locator(".CodeMirror").first
        editor.wait_for()
        editor.evaluate("(element, text) => element.CodeMirror.setValue(text)", run_config)
    time.sleep(2)
    button.click()
    page.wait_for_url(re.compile(r"/runs/[0-9a-f-]{36}"), timeout=60_000)
    page.get_by_text("Success", exact=True).first.wait_for(timeout=RUN_SECONDS * 1000)
    return page.url.split("/runs/")[1][:36]


def _backfill(page: Page, url: str) -> None:
    """Materialize every client's partition as a person does, and wait until all of them are there."""
    give_up = time.monotonic() + START_SECONDS
    launch = page.get_by_role("button", name="Launch backfill")
    while time.monotonic() < give_up:  # until the sensor has seen the clients
        page.goto(f"{url}/assets/loaded_by_client?view=partitions")
        page.get_by_role("button", name=re.compile("materialize", re.IGNORECASE)).first.click()
        page.get_by_role("button", name="All", exact=True).click()
        time.sleep(3)
        if launch.is_enabled():
            break
    launch.click()
    give_up = time.monotonic() + RUN_SECONDS
    while time.monotonic() < give_up:
        page.goto(f"{url}/assets/loaded_by_client?view=partitions")
        _settle(page, "loaded_by_client")
        if page.get_by_text("Missing (0)").count() and page.get_by_text("Materializing (0)").count():
            break
    page.get_by_text("112", exact=True).first.click()
    _settle(page, "Metadata")


def _settle(page: Page, text: str) -> None:
    """Wait until ``text`` is there and what is fetched after it, too; the pages keep polling, so idle never comes."""
    page.get_by_text(text, exact=True).first.wait_for(timeout=60_000)
    time.sleep(5)


def _shoot(page: Page, name: str) -> None:
    save(page.screenshot(), name)


@contextmanager
def _browser() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(ARGUMENTS))
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=1.5)
        context.add_init_script("localStorage.setItem('dagster-nav-collapsed', 'true')")
        yield context.new_page()
        browser.close()


@contextmanager
def _dagster(home: Path, settings: dict[str, str]) -> Iterator[str]:
    """`dagster dev` in a home of its own; its address."""
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(ROOT / "workspace.yaml"), "-h", "127.0.0.1"]
    environment = {**os.environ, **settings, "DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment["BMS_PIPELINE_TRUSTED_PROXY"] = "1"  # nobody else is here: launches count without a log-in
    with (home / "dev.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # our own command
            [*command, "-p", str(port)], cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/server_info")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with suppress(ProcessLookupError):  # started from a script's background job, it ignores SIGTERM
                os.killpg(process.pid, signal.SIGKILL)


def _wait_for(url: str) -> None:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        with suppress(requests.RequestException):
            requests.get(url, timeout=5).raise_for_status()
            return
        time.sleep(0.5)
    raise TimeoutError(url)


if __name__ == "__main__":
    main()
