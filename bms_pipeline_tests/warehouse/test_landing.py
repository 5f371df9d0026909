"""Landing: what the pages say is what is stored, typed and whole, or nothing is replaced."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.core.entities import ASSETS, CLIENTS, CONTACTS, ENTITIES, LOCATIONS, USERS, Entity
from bms_pipeline.core.errors import LandingError
from bms_pipeline.warehouse import landing
from bms_pipeline.warehouse.connection import Warehouse
from bms_pipeline_tests.building import (
    KeptOpen,
    Row,
    account,
    asset,
    contact,
    employee,
    in_passportal,
    location,
    new_warehouse,
    opened_world,
    write_page,
)
from bms_pipeline_tests.exploring import examples

FIRST, LATER, LAST = datetime(2026, 1, 1), datetime(2026, 1, 2), datetime(2026, 1, 3)
_ADDRESS = {
    "address1": "1 High St",
    "address2": "Floor 2",
    "city": "Leeds",
    "state": "WY",
    "zipCode": "LS1",
    "country": "UK",
    "phone": "555",
    "fax": "556",
    "emailAddress": "hq@acme.example",
    "isMain": True,
}


class Lander:
    """Lands hand-made pages in one transaction that is never kept."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
        self.connection = connection
        self._folders = (folder / f"sweep-{number}" for number in itertools.count())

    def pages(self, *pages: Sequence[Any] | bytes) -> Path:
        """A sweep's folder with ``pages``."""
        folder = next(self._folders)
        for each in pages:
            write_page(folder, each)
        return folder

    def land(
        self,
        entity: Entity,
        *pages: Sequence[Any] | bytes,
        now: datetime = FIRST,
        full: bool = True,
        set_aside: Sequence[int] = (),
    ) -> landing.Landed:
        """Land ``pages`` as one sweep, by default a complete full one."""
        return self.land_folder(entity, self.pages(*pages), now=now, full=full, set_aside=set_aside)

    def land_folder(
        self, entity: Entity, folder: Path, now: datetime = FIRST, full: bool = True, set_aside: Sequence[int] = ()
    ) -> landing.Landed:
        """Land a folder of pages."""
        return landing.land_sweep(self.connection, entity, landing.Sweep(folder, full, full, tuple(set_aside)), now)

    def stored(self, entity: Entity, *columns: str) -> dict[int, Any]:
        """BMS id → one column's value, or a tuple of them."""
        rows = self.connection.execute(f"SELECT bms_id, {', '.join(columns)} FROM bms.{entity.name} ORDER BY 1")
        return {row[0]: row[1] if len(columns) == 1 else row[1:] for row in rows.fetchall()}


