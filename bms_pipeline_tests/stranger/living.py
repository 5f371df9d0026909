"""One person with a home folder between a stranger's BMS and a Passportal, walking as README says."""

from __future__ import annotations

import csv
import functools
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from unittest import mock

from bms_pipeline.core.entities import BY_NAME
from bms_pipeline.core.settings import Settings
from bms_pipeline.passportal.documents.target import DocumentsPassportal
from bms_pipeline.passportal.embedded import EmbeddedPassportal
from bms_pipeline.sync import services
from bms_pipeline.warehouse.connection import Warehouse, connect, open_warehouse
from bms_pipeline_tests.building import write_ndjson
from bms_pipeline_tests.running import Home
from bms_pipeline_tests.stranger import bms as vendor
from bms_pipeline_tests.stranger import passportal as target
from bms_pipeline_tests.stranger.bms import Bms, BmsHabits
from bms_pipeline_tests.stranger.passportal import Passportal, PassportalHabits
from bms_pipeline_tests.stranger.serving import serving
from bms_pipeline_tests.stranger.tenants import Tenant

ENTITIES = ("clients", "users", "locations", "contacts", "assets")
LISTS = {"clients": "accounts", "users": "employees", "contacts": "contacts", "assets": "assets"}
TYPES = {"clients": "client", "users": "user", "assets": "asset", "contacts": "contact", "locations": "location"}


@dataclass(frozen=True)
class Held:
    """One record of Passportal, whichever it is. ``values`` by label."""

    id: str
    type: str
    client_id: str | None
    title: str
    values: dict[str, str]


