"""The state in PostgreSQL: what happens when it is lost, restarted, shared by tenants, or named wrongly."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.bms.budget import Budget
from bms_pipeline.core.errors import LockLost, PipelineError, RunLocked, SettingsError, StateUnreachable
from bms_pipeline.core.settings import Settings
from bms_pipeline.state import session
from bms_pipeline.state.address import read_address
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.postgres import PostgresState
from bms_pipeline.state.protocol import LockName, StateDocument
from bms_pipeline.sync import run_lock
from bms_pipeline.sync.state_file import read_state
from bms_pipeline.warehouse.connection import open_warehouse
from bms_pipeline_tests.postgres import Server
from bms_pipeline_tests.state.conftest import PASSWORD, address_of, crash, settings_in

NOW = datetime(2026, 11, 26, 12, 0)
LIST = "GET /v2/list"


@pytest.fixture
def home(tmp_path: Path, address: str) -> Settings:
    """The settings of a home with its state in PostgreSQL."""
    return settings_in(tmp_path / "home", address)


def asked(server: Server, query: str) -> list[tuple[object, ...]]:
    """What the owner of the server answers to ``query``."""
    with psycopg.connect(host="127.0.0.1", port=server.port, user="dagster", autocommit=True) as owner:
        found = owner.execute(query)
        return found.fetchall() if found.description else []


def kill_sessions(server: Server) -> None:
    """End every session of the pipeline, as an administrator or a failover does."""
    asked(server, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'pipeline'")


# The lock


@pytest.mark.parametrize("lose", [kill_sessions, crash])
def test_a_run_whose_session_was_lost_writes_nothing_more(
    home: Settings, server: Server, lose: Callable[[Server], None]
) -> None:
    warehouse = open_warehouse(home)
    exclude = "INSERT INTO sync.exclusions (entity, bms_id) VALUES ('users', ?)"
    with contextlib.suppress(LockLost), run_lock.running(home, "the first run"):
        with warehouse.transaction() as connection:
            connection.execute(exclude, [1])
        lose(server)
        with pytest.raises(LockLost, match="writes nothing more"), warehouse.transaction() as connection:
            connection.execute(exclude, [2])
    assert open_state(home).read(StateDocument.PIPELINE_STATE) is None
    with run_lock.running(home, "the next run"), warehouse.open() as connection:
        assert connection.execute("SELECT bms_id FROM sync.exclusions").fetchall() == [(1,)]
    assert read_state(open_state(home)) is not None


def test_a_lock_that_was_lost_stays_lost_although_the_connection_may_come_back(home: Settings, server: Server) -> None:
    state = open_state(home)
    with state.locked(LockName.RUN, "a run", NOW) as lock:
        lock.check()
        kill_sessions(server)
        for _ in range(2):
            with pytest.raises(LockLost):
                lock.check()
        with state.locked(LockName.RUN, "the next", NOW) as of_the_next:
            of_the_next.check()
            with pytest.raises(LockLost):
                lock.check()


def test_a_session_that_no_longer_has_the_lock_counts_as_lost(home: Settings) -> None:
    """Behind a pooler that shares sessions, another session answers."""
    state = open_state(home)
    with state.locked(LockName.RUN, "a run", NOW) as lock:
        lock._connection.execute("SELECT pg_advisory_unlock_all()")  # type: ignore[attr-defined]
        with pytest.raises(LockLost):
            lock.check()


def test_who_waits_for_the_lock_waits_through_a_restart(home: Settings, server: Server, tmp_path: Path) -> None:
    state = open_state(home)
    waiting, got = threading.Event(), threading.Event()
    other = PostgresState(read_address(address_of(server)), "")

    def wait() -> None:
        waiting.set()
        with other.locked(LockName.RUN, "the second", NOW, wait_seconds=240) as lock:
            lock.check()
            got.set()

    with state.locked(LockName.RUN, "the first", NOW) as lock:
        waiter = threading.Thread(target=wait)
        waiter.start()
        waiting.wait(30)
        crash(server)
        with pytest.raises(LockLost):
            lock.check()
    waiter.join(240)
    assert got.is_set()


# PostgreSQL is lost


@contextlib.contextmanager
def away_for_a_while(server: Server) -> Iterator[None]:
    """PostgreSQL is stopped, and comes back while somebody waits."""
    server.stop("immediate")
    start = threading.Timer(1.0, server.start)
    start.start()
    try:
        yield
    finally:
        start.join()


def test_a_call_is_counted_after_postgresql_came_back_and_none_is_forgotten(home: Settings, server: Server) -> None:
    with contextlib.closing(Budget.of(home)) as budget:
        budget.take(LIST)
        with away_for_a_while(server):
            budget.take(LIST)
        assert budget.usage()[LIST]["used"] == 2


def test_documents_and_files_are_written_after_postgresql_came_back(home: Settings, server: Server) -> None:
    state = open_state(home)
    state.write(StateDocument.PIPELINE_STATE, b"before")
    with away_for_a_while(server):
        state.write(StateDocument.PIPELINE_STATE, b"after")
        state.import_files.write("clients-1.csv", b"content")
    assert state.read(StateDocument.PIPELINE_STATE) == b"after"
    assert state.import_files.read("clients-1.csv") == b"content"


def test_the_progress_of_a_run_does_not_wait_for_postgresql(
    home: Settings, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "wait", lambda _: pytest.fail("it waits"))
    state = open_state(home)
    state.write(StateDocument.RUN_STATUS, b"before")
    server.stop("immediate")
    try:
        for _ in range(3):
            with pytest.raises(StateUnreachable):
                state.write(StateDocument.RUN_STATUS, b"lost", patiently=False)
    finally:
        server.start()
    assert state.read(StateDocument.RUN_STATUS) == b"before"


def test_a_postgresql_that_stays_away_is_one_clear_error(
    home: Settings, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "PATIENCE_SECONDS", 0.3)
    state = open_state(home)
    state.write(StateDocument.PIPELINE_STATE, b"{}")
    server.stop("immediate")
    try:
        with pytest.raises(StateUnreachable) as error:
            run_lock.running(home).__enter__()
    finally:
        server.start()
    assert f"PostgreSQL at 127.0.0.1:{server.port}, database dagster, schema bms_pipeline" in error.value.message
    assert "Connection refused" in error.value.message
    assert "BMS_PIPELINE_STATE" in error.value.next_step


# Tenants and first starts


def test_two_tenants_in_one_database_never_meet(address: str, tmp_path: Path) -> None:
    names = ("", "acme", "Acme", "acme_run")
    states = [open_state(settings_in(tmp_path / f"home{place}", address, name)) for place, name in enumerate(names)]
    with contextlib.ExitStack() as held:
        for place, state in enumerate(states):
            held.enter_context(state.locked(LockName.RUN, f"run {place}", NOW))
            state.write(StateDocument.PIPELINE_STATE, f"state {place}".encode())
            state.import_files.write("clients-1.csv", b"")
        for place, state in enumerate(states):
            assert state.read(StateDocument.PIPELINE_STATE) == f"state {place}".encode()
            assert list(state.import_files.names()) == ["clients-1.csv"]


FIRST = """
import sys
from bms_pipeline.core.settings import read_settings
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.protocol import StateDocument
state = open_state(read_settings())
print("ready", flush=True)
sys.stdin.readline()
print(state.read(StateDocument.PIPELINE_STATE), flush=True)
"""


def test_first_starters_do_not_race(address: str, tmp_path: Path) -> None:
    environment = {"BMS_PIPELINE_HOME": str(tmp_path), "BMS_PIPELINE_STATE": address, "BMS_PIPELINE_LAKE": "lake"}
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for starter in starters:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "ready\n"
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("\n")
        starter.stdin.flush()
    assert [starter.communicate(timeout=60)[0] for starter in starters] == ["None\n"] * 4


def test_a_user_who_may_not_make_a_schema_learns_which_right_is_missing(server: Server, address: str) -> None:
    asked(server, "REVOKE CREATE ON DATABASE dagster FROM pipeline")
    try:
        with pytest.raises(StateUnreachable, match="permission denied") as refused:
            PostgresState(read_address(address), "new").read(StateDocument.PIPELINE_STATE)
        assert "GRANT CREATE ON DATABASE" in refused.value.next_step
        asked(server, "CREATE SCHEMA bms_pipeline_new AUTHORIZATION pipeline")
        assert PostgresState(read_address(address), "new").read(StateDocument.PIPELINE_STATE) is None
    finally:
        asked(server, "GRANT CREATE ON DATABASE dagster TO pipeline")


def test_without_a_run_no_connection_is_left_open(home: Settings, server: Server) -> None:
    state = open_state(home)
    state.read(StateDocument.PIPELINE_STATE)
    with state.locked(LockName.RUN, "a run", NOW), contextlib.closing(Budget.of(home)) as budget:
        budget.take(LIST)
    open_sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'pipeline' AND state <> 'disabled'"
    deadline = threading.Event()
    for _ in range(100):  # the server notices a closed connection in a moment
        if asked(server, open_sessions) == [(0,)]:
            return
        deadline.wait(0.05)
    raise AssertionError(asked(server, "SELECT query FROM pg_stat_activity WHERE usename = 'pipeline'"))


# The address and its password


@given(password=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_encoded_password_is_read_back_and_never_shown(password: str) -> None:
    address = read_address(f"postgresql://user:{quote(password, safe='')}@db.example/name")
    assert address.parameters["password"] == password
    assert str(address) == "PostgreSQL at db.example:5432, database name"
    assert password not in repr(address) or password in "Address()"


@pytest.mark.explores
@given(password=st.text(st.sampled_from("@/:%?#&= \\'ab2[]"), min_size=1).map(lambda text: f"zq{text}xw"))
def test_a_password_that_is_not_encoded_is_never_repeated(password: str) -> None:
    """Its parts would be taken for a host, a port, a database or an option."""
    try:
        shown = str(read_address(f"postgresql://user:{password}@db.example/name"))
    except SettingsError as refused:
        shown = "".join(traceback.format_exception(refused))
    assert "xw" not in shown
    assert "zq" not in shown


@pytest.mark.parametrize(
    "text", ["postgres", "mysql://u:canary@h/d", "host=h password=canary", "postgresql://u:canary@h:port/d", "canary"]
)
def test_what_is_no_address_is_refused_by_the_setting_s_name(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="BMS_PIPELINE_STATE is no address") as refused:
        open_state(settings_in(tmp_path, text))
    assert "canary" not in "".join(traceback.format_exception(refused.value))


def test_the_password_is_in_no_error_and_no_log(
    server: Server, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(session, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(session, "FIRST_SECONDS", 0.2)
    caplog.set_level(logging.DEBUG)
    wrong = (
        address_of(server, PASSWORD[::-1]), address.replace("/dagster", "/missing"),
        address.replace("127.0.0.1", "nowhere.invalid"), address.replace(str(server.port), "1"),
        address.replace("pipeline:", "nobody:"), f"{address}?sslmode=require",
    )  # fmt: skip
    shown = [repr(settings_in(tmp_path, address)), repr(open_state(settings_in(tmp_path, address)))]
    for text in wrong:
        with pytest.raises(PipelineError) as error:
            open_state(settings_in(tmp_path, text)).read(StateDocument.PIPELINE_STATE)
        shown += ["".join(traceback.format_exception(error.value)), error.value.message]
    for secret in (PASSWORD, PASSWORD[::-1], quote(PASSWORD, safe=""), quote(PASSWORD[::-1], safe="")):
        assert not [text for text in (*shown, caplog.text) if secret in text]


def test_a_wrong_password_is_tried_twice_and_no_more(
    server: Server, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may lock a user out after a few; a crash at the moment of the log-in looks the same once."""
    pauses: list[float] = []
    monkeypatch.setattr(session, "wait", pauses.append)
    with pytest.raises(StateUnreachable, match="password authentication failed"):
        PostgresState(read_address(address_of(server, "wrong")), "").read(StateDocument.PIPELINE_STATE)
    assert len(pauses) == 1


def test_the_message_of_a_refused_run_names_the_owner_and_no_secret(home: Settings, tmp_path: Path) -> None:
    state = open_state(home)
    with (
        state.locked(LockName.RUN, "a run", NOW),
        pytest.raises(RunLocked) as refused,
        state.locked(LockName.RUN, "another", NOW),
    ):
        raise AssertionError
    assert refused.value.message.startswith("a run (process ")
    assert PASSWORD not in str(refused.value)