@pytest.fixture(scope="module")
def kept_open(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    file = tmp_path_factory.mktemp("landing") / "warehouse.duckdb"
    new_warehouse(file)
    warehouse = KeptOpen(file)
    yield warehouse
    warehouse.close()


@pytest.fixture
def lander(kept_open: Warehouse, tmp_path: Path) -> Iterator[Lander]:
    with kept_open.open() as connection:
        connection.execute("BEGIN")
        yield Lander(connection, tmp_path)
        connection.execute("ROLLBACK")


# What is stored of a record


def test_a_client_brings_the_phone_and_email_of_its_main_site(lander: Lander) -> None:
    branch = location(11, "Branch", isMain=False, addresses=[{"phone": "111"}])
    main = location(12, "HQ", isMain=True, addresses=[_ADDRESS])
    lander.land(CLIENTS, [account(1, " Acme ", branch, main, modifiedOn="2025-01-01T00:00:00")])
    columns = "account_id", "account_type_id", "name", "phone", "email", "is_active", "modified_on", "name_key"
    assert lander.stored(CLIENTS, *columns) == {
        1: (1, 1, "Acme", "555", "hq@acme.example", True, "2025-01-01T00:00:00", "acme")
    }


def test_a_user_is_named_by_first_and_last_name(lander: Lander) -> None:
    rows = [employee(1, "Ann", "Lee", emailAddress="ann@msp.example", isActive=False), employee(2, None, "Ray")]
    lander.land(USERS, rows)
    assert lander.stored(USERS, "name", "first_name", "last_name", "email", "is_active") == {
        1: ("Ann Lee", "Ann", "Lee", "ann@msp.example", False),
        2: ("Ray", None, "Ray", None, True),
    }


def test_a_location_brings_its_main_address_and_the_account_it_was_listed_in(lander: Lander) -> None:
    lander.land(LOCATIONS, [account(7, "Acme", location(11, "HQ", addresses=[{"city": "York"}, _ADDRESS]))])
    columns = "account_id", "name", "address_1", "address_2", "city", "state", "postal_code", "country", "phone", "fax"
    assert lander.stored(LOCATIONS, *columns) == {
        11: (7, "HQ", "1 High St", "Floor 2", "Leeds", "WY", "LS1", "UK", "555", "556")
    }


def test_accounts_without_locations_have_none(lander: Lander) -> None:
    without = account(4, "D")
    del without["locations"]
    rows = [account(1, "A"), account(2, "B") | {"locations": None}, account(3, "C", location(31, "HQ")), without]
    assert lander.land(LOCATIONS, rows).read == 1
    assert lander.stored(LOCATIONS, "account_id") == {31: 3}


def test_a_contact_brings_its_default_email_and_phones(lander: Lander) -> None:
    phones = [
        {"id": 1, "phone": "100", "phoneType": "Fax", "isDefault": False},
        {"id": 2, "phone": "200", "phoneType": "Work", "isDefault": True},
        {"id": 3, "phone": "300", "phoneType": "Mobile Phone", "isDefault": False},
    ]
    emails = [
        {"id": 1, "emailAddress": "old@a.example", "isDefault": False},
        {"id": 2, "emailAddress": "New@a.example ", "isDefault": True},
    ]
    row = contact(1, 7, "Ann", "Lee", jobTitle="CTO", isPoc=True, locationName="HQ", phones=phones) | {"emails": emails}
    lander.land(CONTACTS, [row])
    columns = "account_id", "name", "job_title", "email", "email_key", "phone", "mobile_phone", "location"
    assert lander.stored(CONTACTS, *columns, "primary_contact") == {
        1: (7, "Ann Lee", "CTO", "New@a.example", "new@a.example", "200", "300", "HQ", "Yes")
    }


def test_an_asset_brings_its_serial_number_and_what_it_is_compared_by(lander: Lander) -> None:
    rows = [asset(1, 7, "PC", " sn-00 42 ", categoryName="Server", ipAddress="10.0.0.1", contactName="Ann")]
    lander.land(ASSETS, rows)
    columns = "account_id", "name", "type", "serial_number", "serial_key", "primary_ip", "assigned_user"
    assert lander.stored(ASSETS, *columns) == {1: (7, "PC", "Server", "sn-00 42", "SN0042", "10.0.0.1", "Ann")}


@pytest.mark.parametrize(
    "serial",
    [None, "", "N/A", "none", "To be filled by O.E.M.", "0000000", "xxxx xxxx", "Default string", "12", "123456789"],
)
def test_a_serial_number_that_says_nothing_is_not_compared_by(lander: Lander, serial: str | None) -> None:
    lander.land(ASSETS, [asset(1, 7, "PC", serial)])
    assert lander.stored(ASSETS, "serial_key") == {1: None}


def test_the_order_of_two_default_emails_changes_nothing(lander: Lander) -> None:
    emails = [
        {"id": 8, "emailAddress": "eight@a.example", "isDefault": True},
        {"id": 5, "emailAddress": "five@a.example", "isDefault": True},
        {"id": 2, "emailAddress": "two@a.example", "isDefault": False},
    ]
    for order in itertools.permutations(emails):
        lander.land(CONTACTS, [contact(1, 7, "Ann", "Lee") | {"emails": list(order)}])
        assert lander.stored(CONTACTS, "email") == {1: "five@a.example"}


@pytest.mark.parametrize("blank", ["", "   ", "\t", "\r\n", "\u00a0", "\u3000 \x85", None], ids=ascii)
def test_blank_text_is_no_value(lander: Lander, blank: str | None) -> None:
    lander.land(USERS, [employee(1, blank, blank, emailAddress=blank), employee(2, "Ann", "Lee")])
    assert lander.stored(USERS, "name", "email", "name_key") == {1: (None, None, None), 2: ("Ann Lee", None, "ann lee")}


def test_a_record_of_which_nothing_but_the_id_is_known_is_kept(lander: Lander) -> None:
    """One record among others cannot tell a key that is left out from null."""
    lander.land(CLIENTS, [{"id": 1}, account(2, "Acme")])
    assert lander.stored(CLIENTS, "name", "is_active", "account_type_id") == {
        1: (None, True, None),
        2: ("Acme", True, 1),
    }


# Fields that are not sent


def without(rows: Sequence[Row], *keys: str) -> list[Row]:
    """The same rows without ``keys``, at any depth."""

    def stripped(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: stripped(inner) for key, inner in value.items() if key not in keys}
        return [stripped(inner) for inner in value] if isinstance(value, list) else value

    return [stripped(row) for row in rows]


def some(entity: Entity, number: int = 60, **more: Any) -> list[Row]:
    """Rows with everything that is declared for ``entity``; ``more`` replaces values."""
    emails = [{"id": 1, "emailAddress": "a@b.example", "isDefault": True}]
    full = {"jobTitle": "Boss", "locationName": "HQ", "modifiedOn": "2026-01-01T00:00:00", "emails": emails, **more}
    numbers = range(1, number + 1)
    if entity is CONTACTS:
        return [contact(n, 1, f"Ann {n}", "Lee", phones=[], **{**full, "isPoc": True}) for n in numbers]
    if entity is ASSETS:
        return [
            asset(n, 1, f"PC {n}", f"SN{n}", **{"categoryName": "Server", "ipAddress": "1", **more}) for n in numbers
        ]
    if entity is USERS:
        return [employee(n, "Ann", f"Lee {n}", emailAddress="a@b.example") for n in numbers]
    places = [location(1000 + n, "HQ", addresses=[_ADDRESS], isMain=True) for n in numbers]
    return [account(n, f"Acme {n}", place, **more) for n, place in zip(numbers, places, strict=True)]


DECIDING = [(entity, key) for entity in ENTITIES for key in entity.deciding]


@pytest.mark.parametrize(("entity", "key"), DECIDING, ids=[f"{entity.name}.{key}" for entity, key in DECIDING])
@pytest.mark.parametrize("number", [1, 60])
def test_a_deciding_field_that_no_record_has_stops_the_landing(
    entity: Entity, key: str, number: int, lander: Lander
) -> None:
    lander.land(entity, some(entity, number))
    before = lander.stored(entity, "name", "is_active", "account_id", "missing_since")
    with pytest.raises(LandingError, match=f"{entity.name}: .*(has the field {key};|no readable id)"):
        lander.land(entity, without(some(entity, number), key), full=number == 60, now=LATER)
    assert lander.stored(entity, "name", "is_active", "account_id", "missing_since") == before


OTHERS = [
    (CONTACTS, "jobTitle", "job_title"),
    (CONTACTS, "emails", "email"),
    (CONTACTS, "emailAddress", "email"),
    (CONTACTS, "isDefault", "email"),
    (ASSETS, "serialNumber", "serial_number"),
    (USERS, "emailAddress", "email"),
    (LOCATIONS, "city", "city"),
    (LOCATIONS, "addresses", "city"),
    (CLIENTS, "locations", "phone"),
    (CLIENTS, "emailAddress", "email"),
]


@pytest.mark.parametrize(("entity", "key", "column"), OTHERS, ids=[f"{each[0].name}.{each[1]}" for each in OTHERS])
def test_another_field_that_used_to_come_stops_a_full_sweep_and_else_changes_nothing(
    entity: Entity, key: str, column: str, lander: Lander
) -> None:
    lander.land(entity, some(entity))
    before = lander.stored(entity, column)
    assert set(before.values()) != {None}
    absent = without(some(entity), key)
    with pytest.raises(LandingError, match=f"none of 60 records has the field .*{key}; earlier sweeps had it"):
        lander.land(entity, absent, now=LATER)
    for rows, full in ((absent[:49], True), (absent, False)):
        landed = lander.land(entity, rows, full=full, now=LATER)
        assert landed.changed == 0
        assert key in [path.rpartition(".")[2] for path in landed.not_sent]
        assert lander.stored(entity, column) == before
        lander.land(entity, some(entity), now=LATER)


def test_a_field_that_never_came_is_reported_and_empty(lander: Lander) -> None:
    for moment in (FIRST, LATER):
        landed = lander.land(ASSETS, without(some(ASSETS), "serialNumber", "ipAddress"), now=moment)
        assert set(landed.not_sent) >= {"serialNumber", "ipAddress"}
    assert set(lander.stored(ASSETS, "serial_number", "serial_key").values()) == {(None, None)}


def test_a_list_of_locations_that_is_not_sent_takes_none_away(lander: Lander) -> None:
    lander.land(LOCATIONS, some(LOCATIONS, 9))
    landed = lander.land(LOCATIONS, without(some(LOCATIONS, 9), "locations"), now=LATER)
    assert landed.gone == 0
    landed = lander.land(LOCATIONS, [{**row, "locations": []} for row in some(LOCATIONS, 9)], now=LATER)
    assert landed.gone == 9, "that is how a service says that there are none"


def test_inside_lists_without_elements_nothing_is_missed(lander: Lander) -> None:
    lander.land(CONTACTS, some(CONTACTS))
    landed = lander.land(CONTACTS, some(CONTACTS, emails=[]), now=LATER)
    assert not [path for path in landed.not_sent if "[" in path]
    assert set(lander.stored(CONTACTS, "email").values()) == {None}


def test_a_field_spelt_otherwise_is_no_missing_field(lander: Lander) -> None:
    rows = [{key.lower(): value for key, value in row.items()} for row in some(ASSETS, 3)]
    with pytest.raises(landing.SpelledOtherwise, match="assets: the field accountId is spelt accountid"):
        lander.land(ASSETS, rows)


# Fields that were not expected


def test_an_unknown_field_is_reported_and_its_record_kept_whole(lander: Lander) -> None:
    landed = lander.land(
        CLIENTS, [account(1, "Acme", mood={"is": "good"}), account(2, "Beta")], [account(3, "Gamma", tier=5)]
    )
    assert landed.unknown_fields == ("mood", "tier")
    stored = lander.stored(CLIENTS, "json")
    assert '"mood": {"is": "good"}' in stored[1]
    assert '"accountName": "Acme"' in stored[1]
    assert stored[2] is None
    assert '"tier": 5' in stored[3]


def test_an_unknown_field_of_a_location_is_reported(lander: Lander) -> None:
    landed = lander.land(LOCATIONS, [account(1, "Acme", location(11, "HQ", planet="Earth"), tier=5)])
    assert landed.unknown_fields == ("planet",)
    assert "Earth" in lander.stored(LOCATIONS, "json")[11]


def test_a_documented_field_that_is_not_read_is_not_reported(lander: Lander) -> None:
    landed = lander.land(CLIENTS, [account(1, "Acme", website="acme.example", creditLimit=10.5)])
    assert landed.unknown_fields == ()
    assert lander.stored(CLIENTS, "json") == {1: None}


@pytest.mark.parametrize(
    ("entity", "row", "field"),
    [
        (CLIENTS, account(7, "Acme") | {"accountName": 5}, "accountName"),
        (CLIENTS, account(7, "Acme") | {"isActive": "true"}, "isActive"),
        (CLIENTS, account(7, "Acme") | {"accountTypeId": "1"}, "accountTypeId"),
        (CLIENTS, account(7, "Acme") | {"locations": {"id": 1}}, "locations"),
        (CLIENTS, account(7, "Acme") | {"id": "7"}, "id"),
        (USERS, employee(7, "Ann", "Lee", emailAddress=["ann@msp.example"]), "emailAddress"),
        (CONTACTS, contact(7, 1, "Ann", "Lee") | {"emails": "ann@a.example"}, "emails"),
        (CONTACTS, contact(7, 1, "Ann", "Lee") | {"emails": ["ann@a.example"]}, "emails"),
        (
            CONTACTS,
            contact(7, 1, "Ann", "Lee") | {"emails": [{"id": 1, "emailAddress": {"value": "a@a.example"}}]},
            "emails",
        ),
        (ASSETS, asset(7, 1, "PC", "S") | {"serialNumber": 12345}, "serialNumber"),
        (LOCATIONS, account(1, "Acme", location(7, "HQ") | {"locationName": {"en": "HQ"}}), "locationName"),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_a_field_of_another_type_is_refused_by_name(lander: Lander, entity: Entity, row: Row, field: str) -> None:
    good = account(1, "A", location(1, "B")) if entity is LOCATIONS else {"id": 1}
    with pytest.raises(LandingError) as refusal:
        lander.land(entity, [good], [row])
    for part in (entity.name, f"field {field} ", "record 7 ", "000002.page-000002.json.zst"):
        assert part in str(refusal.value)


@pytest.mark.parametrize(
    ("first", "reread"),
    [
        ({"accountName": 5, "modifiedOn": "2025-02-01"}, {"accountName": "Acme", "modifiedOn": "2025-01-01"}),
        ({"accountName": "Acme", "modifiedOn": "2025-01-01"}, {"accountName": 5, "modifiedOn": "2025-02-01"}),
    ],
    ids=["the newest is the first reading", "the newest is the second reading"],
)
def test_another_type_is_refused_also_in_a_record_that_was_read_twice(lander: Lander, first: Row, reread: Row) -> None:
    folder = lander.pages([account(7, "Acme") | first])
    write_page(folder, [account(7, "Acme") | reread], page=1)
    with pytest.raises(LandingError, match="field accountName "):
        lander.land_folder(CLIENTS, folder)


@pytest.mark.parametrize(
    "row",
    [
        {"accountName": "Acme"},
        {"id": None},
        {"id": "seven"},
        {"id": True},
        {"id": 2**64},
        {"id": {}},
        5,
        "Acme",
        None,
        [],
    ],
    ids=ascii,
)
def test_a_record_without_readable_id_is_refused(lander: Lander, row: Any) -> None:
    with pytest.raises(LandingError) as refusal:
        lander.land(CLIENTS, [account(1, "Acme")], [row])
    assert "clients" in str(refusal.value)
    assert "000002.page-000002.json.zst" in str(refusal.value)


def test_a_location_without_id_is_refused(lander: Lander) -> None:
    with pytest.raises(LandingError, match="locations"):
        lander.land(LOCATIONS, [account(1, "Acme", {"locationName": "HQ"})])


def test_a_list_with_nothing_in_it_lands_as_nothing(lander: Lander) -> None:
    assert lander.land(CLIENTS, []) == landing.Landed(read=0, added=0, changed=0, gone=0)


# One record on several pages


def test_of_two_versions_the_newest_is_kept_wherever_it_was_read(lander: Lander) -> None:
    old, new = account(1, "Old", modifiedOn="2025-01-01T00:00:00"), account(1, "New", modifiedOn="2025-01-01T00:00:01")
    undated = account(1, "Undated")
    for order in itertools.permutations([old, new, undated]):
        assert lander.land(CLIENTS, *([each] for each in order)).read == 1
        assert lander.stored(CLIENTS, "name") == {1: "New"}


@pytest.mark.parametrize("stamp", [{}, {"modifiedOn": "2025-01-01T00:00:00"}])
def test_of_two_versions_of_one_age_the_one_read_later_is_kept(lander: Lander, stamp: Row) -> None:
    folder = lander.pages([account(1, "First", **stamp)], [account(1, "Second", **stamp)])
    write_page(folder, [account(1, "Read again", **stamp)], page=1)
    lander.land_folder(CLIENTS, folder)
    assert lander.stored(CLIENTS, "name") == {1: "Read again"}


def test_a_location_that_was_seen_in_two_accounts_is_in_the_one_read_later(lander: Lander) -> None:
    folder = lander.pages([account(1, "A", location(11, "HQ"))])
    write_page(folder, [account(2, "B", location(11, "HQ"))], page=1)
    lander.land_folder(LOCATIONS, folder)
    assert lander.stored(LOCATIONS, "account_id") == {11: 2}


@st.composite
def _sweeps(draw: st.DrawFn) -> tuple[list[list[Row]], list[list[Row]]]:
    """The same rows twice, in other orders and on other pages; versions of one record differ in age."""
    versions = draw(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), unique=True, max_size=10))
    names = draw(st.lists(st.sampled_from(["Acme", "ACME ", "Béta", "", "a\tb"]), min_size=10, max_size=10))
    rows = [
        account(bms_id, name, location(10 * bms_id, name, modifiedOn=f"2025-01-0{age}"), modifiedOn=f"2025-01-0{age}")
        for (bms_id, age), name in zip(versions, names, strict=False)
    ]

    def paged(rows: list[Row]) -> list[list[Row]]:
        cut = draw(st.integers(0, len(rows)))
        return [rows[:cut], rows[cut:]]

    return paged(rows), paged(draw(st.permutations(rows)))


@examples(10, 300)
@given(_sweeps())
def test_the_order_of_pages_and_rows_changes_nothing(
    kept_open: Warehouse, tmp_path_factory: pytest.TempPathFactory, sweeps: tuple[list[list[Row]], list[list[Row]]]
) -> None:
    seen = []
    for pages in sweeps:
        with kept_open.open() as connection:
            connection.execute("BEGIN")
            lander = Lander(connection, tmp_path_factory.mktemp("order"))
            for entity in (CLIENTS, LOCATIONS):
                lander.land(entity, *pages)
            seen.append([lander.stored(each, "COLUMNS(*)") for each in (CLIENTS, LOCATIONS)])
            connection.execute("ROLLBACK")
    assert seen[0] == seen[1]


# One sweep after another


def test_landing_the_same_again_writes_nothing(lander: Lander) -> None:
    rows = [account(1, "Acme", location(11, "HQ")), account(2, None), account(3, "Ünï", tier=5)]
    for entity in (CLIENTS, LOCATIONS):
        lander.land(entity, rows)
        stored = lander.stored(entity, "COLUMNS(*)")
        again = lander.land(entity, rows[:1], rows[1:], now=LATER)
        assert (again.added, again.changed, again.gone, again.anything_changed) == (0, 0, 0, False)
        assert lander.stored(entity, "COLUMNS(*)") == stored


def test_a_changed_record_keeps_the_day_it_was_first_seen(lander: Lander) -> None:
    lander.land(CLIENTS, [account(1, "Acme"), account(2, "Beta")])
    landed = lander.land(CLIENTS, [account(1, "Acme Ltd"), account(2, "Beta"), account(3, "New")], now=LATER)
    assert (landed.read, landed.added, landed.changed, landed.gone) == (3, 1, 1, 0)
    assert lander.stored(CLIENTS, "name", "first_seen") == {
        1: ("Acme Ltd", FIRST),
        2: ("Beta", FIRST),
        3: ("New", LATER),
    }


def test_an_unknown_field_that_changes_is_a_change(lander: Lander) -> None:
    lander.land(CLIENTS, [account(1, "Acme", tier=1)])
    assert lander.land(CLIENTS, [account(1, "Acme", tier=2)]).changed == 1


def test_a_record_that_came_into_another_client_is_new_there(lander: Lander) -> None:
    lander.land(CONTACTS, [contact(1, 7, "Ann", "Lee"), contact(2, 7, "Bob", "Ray")])
    landed = lander.land(CONTACTS, [contact(1, 8, "Ann", "Lee"), contact(2, 7, "Bob", "Roy")], now=LATER)
    assert (landed.added, landed.changed) == (0, 2)
    assert lander.stored(CONTACTS, "account_id", "first_seen") == {1: (8, LATER), 2: (7, FIRST)}


def test_only_a_complete_full_sweep_shows_that_a_record_is_gone(lander: Lander) -> None:
    lander.land(CLIENTS, [account(1, "Acme"), account(2, "Beta")])
    assert lander.land(CLIENTS, [account(1, "Acme")], full=False, now=LATER).gone == 0
    assert lander.stored(CLIENTS, "missing_since") == {1: None, 2: None}
    assert lander.land(CLIENTS, [account(1, "Acme")], now=LATER).gone == 1
    assert lander.stored(CLIENTS, "missing_since") == {1: None, 2: LATER}
    assert lander.land(CLIENTS, [account(1, "Acme")], now=LAST).gone == 0, "it is gone already"
    assert lander.stored(CLIENTS, "missing_since") == {1: None, 2: LATER}


@pytest.mark.parametrize("full", [True, False])
def test_a_record_that_comes_back_is_there_again(lander: Lander, full: bool) -> None:
    lander.land(CLIENTS, [account(1, "Acme")])
    lander.land(CLIENTS, [], now=LATER)
    landed = lander.land(CLIENTS, [account(1, "Acme")], full=full, now=LAST)
    assert (landed.added, landed.changed) == (0, 1)
    assert lander.stored(CLIENTS, "missing_since", "first_seen") == {1: (None, FIRST)}


def test_a_record_that_could_not_be_stored_is_not_gone(lander: Lander) -> None:
    lander.land(CLIENTS, [account(each, "Acme") for each in (1, 2, 3)])
    assert lander.land(CLIENTS, [account(1, "Acme")], set_aside=[2, 99], now=LATER).gone == 1
    assert lander.stored(CLIENTS, "missing_since") == {1: None, 2: None, 3: LATER}


def test_a_location_that_its_account_no_longer_lists_is_gone(lander: Lander) -> None:
    lander.land(LOCATIONS, [account(1, "Acme", location(11, "HQ"), location(12, "Depot"))])
    assert lander.land(LOCATIONS, [account(1, "Acme", location(12, "Depot"))], now=LATER).gone == 1
    assert lander.stored(LOCATIONS, "missing_since") == {11: LATER, 12: None}


# All of a sweep or nothing of it


def test_the_locations_of_an_account_that_could_not_be_stored_are_not_gone(tmp_path: Path) -> None:
    with opened_world(tmp_path / "home") as world:
        world.entities = (CLIENTS, LOCATIONS)
        acme, beta = account(1, "Acme", location(11, "HQ")), account(2, "Beta", location(1, "Depot"))
        world.accounts = [acme, beta]
        world.land()
        world.accounts = []
        landed = world.land(set_aside={"accounts": [1]})
        assert world.query("SELECT bms_id, missing_since IS NOT NULL FROM bms.clients ORDER BY 1") == [
            (1, False),
            (2, True),
        ]
        assert world.query("SELECT bms_id, missing_since IS NOT NULL FROM bms.locations ORDER BY 1 DESC") == [
            (11, False),
            (1, True),
        ]
        assert landed["locations"].gone == 1


def test_a_refused_landing_replaces_nothing_of_its_list(tmp_path: Path) -> None:
    with opened_world(tmp_path / "home") as world:
        world.entities = (CLIENTS, LOCATIONS)
        world.accounts = [account(1, "Acme", location(11, "HQ"))]
        world.land()
        stored = "SELECT bms_id, name FROM bms.clients UNION ALL SELECT bms_id, name FROM bms.locations ORDER BY 1"
        before = world.query(stored)
        world.accounts = [account(1, "Acme Ltd", location(11, "HQ") | {"locationName": 5}), account(2, "Beta")]
        with pytest.raises(LandingError, match="locations: field locationName"):
            world.land()
        assert world.query(stored) == before
        assert world.query("SELECT count(*) FROM sync.sweeps") == [(1,)]
        assert world.query("SELECT version FROM sync.input_versions WHERE name = 'bms.clients'") == [(1,)]


# What Passportal has


def test_a_snapshot_replaces_the_one_before_and_counts_only_when_something_differs(tmp_path: Path) -> None:
    with opened_world(tmp_path / "home") as world:
        world.entities = (CLIENTS,)
        versions: list[Any] = []
        for change in ("", "UPDATE records SET last_modified = 'x'", "UPDATE records SET title = 'Acme Ltd'"):
            if not versions:
                world.passportal_holds(clients=[in_passportal("C1", " Acme ", phone=" ")])
            else:
                world.edit_passportal(change)
            world.reconcile()
            versions += world.query("SELECT version FROM sync.input_versions WHERE name = 'passportal.clients'")
        assert versions == [(1,), (1,), (2,)]
        assert world.query("SELECT passportal_id, name, name_key, phone FROM passportal.clients") == [
            ("C1", "Acme Ltd", "acme ltd", None)
        ]


def test_account_types_say_whether_they_changed(lander: Lander) -> None:
    rows = [(1, "Client", True, False, True), (9, "Prospect", False, False, True)]
    assert landing.land_account_types(lander.connection, rows)
    assert not landing.land_account_types(lander.connection, rows[::-1])
    assert landing.land_account_types(lander.connection, rows[:1])


@pytest.mark.parametrize("name", ["a*", "it's [new] {1,2} 100% __ #"])
def test_a_home_folder_may_be_called_anything_and_reads_its_own_pages_alone(tmp_path: Path, name: str) -> None:
    """DuckDB takes every path for a pattern: ``a*`` is also a neighbour's name."""
    for folder, client in (("ab", "Neighbour"), (name, "Acme")):
        with opened_world(tmp_path / folder) as world:
            world.accounts = [account(1, client, location(2, "Office"))]
            world.contacts = [contact(3, 1, "Ann", "Lee")]
            world.assets = [asset(4, 1, "PC-1")]
            world.cycle()
            world.answer_details({4: {"id": 4}})
            world.cycle()
            assert world.titles("client") == [client]
            assert world.query("SELECT count(*) FROM sync.matches") == [(4,)]
