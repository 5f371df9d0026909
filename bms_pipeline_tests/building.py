"""Hand-made worlds: what BMS lists, what Passportal holds, and the verbs between them, without HTTP.

The verbs are those of ``bms_pipeline.sync``. Both database files are copies of empty ones and stay open while a world
is in use: creating and opening them is most of the time that a small sync takes.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import zstandard

from bms_pipeline.bms import asset_detail
from bms_pipeline.bms.sweep import page_files
from bms_pipeline.bms.sweep.manifest import Manifest, Mode, QuarantinedRecord
from bms_pipeline.bms.sweep.page_files import page_name
from bms_pipeline.bms.sweep.sweeper import sweeps_folder
from bms_pipeline.core.entities import (
    ACCOUNTS,
    ASSETS,
    ASSETS_LIST,
    BY_NAME,
    CONTACTS_LIST,
    EMPLOYEES,
    ENTITIES,
    Entity,
    EntityName,
    ListCall,
    with_clients,
)
from bms_pipeline.core.settings import Settings
from bms_pipeline.load import apply
from bms_pipeline.passportal.embedded import EmbeddedPassportal
from bms_pipeline.passportal.target import Target
from bms_pipeline.plan import operations as plans
from bms_pipeline.reconcile.decisions import Decision, DecisionResult
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.reconcile.sync_settings import store_sync_setting
from bms_pipeline.sync import deciding, extraction, loading, passportal_snapshot, planning
from bms_pipeline.sync.enrichment import land_details as land_details
from bms_pipeline.warehouse import landing
from bms_pipeline.warehouse.causes import translate_errors
from bms_pipeline.warehouse.connection import Warehouse, connect, now

Row = dict[str, Any]
"""One record as BMS or Passportal sends it."""

CLIENT_TYPE, VENDOR_TYPE = 1, 2

_COMPRESSOR = zstandard.ZstdCompressor(1)


@dataclass(frozen=True)
class CreateUnmatched(Scope):
    """All clients, and a person's word that what is unmatched be created."""


CREATE_ALL = CreateUnmatched()


def account(bms_id: int, name: str | None, *locations: Row, **more: Any) -> Row:
    """A row of the accounts list."""
    return {
        "id": bms_id,
        "accountName": name,
        "accountTypeId": CLIENT_TYPE,
        "isActive": True,
        "locations": list(locations),
        **more,
    }


def location(bms_id: int, name: str | None, **more: Any) -> Row:
    """A location, as it sits inside an account."""
    return {"id": bms_id, "locationName": name, "isActive": True, "addresses": [], **more}


def employee(bms_id: int, first: str | None, last: str | None, **more: Any) -> Row:
    """A row of the employees list."""
    return {"id": bms_id, "firstName": first, "lastName": last, "isActive": True, **more}


def contact(
    bms_id: int, account_id: int, first: str | None, last: str | None, email: str | None = None, **more: Any
) -> Row:
    """A row of the contacts list."""
    emails = [{"id": 1, "emailAddress": email, "isDefault": True}] if email else []
    return {
        "id": bms_id,
        "accountId": account_id,
        "firstName": first,
        "lastName": last,
        "isPoc": False,
        "isActive": True,
        "emails": emails,
        **more,
    }


def asset(bms_id: int, account_id: int, name: str | None, serial: str | None = None, **more: Any) -> Row:
    """A row of the hardware assets list."""
    return {
        "id": bms_id,
        "accountId": account_id,
        "assetName": name,
        "serialNumber": serial,
        "categoryId": None,
        "categoryName": None,
        "isActive": True,
        **more,
    }


def in_passportal(passportal_id: str, name: str | None, client_id: str | None = None, **values: str | None) -> Row:
    """A record as a person has entered it in Passportal; ``values`` by column."""
    return {"passportal_id": passportal_id, "client_id": client_id, "name": name, **values}


def write_page(folder: Path, rows: Sequence[Any] | bytes, page: int | None = None) -> Path:
    """Put the next reading, by default of the next page, into a sweep's ``folder``; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = rows if isinstance(rows, bytes) else json.dumps(rows).encode()
    readings = len(list(folder.glob("*.zst"))) + 1
    (folder / page_name(readings, page or readings)).write_bytes(_COMPRESSOR.compress(content))
    return folder


def write_ndjson(file: Path, rows: Iterable[Row]) -> Path:
    """Put ``rows`` into ``file``, one JSON object a line; the file."""
    file.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return file


@functools.cache
def _empty_files() -> tuple[bytes, bytes]:
    """A new warehouse and a new embedded Passportal, as the product makes them."""
    with tempfile.TemporaryDirectory() as folder:
        warehouse, passportal = Path(folder, "warehouse"), Path(folder, "passportal")
        with Warehouse(warehouse).transaction() as connection:
            types = [(CLIENT_TYPE, "Client", True, False, True), (VENDOR_TYPE, "Vendor", False, True, True)]
            landing.land_account_types(connection, types)
        EmbeddedPassportal(passportal).find(BY_NAME["clients"], [])
        return warehouse.read_bytes(), passportal.read_bytes()


def new_warehouse(file: Path) -> Warehouse:
    """A warehouse that holds nothing but the account types."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_empty_files()[0])
    return Warehouse(file)


