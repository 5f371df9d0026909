"""A world whose Passportal is the sandbox on a real socket, with links between its documents."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bms_pipeline.core.entities import CONTACTS, Entity
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.doctor import one_write
from bms_pipeline.doctor.before_image import ImagePlace
from bms_pipeline.doctor.one_write import Candidate, Clock
from bms_pipeline.passportal.documents.target import DocumentsPassportal
from bms_pipeline.plan import operations as plans
from bms_pipeline.sync import deciding, mapping, services
from bms_pipeline.warehouse import facts
from bms_pipeline.warehouse.connection import now
from bms_pipeline.warehouse.facts import Fact
from bms_pipeline_tests.building import CREATE_ALL, Operation, World, account, contact, location, opened_world
from bms_pipeline_tests.passportal.conftest import ACME, BETA, Service
from bms_sandbox.documents_api.store import Link, Value

SITE = '[contacts.fields]\nlocation = { label = "Location", link = "locations" }'
HQ, DEPOT, ELSEWHERE, ANN = 103, 104, 105, 102
"""Documents: two locations of Acme, one of Beta, and a person's contact with a link."""


@dataclass
class LinkedWorld:
    """Acme with the locations HQ and Depot, and John Smith, who works at HQ by BMS."""

    world: World
    service: Service

    @property
    def target(self) -> DocumentsPassportal:
        """Passportal, as the stored mapping reads it, with all that doctor proved."""
        stored = mapping.current_mapping(self.world.warehouse)
        service = self.service
        found = DocumentsPassportal(service.settings(), stored, clock=lambda: service.now, sleep=service.sleep)
        services.check_target(self.world.warehouse, found)
        return found

    def prove(self) -> str:
        """A person lets doctor write Ann's document; what it saw of links."""

        def saved(place: ImagePlace, candidate: Candidate) -> None: ...

        clock = Clock(lambda: self.service.now, self.service.sleep)
        self.service.now += 60
        tried = one_write.try_document(self.service.settings(), str(ANN), saved, clock=clock)
        assert tried.not_stored == ""
        return next(found.value or "" for found in tried.findings if found.code == "PP-LINKS")

    def know(self, **facts_by_name: str) -> None:
        """Doctor proved these before: the name of a fact, with _ for a hyphen, and its value."""
        seen = [Fact(name.replace("_", "-"), value, "", now()) for name, value in facts_by_name.items()]
        with self.world.warehouse.transaction() as connection:
            facts.add_facts(connection, seen)

    def map(self, toml: str = SITE) -> mapping.Foretold:
        """A person stores this mapping."""
        wanted = parse_mapping(tomllib.loads(toml))
        return mapping.store_mapping(self.service.settings(), self.world.warehouse, wanted, "a person", anyway=True)

    def plan(self) -> plans.Plan:
        """Read both sides and plan."""
        self.service.now += 60
        return self.world.plan(CREATE_ALL, self.target)

    def cycle(self) -> plans.Plan:
        """One whole sync with a person who approves it; the plan."""
        plan = self.plan()
        self.world.finish(self.target)
        return plan

    def undo(self, plan_id: int) -> plans.Plan:
        """A person takes a load back."""
        self.service.now += 60
        plan = deciding.plan_undo(self.world.warehouse, plan_id)
        self.world.finish(self.target)
        return plan

    def operations(self, entity: Entity = CONTACTS) -> dict[int, Operation]:
        """What the current plan does."""
        return self.world.operations(entity.name)

    def unlinked(self, entity: Entity = CONTACTS) -> dict[int, dict[str, str]]:
        """The links that the current plan leaves: BMS id → field → reason."""
        rows = self.world.query("SELECT bms_id, unlinked FROM sync.operations WHERE entity = ?", entity.name)
        return {bms_id: {link["field"]: link["reason"] for link in links} for bms_id, links in rows if links}

    def held(self, title: str, label: str = "Location") -> Value | None:
        """What the newest document of this title holds under a label."""
        found = [record for record in self.service.store.records.values() if record.title == title]
        return max(found, key=lambda record: record.id).values.get(label)

    def enter(self, document: int, label: str, value: Value | None) -> None:
        """A person enters a value."""
        record = self.service.store.records[document]
        values = {name: held for name, held in record.values.items() if name != label}
        self.service.hold(
            document,
            record.type,
            record.title,
            record.template,
            client_id=record.client_id,
            values=values | ({} if value is None else {label: value}),
        )


@contextlib.contextmanager
def linked_world(service: Service, **switches: Any) -> Iterator[LinkedWorld]:
    """The world; ``switches``: of Passportal."""
    service.hold(ACME, "client", "Acme")
    service.hold(BETA, "client", "Beta")
    service.hold(HQ, "location", "HQ", 5001, values={"Name": "HQ"})
    service.hold(DEPOT, "location", "Depot", 5001, values={"Name": "Depot"})
    service.hold(ELSEWHERE, "location", "Elsewhere", 5001, client_id=BETA, values={"Name": "Elsewhere"})
    ann = {"First Name": "Ann", "Last Name": "Lee", "Location": Link("HQ", HQ, "location")}
    service.hold(ANN, "contact", "Ann Lee", 5000, values=ann)
    service.hold(201, "contact", "John Smith", 5000, values={"First Name": "John", "Last Name": "Smith"})
    service.behave(**{"values": "element", **switches})
    with opened_world(service.folder / "home") as world:
        world.accounts = [
            account(1, "Acme", location(11, "HQ"), location(12, "Depot")),
            account(2, "Beta", location(13, "Elsewhere")),
        ]
        world.contacts = [contact(21, 1, "John", "Smith", locationId=11, locationName="HQ")]
        yield LinkedWorld(world, service)