@dataclass
class Person(Home):
    """A person's home folder, with strangers on both sides. ``passportal_api`` is None where the target is embedded."""

    sandbox: Any = None
    tenant: Tenant = field(default_factory=lambda: Tenant(""))
    bms: Bms = None  # type: ignore[assignment]
    passportal_api: Passportal | None = None
    addresses: tuple[str, str] = ("", "")
    last_status: dict[str, Any] = field(default_factory=dict)
    log: list[CompletedProcess[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Write down where both services are."""
        self.folder.mkdir(parents=True, exist_ok=True)
        api = self.passportal_api
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "BMS_API_URL": self.addresses[0],
            "BMS_URL": self.addresses[0],
            "BMS_TENANT": vendor.TENANT,
            "BMS_USERNAME": vendor.USERNAME,
            "BMS_PASSWORD": vendor.PASSWORD,
            "BMS_PIPELINE_HOME": str(self.folder),
            "BMS_CALLS_PER_HOUR": "1500",
            **({} if api is None else {
                "PASSPORTAL_TARGET": "documents_api",
                "PASSPORTAL_URL": self.addresses[1],
                "PASSPORTAL_KEY_ID": target.KEY_ID,
                "PASSPORTAL_SECRET": target.SECRET,
                "PASSPORTAL_TEMPLATES": "asset=79,contact=5000,location=5001",
                "PASSPORTAL_UNKNOWN_SECONDS": "0.2",
            }),
            **self.environment,
        }  # fmt: skip

    def do(self, *arguments: str) -> CompletedProcess[str]:
        """Run a command, and keep what it said. Pauses before a second try are short."""
        hasty = partial(DocumentsPassportal, sleep=lambda seconds: time.sleep(min(seconds, 0.02)))
        with mock.patch.object(services, "DocumentsPassportal", hasty):
            done = self.call(*arguments)
        self.log.append(done)
        return done

    def said(self) -> str:
        """All that was typed and said."""
        return "\n".join(
            f"$ {' '.join(map(str, each.args))}  -> {each.returncode}\n{each.stdout[-1500:]}{each.stderr[-3000:]}"
            for each in self.log
        )

    # -- Passportal, by whichever way it is ----------------------------------------------------------------------

    def held(self) -> list[Held]:
        """All that Passportal holds."""
        api = self.passportal_api
        if api is None:
            rows = self.passportal("SELECT id, type, client_id, title, details FROM records ORDER BY ALL")
            return [Held(str(row[0]), row[1], row[2], row[3], dict(row[4] or {})) for row in rows]
        clients = [Held(str(number), "client", None, name, {}) for number, name in api.clients.items()]
        texts = [
            (
                each,
                {label: value["text"] if isinstance(value, dict) else value for label, value in each.elements.items()},
            )
            for each in api.documents.values()
        ]
        return clients + [
            Held(str(each.id), each.type, str(each.client_id), each.title, {k: v for k, v in values.items() if v})
            for each, values in texts
        ]

    def prefill(self, clients: list[str], inside: list[tuple[int, str, str]]) -> list[str]:
        """Put clients, and (number of client, entity, title) into Passportal as a person had them; the clients' ids."""
        api = self.passportal_api
        if api is not None:
            ids = [api.add_client(name) for name in clients]
            for number, entity, title in inside:
                first, _, last = title.partition(" ")
                values = {"First Name": first, "Last Name": last} if entity == "contacts" else {"Name": title}
                api.add_document(TYPES[entity], ids[number], title, **values)
            if not api.habits.bare_templates:  # somebody has filled in one document of each template
                for kind in ("asset", "contact", "location"):
                    filled = {label: f"a person's {label}" for label in api.labels(kind)}
                    api.add_document(kind, ids[-1], f"Of a person, a {kind}", **filled)
            return [str(each) for each in ids]
        store, number = EmbeddedPassportal(self.settings.passportal_file), 0
        rows: dict[str, list[dict[str, Any]]] = {"clients": [], "contacts": [], "assets": [], "locations": []}
        for number, name in enumerate(clients):
            rows["clients"].append({"passportal_id": f"P{number}", "client_id": None, "name": name})
        for place, (number, entity, title) in enumerate(inside):
            first, _, last = title.partition(" ")
            names = {"first_name": first, "last_name": last} if entity == "contacts" else {}
            row = {"passportal_id": f"D{place}", "client_id": f"P{number}", "name": title, **names}
            rows[entity].append(row)
        for entity, found in rows.items():
            store.import_file(BY_NAME[entity], write_ndjson(self.folder / "prefill.ndjson", found))
        return [row["passportal_id"] for row in rows["clients"]]

    def edit(self, record: Held, label: str, text: str) -> None:
        """A person changes a field in Passportal."""
        api = self.passportal_api
        if api is not None:
            api.documents[int(record.id)].elements[label] = text
            api.documents[int(record.id)].modified += 1
            return
        with closing(connect(self.settings.passportal_file)) as connection:
            changed = {**record.values, label: text}
            connection.execute(
                "UPDATE records SET details = ?::JSON::MAP(VARCHAR, VARCHAR), last_modified = now() WHERE id = ?",
                [json.dumps(changed), record.id],
            )

    def import_files(self) -> int:
        """A person imports each file that was handed over, once; the number of lines."""
        api, folder, lines = self.passportal_api, self.folder / "import_files", 0
        if api is None or not folder.exists():
            return 0
        done = self.folder / "imported.txt"
        seen = set(done.read_text().splitlines()) if done.exists() else set()
        for file in sorted(folder.rglob("*.csv")):
            if file.name in seen:
                continue
            seen.add(file.name)
            with file.open(encoding="utf-8-sig", newline="") as opened:
                for row in csv.DictReader(opened):
                    if "Client Name" in row:
                        api.add_client(row["Client Name"])
                    lines += 1
        done.write_text("\n".join(seen))
        return lines

    def warehouse(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the warehouse, which this process keeps open."""
        with open_warehouse(self.settings).open() as connection:
            return connection.execute(query).fetchall()

    def matches(self) -> dict[str, dict[int, str]]:
        """Entity → BMS id → Passportal id, as ``sync.matches`` has them."""
        found: dict[str, dict[int, str]] = {entity: {} for entity in ENTITIES}
        for entity, bms_id, passportal_id in self.warehouse("SELECT entity, bms_id, passportal_id FROM sync.matches"):
            found[entity][bms_id] = passportal_id
        return found


@functools.cache
def _empty_warehouse() -> bytes:
    """A new warehouse as the product makes it, of which each home here gets a copy: making it takes half a second."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "warehouse")
        with Warehouse(file).open():
            pass
        return file.read_bytes()


@contextmanager
def _held_open(settings: Settings) -> Iterator[None]:
    """The warehouse stays open from command to command, with one thread: plenty for so few records, at less cost."""
    settings.warehouse_file.write_bytes(_empty_warehouse())
    with open_warehouse(settings).open() as connection:
        connection.execute("SET threads = 1")
        yield


@contextmanager
def living(
    folder: Path, tenant: Tenant, habits: BmsHabits, passportal: PassportalHabits | None = None, **environment: str
) -> Iterator[Person]:
    """A person with both strangers running."""
    bms = Bms(tenant.records, habits, random.Random(tenant.label).getrandbits(32))
    api = None if passportal is None else Passportal(passportal, random.Random(tenant.label).getrandbits(32))
    with ExitStack() as running:
        addresses = (
            running.enter_context(serving(bms.answer)),
            running.enter_context(serving(api.answer)) if api else "",
        )
        person = Person(
            folder=folder, sandbox=None, environment=environment, tenant=tenant, bms=bms, passportal_api=api,
            addresses=addresses,
        )  # fmt: skip
        running.enter_context(_held_open(person.settings))
        yield person
