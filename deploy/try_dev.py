"""Start ``bms-pipeline dev``, sign in as a person does, and run a sync: for ``try_image.sh``, in the image.

Dagster's pages take the launch, its daemon takes the run from the queue, and the code server starts it: a run that
succeeds needs all three. The console has to answer too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import requests

from bms_pipeline.core.settings import read_settings
from bms_pipeline.guard.door import ENTER
from bms_pipeline.guard.store import Store

PAGES, CONSOLE = 3000, 3001
SELECTOR = {
    "repositoryLocationName": "bms_pipeline",
    "repositoryName": "__repository__",
    "jobName": "incremental_sync",
}
LAUNCH = """mutation ($parameters: ExecutionParams!) { launchPipelineExecution(executionParams: $parameters) {
    __typename ... on LaunchRunSuccess { run { runId } } } }"""
STATUS = "query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"
LOADED = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"


def main() -> int:
    """Start it, try it, end it, and return 0 if all of it worked."""
    dev = subprocess.Popen(["bms-pipeline", "dev"], stdin=subprocess.DEVNULL)
    try:
        browser = signed_in(f"http://127.0.0.1:{PAGES}")
        until(lambda: ask(browser, LOADED)["repositoriesOrError"].get("nodes"), "the code server has the definitions")
        launched = ask(browser, LAUNCH, parameters={"selector": SELECTOR, "runConfigData": {}, "mode": "default"})
        run = launched["launchPipelineExecution"]["run"]["runId"]
        ended = until(lambda: status_when_over(browser, run), "the run is over")
        console = requests.get(f"http://127.0.0.1:{CONSOLE}/healthz", timeout=30)
        print(json.dumps({"run": ended, "console": console.status_code}))
        return 0 if ended == "SUCCESS" and console.ok else 1
    finally:
        dev.terminate()
        dev.wait(60)


def signed_in(address: str) -> requests.Session:
    """Return a browser that is signed in, once the pages answer."""
    until(lambda: answers(address), "Dagster's pages answer")
    browser = requests.Session()
    browser.headers["Origin"] = address
    code = Store(read_settings().guard_folder).new_code()
    browser.get(f"{address}{ENTER}?code={code}", timeout=60)
    return browser


def answers(address: str) -> bool:
    """Whether something answers there."""
    try:
        return requests.get(address, timeout=60).status_code > 0
    except requests.RequestException:
        return False


def ask(browser: requests.Session, query: str, **variables: Any) -> Any:
    """Return what Dagster's pages answer."""
    asked = {"query": query, "variables": variables}
    return browser.post(f"{browser.headers['Origin']}/graphql", json=asked, timeout=60).json()["data"]


def status_when_over(browser: requests.Session, run: str) -> str | None:
    """Return how the run ended; None while it is at work."""
    status = str(ask(browser, STATUS, run=run)["runOrError"]["status"])
    return status if status in {"SUCCESS", "FAILURE", "CANCELED"} else None


def until(happened: Callable[[], Any], what: str, seconds: float = 600) -> Any:
    """Return what ``happened`` found, once it found something."""
    give_up = time.monotonic() + seconds
    while not (found := happened()):
        if time.monotonic() > give_up:
            raise SystemExit(f"Not within {seconds:.0f} s: {what}.")
        time.sleep(0.5)
    return found


if __name__ == "__main__":
    sys.exit(main())
