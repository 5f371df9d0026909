"""SIGKILL of what Dagster consists of, in the middle of a sync: within a minute of a restart the next tick works.

Nothing is cleaned by hand: the same command is started again, as systemd would.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest
import requests

from bms_pipeline.guard.door import ENTER
from bms_pipeline.guard.store import Store
from bms_pipeline_tests.running import Home, running_home

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]
MINUTE = 60.0
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
SELECTOR = {"repositoryLocationName": "bms_pipeline", "repositoryName": "__repository__"}
LAUNCH = """mutation ($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) {
    __typename ... on LaunchRunSuccess { run { runId } } } }"""
RUNS = "{ runsOrError { ... on Runs { results { runId jobName status creationTime } } } }"


@dataclass
class Dagster:
    """`bms-pipeline dev` on a home folder, with a sync every minute."""

    home: Home
    port: int = field(default_factory=lambda: _free_port())
    process: subprocess.Popen[bytes] | None = None
    cookies: dict[str, str] = field(default_factory=dict)

    def start(self) -> float:
        """Start it and wait until it answers; the moment at which it was started."""
        started = time.time()
        with (self.home.folder / "dev.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bms_pipeline.cli", "dev", "--port", str(self.port), "--console-port", "0"],
                env={**self.home.environment, "BMS_PIPELINE_SYNC_CRON": "* * * * *"},
                cwd=self.home.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(lambda: self.answers(), "the web server answers", 120)
        return started

    def processes(self) -> list[psutil.Process]:
        """All processes that belong to it."""
        if self.process is None or self.process.poll() is not None:
            return []
        return [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]

    def stop(self) -> None:
        """Kill all of it, and wait until it is gone."""
        for each in self.processes():
            with suppress(psutil.NoSuchProcess):
                each.kill()
        if self.process is not None:
            self.process.wait(30)

    def ask(self, query: str, **variables: Any) -> Any:
        """GraphQL as the pages use it."""
        origin = f"http://127.0.0.1:{self.port}"
        if not self.cookies:
            code = Store(self.home.settings.guard_folder).new_code()
            self.cookies = dict(requests.get(f"{origin}{ENTER}?code={code}", timeout=30).cookies)
        answer = requests.post(
            f"{origin}/graphql",
            json={"query": query, "variables": variables},
            headers={"Origin": origin},
            cookies=self.cookies,
            timeout=30,
        ).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def answers(self) -> bool:
        """Whether the web server and the code behind it are there."""
        try:
            found = self.ask("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
        except requests.RequestException:
            return False
        return bool(found["repositoriesOrError"].get("nodes"))

    def launch(self, job: str, **resources: Any) -> str:
        """Launch a job as its launchpad does."""
        config = {"resources": {name: {"config": values} for name, values in resources.items()}}
        parameters = {"selector": {**SELECTOR, "jobName": job}, "runConfigData": config, "mode": "default"}
        launched = self.ask(LAUNCH, p=parameters)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def runs(self, since: float = 0) -> list[dict[str, Any]]:
        """The runs created since then, newest first."""
        found = self.ask(RUNS)["runsOrError"]["results"]
        return [each for each in found if each["creationTime"] >= since]

    def status(self, run: str) -> str:
        """The status of a run."""
        return next(str(each["status"]) for each in self.runs() if each["runId"] == run)


def until(happened: Callable[[], Any], what: str, seconds: float) -> None:
    """Wait until it happened; an assertion that it did."""
    give_up = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < give_up, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.5)


def _free_port() -> int:
    """A free port of those that no system hands out by itself, so that nobody gets it between two starts."""
    for port in random.sample(range(20_000, 30_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("A hundred ports are taken.")


def called(dagster: Dagster) -> int:
    """Calls that BMS got so far."""
    return sum(dagster.home.sandbox.calls().values())


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    with running_home(tmp_path_factory.mktemp("killed")) as home:
        assert home.call("sync", "--create-unmatched").returncode == 0
        dagster = Dagster(home)
        dagster.start()
        yield dagster
        dagster.stop()


VICTIMS: dict[str, Callable[[str], bool]] = {
    "run worker": lambda each: "multiprocessing.spawn" in each or "execute_run" in each,
    "daemon": lambda each: "bms_pipeline.defs.instance.daemon" in each,
    "web server": lambda each: "bms_pipeline.defs.pages" in each,
    "everything": lambda each: True,
}


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_minute_after_a_kill_and_a_restart_the_next_tick_works(dagster: Dagster, victim: str) -> None:
    dagster.home.sandbox.behave(latency_seconds=1.0)
    scope = {"clients": [], "full_sweep": True, "only_what_is_new": False}
    run = dagster.launch("incremental_sync", scope=scope)
    until(lambda: dagster.status(run) == "STARTED", "the run is at work", 120)
    begun = called(dagster)
    until(lambda: called(dagster) >= begun + 2, "it is in the middle of reading", 120)  # test_kill has all other points
    killed = [each for each in dagster.processes() if VICTIMS[victim](" ".join(each.cmdline()))]
    assert killed, [each.cmdline() for each in dagster.processes()]
    for each in killed:
        with suppress(psutil.NoSuchProcess):
            os.kill(each.pid, signal.SIGKILL)
    dagster.home.sandbox.behave(latency_seconds=0)
    restarted = time.time()
    if victim != "run worker":
        dagster.stop()
        restarted = dagster.start()

    def next_run() -> dict[str, Any] | None:
        return next(iter(reversed(dagster.runs(since=restarted))), None)

    until(lambda: (found := next_run()) and found["status"] in ENDED, "the next run is over", 4 * MINUTE)
    seconds = time.time() - restarted
    print(f"\n{victim}: {len(killed)} processes killed; the next run by itself was over after {seconds:.0f} s")
    found = next_run()
    assert found is not None
    assert found["status"] == "SUCCESS", "the schedule ticks once a minute, and its first tick works"
    until(lambda: dagster.status(run) in ENDED, "the killed run is known to be over", 4 * MINUTE)
    assert dagster.home.call("status").returncode == 0
