"""A PostgreSQL for the tests of this folder, with a password, and the state in either place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from bms_pipeline.core.settings import Settings
from bms_pipeline.state import session
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.protocol import StateStore
from bms_pipeline_tests.postgres import Server, running_server, why_no_programs

PASSWORD = "Zebra/7:canary@9%?"  # its parts would be seen in a message, were it not encoded
"""The password of the user ``pipeline``; no log, error or page may show it."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test rests on how fast a busy machine starts PostgreSQL."""
    monkeypatch.setattr(session, "PATIENCE_SECONDS", 240.0)
    monkeypatch.setattr(session, "FIRST_SECONDS", 240.0)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A running PostgreSQL; its user ``pipeline`` may sign in by password only."""
    if why := why_no_programs():
        pytest.skip(why)
    with running_server() as server:
        with psycopg.connect(host="127.0.0.1", port=server.port, user="dagster", autocommit=True) as owner:
            owner.execute(f"CREATE ROLE pipeline LOGIN PASSWORD '{PASSWORD}'")
            owner.execute("GRANT CREATE ON DATABASE dagster TO pipeline")
        rules = server.folder / "data" / "pg_hba.conf"
        rules.write_text("host all pipeline 127.0.0.1/32 scram-sha-256\nhost all dagster 127.0.0.1/32 trust\n")
        server.run("pg_ctl", "-D", "data", "reload")
        yield server


def address_of(server: Server, password: str = PASSWORD, user: str = "pipeline") -> str:
    """The value of BMS_PIPELINE_STATE for ``server``."""
    return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{server.port}/dagster"


def crash(server: Server) -> None:
    """PostgreSQL crashes and starts again."""
    server.stop("immediate")
    server.start()


@pytest.fixture
def address(server: Server) -> str:
    """The address of a PostgreSQL in which nothing was ever stored."""
    with psycopg.connect(host="127.0.0.1", port=server.port, user="dagster", autocommit=True) as owner:
        found = owner.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'bms%'").fetchall()
        for (schema,) in found:
            owner.execute(f'DROP SCHEMA "{schema}" CASCADE')
    return address_of(server)


def settings_in(home: Path, address: str = "", name: str = "") -> Settings:
    """The settings of a home, with its state in PostgreSQL where there is an ``address``."""
    values = {"bms_pipeline_state": address, "bms_pipeline_lake": str(home.with_name("lake"))} if address else {}
    return Settings(_env_file=None, bms_pipeline_home=home, bms_pipeline_name=name, **values)  # type: ignore[call-arg, arg-type]


@pytest.fixture(params=["folder", "postgres"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> StateStore:
    """The state, once in the folder and once in PostgreSQL."""
    address = request.getfixturevalue("address") if request.param == "postgres" else ""
    return open_state(settings_in(tmp_path / "home", address))


@pytest.fixture
def elsewhere(state: StateStore, tmp_path: Path, request: pytest.FixtureRequest) -> StateStore:
    """The same state as another process sees it: of the same home, or of another host with a home of its own."""
    from bms_pipeline.state import opening

    opening._in_postgres.cache_clear()
    if state.is_shared:
        return open_state(settings_in(tmp_path / "another", request.getfixturevalue("address")))
    return open_state(settings_in(tmp_path / "home"))
