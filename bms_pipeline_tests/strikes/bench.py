"""The bench on which strikes are tried: both stand-ins, a striker, and homes that are prepared once and then copied."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import duckdb

from bms_pipeline.core.settings import Settings
from bms_pipeline.passportal.documents.last_write import LastWrite
from bms_pipeline.state.opening import open_state
from bms_pipeline_tests.strikes import tiny
from bms_pipeline_tests.strikes.services import UNKNOWN, Bms, DocumentsApi, serving
from bms_pipeline_tests.strikes.shim import built_shim
from bms_pipeline_tests.strikes.striker import FINISH_CLIENTS, Kind, Order
from bms_sandbox.documents_api import people, seed
from bms_sandbox.documents_api.store import Store
from bms_sandbox.passportal import fill_passportal
from bms_sandbox.tenant import Tenant

Target = Literal["embedded", "documents_api"]
TARGETS: tuple[Target, ...] = ("embedded", "documents_api")
_IN_MEMORY = Path("/dev/shm")
_ROOM = 2 * 1024**3
"""The prepared homes and a case or two of each process take less."""
_RECORDS = """
CREATE TABLE records AS
SELECT row_number() OVER () AS number, id, type, client_id, title, details::MAP(VARCHAR, VARCHAR) AS details, marker
FROM (SELECT unnest(from_json($dump, '[{"id": "VARCHAR", "type": "VARCHAR", "client_id": "VARCHAR", "title": "VARCHAR",
      "details": "JSON", "marker": "VARCHAR"}]'), recursive := true))
"""
_TABLES = "SELECT schema_name, table_name FROM duckdb_tables()"


class Striker:
    """A warm process in whose children commands run; see ``striker``."""

    def __init__(self, shim: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bms_pipeline_tests.strikes.striker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )

    def obey(self, order: Order) -> int:
        """Run it; the exit code, or minus the signal that ended it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(order.to_json() + "\n")
        self._process.stdin.flush()
        code: int = json.loads(self._process.stdout.readline())["code"]
        return code

    def close(self) -> None:
        """End it."""
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()


@dataclass
class Case:
    """One home folder with what lies around it: the store behind the API, the users' export, files a person ticked."""

    folder: Path
    target: Target
    bench: Bench
    tenant: Tenant
    runs: int = 0

    def __post_init__(self) -> None:
        """Let the stand-ins answer as this case needs it."""
        self.bench.bms.show(self.tenant)
        if self.target == "documents_api":
            self.bench.api.open(self.store_file)

    @property
    def home(self) -> Path:
        """What ``BMS_PIPELINE_HOME`` names."""
        return self.folder / "home"

    @property
    def store_file(self) -> Path:
        """Where the stand-in for Passportal's API keeps its records."""
        return self.folder / "passportal.ndjson"

    @property
    def report(self) -> Path:
        """What the last armed run reported."""
        return self.folder / "report.txt"

    @property
    def warehouse_file(self) -> Path:
        """The warehouse."""
        return self.home / "warehouse.duckdb"

    @property
    def environment(self) -> dict[str, str]:
        """Of every command."""
        users = self.folder / "users.csv"
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "BMS_PIPELINE_HOME": str(self.home),
            "BMS_PIPELINE_WAIT_SECONDS": "5",
            **self.bench.bms.environment(),
            **(self.bench.api.environment(users) if self.target == "documents_api" else {}),
        }

    def run(
        self, *arguments: str, kind: Kind = "none", what: str = "", nth: int = 0, ahead: float = 0, **env: str
    ) -> int:
        """Run a command, struck or not; its exit code. What it printed is appended to ``output``.

        ``ahead``: so many seconds after now, by its clock.
        """
        self.runs += 1
        self.report.unlink(missing_ok=True)
        with self.output_file.open("a") as output:
            output.write(f"\n--- {' '.join(arguments)} [{kind} {what} {nth}]\n")
        return self.bench.striker.obey(
            Order(
                home=str(self.home),
                arguments=list(arguments),
                environment={**self.environment, **env},
                output=str(self.output_file),
                report=str(self.report),
                kind=kind,
                what=what,
                nth=nth,
                kept_open=arguments[0] != "restore" and (kind == "none" or kind.startswith("call-")),
                services=self.bench.services,
                ahead=ahead,
            )
        )

    @property
    def output_file(self) -> Path:
        """What all commands printed."""
        return self.folder / "output.txt"

    @property
    def output(self) -> str:
        """What all commands printed."""
        return self.output_file.read_text(errors="replace")

    def last_output(self) -> str:
        """What the last command printed."""
        return self.output.rpartition("\n--- ")[2].partition("\n")[2]

    def reported(self) -> list[str]:
        """The lines of the last report."""
        return self.report.read_text().splitlines() if self.report.exists() else []

    def must(self, *arguments: str, code: int = 0) -> None:
        """Run a command that has to end with ``code``."""
        found = self.run(*arguments)
        assert found == code, f"{arguments} ended with {found}:\n{self.last_output()}"

    def warehouse(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the warehouse."""
        return self.ask(query)[0]

    def ask(self, *queries: str) -> list[list[tuple[Any, ...]]]:
        """Rows of the warehouse for each query."""
        with duckdb.connect(str(self.warehouse_file), read_only=True) as connection:
            return [connection.execute(query).fetchall() for query in queries]

    def is_damaged(self) -> bool:
        """Whether a database of this home cannot be read, as DuckDB itself finds."""
        try:
            for file in self.home.glob("*.duckdb"):
                with duckdb.connect(str(file), read_only=True) as connection:
                    for schema, table in connection.execute(_TABLES).fetchall():
                        connection.execute(f'SELECT count(COLUMNS(*)) FROM "{schema}"."{table}"').fetchall()
        except duckdb.Error:
            return True
        return False

    def passportal(self, *queries: str) -> list[list[tuple[Any, ...]]]:
        """Rows of Passportal for each query, whichever it is, from a table ``records``."""
        if self.target == "embedded":
            with duckdb.connect(str(self.home / "passportal.duckdb"), read_only=True) as connection:
                return [connection.execute(query).fetchall() for query in queries]
        with duckdb.connect() as connection:
            connection.execute(_RECORDS, {"dump": json.dumps(self.bench.api.records())})
            return [connection.execute(query).fetchall() for query in queries]

    def settings(self) -> Settings:
        """What the commands of this home read from their environment."""
        ours = {name.lower(): value for name, value in self.environment.items() if name.startswith(("BMS_", "PASSP"))}
        return Settings(_env_file=None, **ours)  # type: ignore[call-arg, arg-type]

    def let_writes_arrive(self) -> None:
        """A person runs the command again when the last write can no longer be on its way; the load takes a second."""
        last = LastWrite(open_state(self.settings())).read()
        now = datetime.now(UTC).replace(tzinfo=None)
        if last is not None and last + UNKNOWN > now:
            time.sleep((last + UNKNOWN - now).total_seconds())

    def current_hash(self) -> str:
        """Of the plan that was made last."""
        return str(self.warehouse("SELECT hash FROM sync.plans ORDER BY plan_id DESC LIMIT 1")[0][0])

    def import_files(self) -> None:
        """A person imports what was handed over, each file once, and exports the users."""
        if self.target == "documents_api":
            self.bench.api.import_new_files(self.home / "import_files", self.folder / "imported.txt")
            self.export_users()

    def export_users(self) -> None:
        """A person exports the users."""
        (self.folder / "users.csv").write_text(people.exported_users(self.bench.api.store))


@dataclass
class Bench:
    """Everything that strikes share."""

    folder: Path
    striker: Striker
    bms: Bms
    api: DocumentsApi
    states: dict[tuple[str, Target], Path] = field(default_factory=dict)
    copies: int = 0
    keep_cases: bool = False

    def put_away(self, case: Case) -> None:
        """Delete a case that is over: each takes tens of megabytes."""
        if not self.keep_cases:
            shutil.rmtree(case.folder)

    @property
    def services(self) -> dict[str, str]:
        """Port → name."""
        return {str(self.bms.served.port): "BMS", str(self.api.served.port): "Passportal"}

    @cached_property
    def today(self) -> Tenant:
        """BMS as the first sync finds it, saved so that a Passportal can be filled from it."""
        tenant = tiny.today()
        tenant.save(self.folder / "tenant")
        return tenant

    @cached_property
    def tomorrow(self) -> Tenant:
        """BMS a day later."""
        return tiny.tomorrow(self.today)

    def case(self, state: str, target: Target, tenant: Tenant | None = None) -> Case:
        """A fresh copy of the prepared ``state``; see ``STATES``."""
        if (state, target) not in self.states:
            self.states[state, target] = STATES[state](self, target).folder
        return self._copy(self.states[state, target], target, tenant or self.today)

    def _copy(self, folder: Path, target: Target, tenant: Tenant) -> Case:
        self.copies += 1
        copied = self.folder / f"case-{self.copies}"
        shutil.copytree(folder, copied, copy_function=shutil.copyfile)
        copied.joinpath("output.txt").unlink(missing_ok=True)
        return Case(copied, target, self, tenant)

    def new_case(self, target: Target) -> Case:
        """A home that nothing has run in, and a Passportal as people left it."""
        self.copies += 1
        folder = self.folder / f"case-{self.copies}"
        (folder / "home").mkdir(parents=True, mode=0o700)
        tenant = self.today
        saved = self.folder / "tenant"
        if target == "embedded":
            fill_passportal(folder / "home" / "passportal.duckdb", saved)
        else:
            Store.make(folder / "passportal.ndjson", seed.records(saved, 1_700_000_000))
        case = Case(folder, target, self, tenant)
        if target == "documents_api":
            case.export_users()
        return case


def _synced(bench: Bench, target: Target) -> Case:
    """The first sync is done; what was handed over is imported and adopted."""
    case = bench.case("fresh", target)
    case.must("sync", "--create-unmatched")
    if target == "documents_api":
        case.import_files()
        case.must("sync")
    return case


def _imported(bench: Bench, target: Target) -> Case:
    """The first sync is done, and a person has imported what was handed over."""
    case = bench.case("fresh", target)
    case.must("sync", "--create-unmatched")
    case.import_files()
    return case


def _planned(bench: Bench, target: Target) -> Case:
    """A plan waits for a person to finish it."""
    case = bench.case("fresh", target)
    case.must("preview", code=2)
    case.must("create-unmatched")
    case.must("preview", "--saved", code=2)
    return case


def _clients_loaded(bench: Bench, target: Target) -> Case:
    """The plan is approved, and its users and clients are loaded, as Dagster's job `finish_clients` does it."""
    case = bench.case("planned", target)
    case.must(FINISH_CLIENTS, case.current_hash())
    return case


def _undo_planned(bench: Bench, target: Target) -> Case:
    """A plan that takes back the last load waits for a person."""
    case = bench.case("synced", target)
    case.run("undo", last_load(case))
    return case


def last_load(case: Case) -> str:
    """The number of the plan that wrote last."""
    return str(case.warehouse("SELECT max(plan_id) FROM sync.journal")[0][0])


STATES: dict[str, Callable[[Bench, Target], Case]] = {
    "fresh": lambda bench, target: bench.new_case(target),
    "synced": _synced,
    "imported": _imported,
    "planned": _planned,
    "clients loaded": _clients_loaded,
    "undo planned": _undo_planned,
}


@contextmanager
def opened_bench(folder: Path, *, keep_cases: bool = False) -> Iterator[Bench]:
    """A bench in ``folder``, or in memory where there is room and nothing is to be kept. Raises ``NoCompiler``."""
    with ExitStack() as stack:
        if not keep_cases and _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > _ROOM:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="strikes-", dir=_IN_MEMORY)))
        bms, api = (stack.enter_context(serving()) for _ in range(2))
        striker = Striker(built_shim(folder))
        stack.callback(striker.close)
        yield Bench(folder, striker, Bms(bms), DocumentsApi(api), keep_cases=keep_cases)