class KeptOpen(Warehouse):
    """A warehouse that this process keeps open, so that opening it once more takes no time."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._held = contextlib.ExitStack()
        self._kept = self._held.enter_context(super().open())
        self._kept.execute("SET threads = 1")  # plenty for a handful of records, at less cost

    @contextlib.contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """See ``Warehouse.open``."""
        with translate_errors(self.file), closing(self._kept.cursor()) as connection:
            self.take_in(connection)
            yield connection

    def close(self) -> None:
        """Let go of the file."""
        self._held.close()


class Decided(NamedTuple):
    """What reconcile decided about one record."""

    disposition: str
    reason: str
    passportal_id: str | None = None


class Operation(NamedTuple):
    """What the plan holds for one record: ``changes`` is field → (before, after)."""

    operation: str
    reason: str
    changes: dict[str, tuple[str | None, str]]
    kept: dict[str, tuple[str, str | None]]


class Stored(NamedTuple):
    """A record of Passportal, without the ids that follow from the order of calls."""

    type: str
    client: str | None
    title: str
    marker: str | None
    details: dict[str, str]


@dataclass
class World:
    """One home folder. The four lists are what BMS shows now; change them and call ``cycle`` again."""

    settings: Settings
    warehouse: Warehouse
    passportal: EmbeddedPassportal
    accounts: list[Row] = field(default_factory=list)
    employees: list[Row] = field(default_factory=list)
    contacts: list[Row] = field(default_factory=list)
    assets: list[Row] = field(default_factory=list)
    entities: Sequence[Entity] = ENTITIES
    sweeps: int = 0

    def let_go_of_the_warehouse(self) -> None:
        """From now on it is opened and closed as the product does it, and other processes get in between."""
        if isinstance(self.warehouse, KeptOpen):
            self.warehouse.close()
        self.warehouse = Warehouse(self.settings.warehouse_file)

    def passportal_holds(self, **records: Sequence[Row]) -> None:
        """Enter ``records`` (entity → rows) in Passportal as a person does."""
        for name, rows in records.items():
            file = write_ndjson(self.settings.bms_pipeline_home / "import.ndjson", rows)
            self.passportal.import_file(BY_NAME[name], file)

    def edit_passportal(self, statement: str, *values: Any) -> None:
        """Change ``records`` of Passportal behind the pipeline's back."""
        with closing(connect(self.settings.passportal_file)) as connection:
            connection.execute(statement, list(values))

    def set(self, name: str, value: Any) -> None:
        """Store a sync setting."""
        with self.warehouse.transaction() as connection:
            store_sync_setting(connection, name, value, now())

    def say(self, *decisions: Decision) -> DecisionResult:
        """A person takes these decisions, all in one."""
        return deciding.decide(self.warehouse, decisions, "a person")

    def match(self, entity: EntityName, bms_id: int, passportal_id: str) -> DecisionResult:
        """A person's decision that these two are the same."""
        return self.say(Decision("match", entity, bms_id, passportal_id))

    def unmatch(self, entity: EntityName, *bms_ids: int) -> DecisionResult:
        """A person's decision that these are not what they are matched to."""
        return self.say(*(Decision("unmatch", entity, each) for each in bms_ids))

    def create(self, entity: EntityName, *bms_ids: int, allow_duplicate: bool = False) -> DecisionResult:
        """A person's decision that these be created."""
        return self.say(*(Decision("create", entity, each, allow_duplicate=allow_duplicate) for each in bms_ids))

    def exclude(self, entity: EntityName, *bms_ids: int) -> DecisionResult:
        """A person's decision not to sync these, which BMS lists now."""
        if self.query(f"SELECT count(*) FROM bms.{entity} WHERE bms_id IN ({str(list(bms_ids))[1:-1]})") != [
            (len(bms_ids),)
        ]:
            self.land()
        return self.say(*(Decision("exclude", entity, each) for each in bms_ids))

    def include(self, entity: EntityName, *bms_ids: int) -> DecisionResult:
        """A person's decision to sync these again."""
        return self.say(*(Decision("include", entity, each) for each in bms_ids))

    def lasting(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that people decided and that lasts, without when and by whom."""
        columns = {
            "matches": "entity, bms_id, passportal_id",
            "exclusions": "entity, bms_id",
            "approved_creates": "entity, bms_id, allow_duplicate",
            "non_matches": "entity, bms_id, passportal_id",
        }
        with self.warehouse.open() as connection:
            return {
                table: connection.execute(f"SELECT {wanted} FROM sync.{table} ORDER BY ALL").fetchall()
                for table, wanted in columns.items()
            }

    def land(
        self, *, complete: bool = True, mode: Mode = "full", set_aside: Mapping[str, Sequence[int]] | None = None
    ) -> dict[EntityName, landing.Landed]:
        """Land what BMS shows now; ``set_aside`` is list call → ids of records that could not be stored."""
        self.sweeps += 1
        landed: dict[EntityName, landing.Landed] = {}
        lists = {
            ACCOUNTS: self.accounts,
            EMPLOYEES: self.employees,
            CONTACTS_LIST: self.contacts,
            ASSETS_LIST: self.assets,
        }
        for list_call in extraction.list_calls(self.entities):
            sweep = f"sweep-{self.sweeps}"
            write_page(self.settings.landing_folder / list_call.name / sweep, lists[list_call])
            refused = [QuarantinedRecord(1, 1, "", each) for each in (set_aside or {}).get(list_call.name, ())]
            manifest = Manifest(
                sweep=sweep, list_call=list_call.name, mode=mode, modified_since=None, tenant="", started="",
                touched="", complete=complete, quarantined=refused,
            )  # fmt: skip
            landed |= extraction.land_list(self.settings, self.warehouse, list_call, manifest)
            land_details(self.settings, self.warehouse, list_call)
        return landed

    def land_client(self, client: int, *, complete: bool = True) -> None:
        """Land what BMS shows of one client (its account id), read alone."""
        self.sweeps += 1
        lists = {
            ACCOUNTS: [row for row in self.accounts if row["id"] == client],
            CONTACTS_LIST: [row for row in self.contacts if row["accountId"] == client],
            ASSETS_LIST: [row for row in self.assets if row["accountId"] == client],
        }
        sweeps: list[tuple[ListCall, Manifest]] = []
        for list_call in extraction.client_lists(self.entities):
            manifest = Manifest(
                sweep=f"sweep-{self.sweeps}", list_call=list_call.name, mode="client", modified_since=None,
                client=client, tenant="", started="", touched="", complete=complete, reason="" if complete else "drift",
            )  # fmt: skip
            write_page(
                sweeps_folder(self.settings.landing_folder, list_call, client) / manifest.sweep, lists[list_call]
            )
            sweeps.append((list_call, manifest))
        swept = extraction.ClientSwept(client, tuple(sweeps))
        extraction.land_client(self.settings, self.warehouse, swept, lambda *_: None)

    def plan_client(self, client: int, *, complete: bool = True) -> plans.Plan:
        """Everything up to the plan for one client, read alone."""
        self.land_client(client, complete=complete)
        inside = [entity for entity in with_clients(self.entities) if entity.list_call.of_client is not None]
        for entity in inside:
            passportal_snapshot.snapshot(self.settings, self.warehouse, self.passportal, entity)
        for entity in inside:
            planning.reconcile(self.warehouse, entity, Scope(clients=(client,)))
        return planning.make_plan(self.warehouse, inside, Scope(clients=(client,)))

    def answer_details(self, answers: Mapping[int, Row | str]) -> None:
        """BMS was asked for details of assets: id → what it gave, or the problem as text; the next list lands them."""
        folder = asset_detail.details_folder(self.settings.landing_folder, ASSETS)
        folder.mkdir(parents=True, exist_ok=True)
        for bms_id, found in answers.items():
            problem = found if isinstance(found, str) else None
            detail = None if isinstance(found, str) else found
            page_files.append_page(
                folder, "read.part", asset_detail.DetailAnswer(bms_id, now().isoformat(), detail, problem)
            )
        asset_detail.finish_parts(folder)

    def reconcile(self, scope: Scope | None = None, target: Target | None = None) -> None:
        """Land, snapshot and decide."""
        self.land()
        for entity in with_clients(self.entities):
            passportal_snapshot.snapshot(self.settings, self.warehouse, target or self.passportal, entity)
        self.decide(scope)

    def decide(self, scope: Scope | None = None) -> None:
        """Decide from what is stored."""
        for entity in with_clients(self.entities):
            by = "a person" if isinstance(scope, CreateUnmatched) else None
            planning.reconcile(self.warehouse, entity, scope or Scope(), create_unmatched_by=by)

    def plan(self, scope: Scope | None = None, target: Target | None = None) -> plans.Plan:
        """Everything up to the plan."""
        self.reconcile(scope, target)
        return planning.make_plan(self.warehouse, self.entities, scope or Scope())

    def load(self, target: Target | None = None) -> dict[EntityName, dict[str, int]]:
        """Load the current plan; the counts by outcome."""
        plan = apply.check_approved(self.warehouse)
        for entity in plans.planned_entities(plan):
            loading.load(self.settings, self.warehouse, target or self.passportal, entity, plan)
        return apply.close_plan(self.warehouse, plan)

    def finish(self, target: Target | None = None) -> dict[EntityName, dict[str, int]]:
        """A person approves the current plan, and it is loaded; the counts by outcome."""
        self.approve(planning.current_plan(self.warehouse).hash, target)
        return self.load(target)

    def finish_after_planning(self) -> dict[EntityName, dict[str, int]]:
        """Plan what is decided by now, and finish that."""
        self.plan()
        return self.finish()

    def approve(self, plan_hash: str, target: Target | None = None) -> plans.Plan:
        """A person approves the current plan by its hash."""
        return planning.approve(self.settings, self.warehouse, target or self.passportal, plan_hash, "a person")

    def cycle(self, scope: Scope | None = CREATE_ALL, target: Target | None = None) -> dict[EntityName, dict[str, int]]:
        """One whole sync with a person who approves it; the counts by outcome."""
        self.plan(scope, target)
        return self.finish(target)

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the warehouse."""
        with self.warehouse.open() as connection:
            return connection.execute(statement, list(values)).fetchall()

    def decisions(self, entity: EntityName) -> dict[int, Decided]:
        """What was decided, by BMS id."""
        rows = self.query(f"SELECT bms_id, disposition, reason, passportal_id FROM sync.reconciled_{entity}")
        return {bms_id: Decided(*rest) for bms_id, *rest in rows}

    def operations(self, entity: EntityName) -> dict[int, Operation]:
        """What the current plan holds, by BMS id."""
        rows = self.query(
            "SELECT bms_id, operation, reason, changes, kept FROM sync.operations WHERE entity = ?", entity
        )
        return {
            bms_id: Operation(
                operation,
                reason,
                {each["field"]: (each["before"], each["after"]) for each in changes or []},
                {each["field"]: (each["bms"], each["passportal"]) for each in kept or []},
            )
            for bms_id, operation, reason, changes, kept in rows
        }

    def content(self) -> list[Stored]:
        """All that Passportal holds, in an order that no history affects."""
        client = "(SELECT any_value(c.title) FROM records c WHERE c.type = 'client' AND c.id = r.client_id)"
        with closing(connect(self.settings.passportal_file)) as connection:
            rows = connection.execute(
                f"SELECT type, {client} AS client, title, marker, details FROM records r ORDER BY ALL"
            ).fetchall()
        return [Stored(*row) for row in rows]

    def titles(self, kind: str) -> list[str]:
        """The titles of all records of one type in Passportal."""
        return [each.title for each in self.content() if each.type == kind]


@contextlib.contextmanager
def opened_world(home: Path, like: World | None = None, **content: Any) -> Iterator[World]:
    """A world with empty databases in ``home``, which is made; or one that goes on where ``like`` was closed."""
    home.mkdir(parents=True, exist_ok=True)
    settings = Settings(_env_file=None, bms_pipeline_home=home)  # type: ignore[call-arg]
    if like is None:
        settings.passportal_file.write_bytes(_empty_files()[1])
        new_warehouse(settings.warehouse_file)
    else:
        shutil.copyfile(like.settings.passportal_file, settings.passportal_file)
        shutil.copyfile(like.settings.warehouse_file, settings.warehouse_file)
        lists = ("accounts", "employees", "contacts", "assets")
        content = {each: copy.deepcopy(getattr(like, each)) for each in lists} | {"entities": like.entities} | content
    warehouse = KeptOpen(settings.warehouse_file)
    with closing(connect(settings.passportal_file)) as passportal, closing(warehouse):
        passportal.execute("SET threads = 1")
        yield World(settings, warehouse, EmbeddedPassportal(settings.passportal_file), **content)
