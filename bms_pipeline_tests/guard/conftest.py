"""A home with a plan that waits, and Dagster's own web server on it: behind the gate, and bare.

Nothing launches what is launched: Dagster's queue keeps it, since no daemon runs. So tests see what would run.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.webserver import DagsterWebserver
from starlette.types import ASGIApp

from bms_pipeline.core.settings import Settings
from bms_pipeline.defs.pages import behind_gate
from bms_pipeline.guard.door import Door
from bms_pipeline.guard.serving import configured, listen
from bms_pipeline.guard.store import Store
from bms_pipeline_tests.building import World, account, contact, employee, in_passportal, opened_world

ROOT = Path(__file__).parents[2]
SELECTOR = {"repositoryLocationName": "bms_pipeline", "repositoryName": "__repository__"}
READ = "{ repositoriesOrError { ... on RepositoryConnection { nodes { jobs { name } } } } }"
FORGED = {"key": "bms_pipeline/vouched", "value": "forged"}


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def data(self) -> dict[str, Any]:
        """What GraphQL answered."""
        found = json.loads(self.text)
        assert "errors" not in found, found
        answer: dict[str, Any] = found["data"]
        return answer


@dataclass
class Pages:
    """Pages on a port of this machine."""

    port: int
    store: Store
    instance: dg.DagsterInstance
    cookie: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Count the runs that are there already: other tests have the same Dagster."""
        self._before = self.instance.get_runs_count()

    @property
    def origin(self) -> str:
        """Where they are."""
        return f"http://127.0.0.1:{self.port}"

    def sign_in(self) -> str:
        """A cookie that a one-time code opened."""
        answer = self.ask("GET", f"/enter?code={self.store.new_code()}")
        assert answer.status == 200
        return answer.headers["set-cookie"].partition(";")[0]

    def ask(self, method: str, path: str, body: str | None = None, **headers: str | None) -> Answer:
        """A request as nobody's browser sends it: only these headers (``Content_Type`` for Content-Type)."""
        sent = {"Host": f"127.0.0.1:{self.port}"} | {name.replace("_", "-"): text for name, text in headers.items()}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if body is not None:
                connection.putheader("Content-Length", str(len(body.encode())))
            for name, text in sent.items():
                if text is not None:
                    connection.putheader(name, text)
            connection.endheaders(body.encode() if body is not None else None)
            answer = connection.getresponse()
            found = {name.lower(): text for name, text in answer.getheaders()}
            return Answer(answer.status, found, answer.read().decode(errors="replace"))

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask as Dagster's own pages do in a browser that signed in."""
        self.cookie = self.cookie or self.sign_in()
        answer = self.ask(
            "POST", "/graphql", json.dumps({"query": query, "variables": variables}), Content_Type="application/json",
            Origin=self.origin, Sec_Fetch_Site="same-origin", Cookie=self.cookie,
        )  # fmt: skip
        assert answer.status == 200, answer
        return answer.data

    def launched(self) -> int:
        """How many runs were launched since."""
        return int(self.instance.get_runs_count()) - self._before


def execution(job: str, config: Any = None, **more: Any) -> dict[str, Any]:
    """What a launch of ``job`` sends, with a tag that only the gate may add."""
    return {
        "selector": {**SELECTOR, "jobName": job},
        "runConfigData": config or {},
        "mode": "default",
        "executionMetadata": {"tags": [FORGED]},
        **more,
    }


@contextlib.contextmanager
def serving(make: Any) -> Iterator[int]:
    """Serve the application that ``make`` makes for a port, in a thread; the port."""
    with listen(0) as listener:
        port = int(listener.getsockname()[1])
        app: ASGIApp = make(port)
        server = uvicorn.Server(configured(app))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture(scope="session")
def waiting_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A plan waits for a person; some records wait for a decision. To be copied."""
    with opened_world(tmp_path_factory.mktemp("guarded") / "home") as found:
        found.employees = [employee(1, "Ada", "Lovelace"), employee(2, "Bo", "Diddley")]
        found.accounts = [account(10, "Acme Ltd"), account(11, "Borealis")]
        found.contacts = [contact(100, 10, "Dee", "Dee", "dee@acme.example")]
        found.passportal_holds(clients=[in_passportal("P1", "Acme Ltd"), in_passportal("P2", "Boreal")])
        found.plan()
    return found


@pytest.fixture
def world(waiting_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A home of the test's own that goes on from there, which the settings name."""
    with opened_world(tmp_path / "home", like=waiting_world) as found:
        found.let_go_of_the_warehouse()
        _settings_of(found, tmp_path, monkeypatch)
        yield found


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkspaceProcessContext]:
    """Dagster with the shipped workspace, in a home of its own, which the environment names while it starts."""
    home = tmp_path_factory.mktemp("dagster")
    shutil.copyfile(ROOT / "dagster.yaml", home / "dagster.yaml")
    with (home / "dagster.yaml").open("a") as settings:  # else its process is a zombie that a later test is blamed for
        settings.write("code_servers:\n  wait_for_local_processes_on_shutdown: true\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        patch.setenv("BMS_PIPELINE_HOME", str(home / "pipeline"))
        with (
            dg.DagsterInstance.get() as instance,
            WorkspaceProcessContext(
                instance, workspace_load_target=WorkspaceFileTarget([str(ROOT / "workspace.yaml")])
            ) as found,
        ):
            patch.undo()
            yield found


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder of the gate."""
    return tmp_path_factory.mktemp("gate") / "home"


@pytest.fixture(scope="session")
def guarded_port(context: WorkspaceProcessContext, home: Path) -> Iterator[int]:
    """Where Dagster's pages are, behind the gate."""
    store = Store(home)
    with serving(lambda port: behind_gate(context, Door(store, port))) as port:
        yield port


@pytest.fixture(scope="session")
def bare_port(context: WorkspaceProcessContext) -> Iterator[int]:
    """Where Dagster's pages are as Dagster's own command serves them."""
    with serving(lambda _: DagsterWebserver(context).create_asgi_app()) as port:
        yield port


@pytest.fixture
def pages(context: WorkspaceProcessContext, guarded_port: int, home: Path) -> Pages:
    """Dagster's pages behind the gate, in front of somebody who has not signed in yet."""
    return Pages(guarded_port, Store(home), context.instance)


@pytest.fixture
def bare(context: WorkspaceProcessContext, bare_port: int, home: Path) -> Pages:
    """Dagster's pages without the gate."""
    return Pages(bare_port, Store(home), context.instance)


def _settings_of(world: World, folder: Path, patch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        patch.delenv(name.upper(), raising=False)
    patch.setenv("BMS_PIPELINE_HOME", str(world.settings.bms_pipeline_home))
    patch.chdir(folder)
