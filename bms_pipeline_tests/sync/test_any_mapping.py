"""Whatever templates a tenant has, whatever mapping people store and whenever: nothing goes where no plan showed it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from bms_pipeline.core.entities import ASSETS, CLIENTS, LOCATIONS
from bms_pipeline.core.errors import PlanError, SettingsError
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.sync import deciding, mapping
from bms_pipeline_tests.building import account, asset, location
from bms_pipeline_tests.exploring import examples
from bms_pipeline_tests.sync.mapped import MappedWorld, mapped_world

LABELS = (
    "Type", "Serial Number", "Primary IP", "Location", "Status", "Model", "Typ", "IP Address", "Site", "zustand:",
    "Group", "Managed",
)  # fmt: skip
OTHER_LABELS = ("Typ", "IP Address", "ip  address", "Site", "Zustand", "Nowhere", "Group")
KEYS = ("machineGroupId", "detail.locationInfo")
COLUMNS = ("type", "primary_ip", "location", "status", "model")
LISTED = ("categoryName", "ipAddress", "locationName", "machineGroupId")
WORDS = ("Server", "Laptop", "In Use")

labels = st.sampled_from([*OTHER_LABELS, *(ASSETS.labels[column] for column in COLUMNS)])
forms = st.one_of(
    labels,
    st.just(False),
    st.fixed_dictionaries(
        {"words": st.dictionaries(st.sampled_from(WORDS), st.sampled_from(["A", "B"]), min_size=1)},
        optional={"other": st.sampled_from(["keep", "skip", "ask"]), "label": labels},
    ),
    st.fixed_dictionaries({"constant": st.just("Managed")}, optional={"label": labels, "inactive": st.just("Off")}),
    st.fixed_dictionaries(
        {"active": st.just("On"), "inactive": st.just("Off")},
        optional={
            "label": labels,
            "words": st.just({"In Use": "A"}),
            "other": st.sampled_from(["keep", "skip"]),
            "most": st.integers(3, 6),
        },
    ),
    st.fixed_dictionaries({"text": st.just("{location} {model}")}, optional={"label": labels}),
    st.fixed_dictionaries({"most": st.integers(1, 6)}, optional={"default": st.just("none"), "label": labels}),
    st.fixed_dictionaries({"link": st.just("locations")}, optional={"label": labels}),  # only of the location
)
mappings = st.fixed_dictionaries(
    {},
    optional={
        "fields": st.dictionaries(st.sampled_from([*COLUMNS, *KEYS]), forms, max_size=3),
        "constants": st.dictionaries(st.sampled_from(["Managed", "Group", "Nowhere"]), st.sampled_from(["A", "B"])),
        "only": st.fixed_dictionaries(
            {
                "212": st.fixed_dictionaries(
                    {
                        "fields": st.dictionaries(
                            st.sampled_from([*COLUMNS, *KEYS]), st.one_of(labels, st.just(False)), max_size=2
                        )
                    }
                )
            }
        ),
        "template": st.just([{"category": ["Server"], "into": 212}]),
    },
)
ids = st.integers(1, 3)
events = st.one_of(
    st.tuples(st.just("map"), mappings),
    st.tuples(st.just("map"), mappings),
    st.tuples(st.just("bms"), ids, st.sampled_from(LISTED), st.sampled_from([None, *WORDS, "10.0.0.1"])),
    st.tuples(
        st.just("details"),
        ids,
        st.sampled_from([None, *WORDS]),
        st.sampled_from([None, "R740"]),
        st.sampled_from([None, 11, 12, 99]),
    ),
    st.tuples(st.just("person"), ids, st.sampled_from(LABELS)),
    st.tuples(st.just("new"), st.sampled_from(WORDS)),
    st.tuples(st.just("active"), ids, st.booleans()),
    st.tuples(st.just("undo")),
)
templates = st.lists(st.sampled_from(LABELS), min_size=3, unique=True)


class Tenant:
    """A tenant, and what its documents ever held: (document, label) → texts."""

    def __init__(self, tenant: MappedWorld) -> None:
        self.tenant = tenant
        self.held: dict[tuple[str, str], set[str]] = {}
        self.by_person: dict[tuple[str, str], str] = {}

    def remember(self) -> None:
        """Note what each label holds now."""
        for number, document in self.tenant.passportal.documents.items():
            for label, text in document.values.items():
                self.held.setdefault((number, label), set()).add(text)

    def map(self, entity: dict[str, Any]) -> None:
        """A person stores a mapping, if it is one."""
        try:
            wanted = parse_mapping({"assets": entity})
        except SettingsError:
            return
        tenant = self.tenant
        with tenant.passportal.opened_by_the_product():
            before = mapping.try_mapping(tenant.world.settings, tenant.world.warehouse, wanted)
            mapping.store_mapping(tenant.world.settings, tenant.world.warehouse, wanted, "a person", anyway=True)
        tenant.plan()
        self.check_foretold(before)

    def check_foretold(self, foretold: mapping.Foretold) -> None:
        """What the try said is what the plan made now does."""
        changes = [
            (field, before)
            for row in self.tenant.operations().values()
            if row.operation in ("update", "adopt")
            for field, (before, _) in row.changes.items()
        ]
        for change in foretold.changes:
            if change.is_unread:
                continue  # what BMS has under a key that was never read, nobody can foretell
            planned = [before for field, before in changes if field == change.field]
            assert change.filled == planned.count(None)
            assert change.followed == len(planned) - planned.count(None)
            assert change.overwritten == 0

    def bms(self, number: int, key: str, value: str | None) -> None:
        """Somebody edits an asset in BMS."""
        self.tenant.world.assets[number - 1][key] = value

    def details(self, number: int, state: str | None, model: str | None, location_id: int | None) -> None:
        """The details of an asset are read."""
        said = {"state": state, "modelNumber": model, "accountLocationId": location_id, "locationInfo": state}
        self.tenant.world.answer_details({number: said})

    def person(self, number: int, label: str) -> None:
        """A person enters a value of their own in Passportal."""
        document = self.tenant.document(f"PC-{number}")
        if label in self.tenant.passportal.templates["asset"][document.template_id] and label != "Serial Number":
            key = next(key for key, found in self.tenant.passportal.documents.items() if found is document)
            document.values[label] = f"own {len(self.by_person)}"
            self.by_person[key, label] = document.values[label]

    def new(self, category: str) -> None:
        """BMS has one more asset."""
        number = len(self.tenant.world.assets) + 1
        self.tenant.world.assets.append(asset(number, 1, f"PC-{number}", f"SN-100{number}", categoryName=category))

    def undo(self) -> None:
        """A person takes the last load back that changed anything."""
        rows = self.tenant.world.query(
            "SELECT max(plan_id) FROM sync.journal JOIN sync.plans USING (plan_id)"
            " WHERE outcome = 'done' AND undoes IS NULL AND operation = 'update'"
        )
        self.remember()
        self.tenant.plan()
        try:
            deciding.plan_undo(self.tenant.world.warehouse, rows[0][0] or 0)
        except PlanError:
            return
        self.load()
        for number, document in self.tenant.passportal.documents.items():
            for label, text in document.values.items():
                assert text in self.held[number, label], f"{label} never held {text}"

    def active(self, bms_id: int, is_active: bool) -> None:
        """A record becomes active or inactive in BMS."""
        self.tenant.world.assets[bms_id - 1]["isActive"] = is_active

    def load(self) -> None:
        """Finish the current plan, and see that each write is one that the plan shows, under its label."""
        passportal = self.tenant.target
        shown = {
            (bms_id, field, after)
            for bms_id, row in self.tenant.operations().items()
            for field, (_, after) in row.changes.items()
        }
        passportal.wrote.clear()
        self.tenant.finish()
        for wrote in passportal.wrote:
            template = passportal.documents[wrote.document].template_id
            fields = {label: field for field, label in passportal.places(ASSETS, template).items()}
            assert (wrote.bms_id, fields[wrote.label], wrote.text) in shown
        for (number, label), text in self.by_person.items():
            if label not in ("Status", "Model", "zustand:"):  # a person's word that details meet first counts as met
                assert passportal.documents[number].values.get(label) == text, "a person's value is never replaced"
        self.remember()

    def sync(self) -> None:
        """One sync that loads, and one that finds nothing to do."""
        self.tenant.plan()
        self.load()
        again = self.tenant.plan()
        assert again.operations == 0, self.tenant.operations()
        self.tenant.finish()


@examples(quick=3, soak=150)
@given(templates, templates, st.lists(events, min_size=2, max_size=5))
def test_a_second_sync_plans_nothing_and_every_write_was_shown(
    usual: list[str], special: list[str], happened: list[tuple[Any, ...]]
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        mapped_world(
            Path(folder, "home"), {"79": usual, "212": special}, entities=(CLIENTS, LOCATIONS, ASSETS)
        ) as world,
    ):
        world.world.accounts = [account(1, "Acme", location(11, "Main"), location(12, "Depot"))]
        world.world.set("can_link", True)
        world.world.assets = [
            asset(1, 1, "PC-1", "SN-1001", ipAddress="10.0.0.1", categoryName="Server", locationName="Main"),
            asset(2, 1, "PC-2", "SN-1002", ipAddress="10.0.0.2", categoryName="Laptop"),
            asset(3, 1, "PC-3", "SN-1003", locationName="Depot"),
        ]
        tenant = Tenant(world)
        tenant.sync()
        for name, *values in happened:
            act: Callable[..., None] = getattr(tenant, name)
            act(*values)
            tenant.sync()
