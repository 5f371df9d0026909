"""What a generated tenant holds, and that its truth is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bms_pipeline.core.entities import ENTITIES
from bms_pipeline_tests.sandbox.oracle import name_key, truth_of
from bms_sandbox.population.truth import CATEGORIES
from bms_sandbox.tenant import Tenant, generate


@pytest.fixture(scope="module")
def typical() -> Tenant:
    return generate("typical", 1)


@pytest.fixture(scope="module")
def typical_rows(typical: Tenant) -> dict[str, list[dict[str, Any]]]:
    """List → its rows, decoded once: there are 70,000."""
    return {name: decoded(rows) for name, rows in typical.rows.items()}


def decoded(rows: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(row) for row in rows]


def truth_by_category(folder: Path) -> dict[str, Any]:
    """The saved truth, lists in a fixed order."""
    entities = json.loads((folder / "truth.json").read_text())["entities"]
    return {
        entity: {name: value if isinstance(value, dict) else sorted(value) for name, value in categories.items()}
        for entity, categories in entities.items()
    }


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5, 20261])
def test_truth_is_what_the_rules_say(seed: int, tmp_path: Path) -> None:
    generate("small", seed).save(tmp_path)
    assert truth_by_category(tmp_path) == truth_of(tmp_path)


@pytest.mark.soak
def test_truth_is_what_the_rules_say_in_a_typical_tenant(typical: Tenant, tmp_path: Path) -> None:
    typical.save(tmp_path)
    assert truth_by_category(tmp_path) == truth_of(tmp_path)


def test_the_oracle_notices_that_passportal_lost_its_records(small: Tenant, tmp_path: Path) -> None:
    small.save(tmp_path)
    (tmp_path / "passportal" / "contacts.ndjson").write_text("")
    assert truth_of(tmp_path)["contacts"]["identical"] == {}
    assert truth_of(tmp_path)["assets"] == truth_by_category(tmp_path)["assets"]


def test_truth_speaks_of_every_bms_record_once(typical: Tenant, typical_rows: dict[str, list[dict[str, Any]]]) -> None:
    accounts = typical_rows["accounts"]
    ids = {
        "clients": [each["id"] for each in accounts],
        "locations": [location["id"] for each in accounts for location in each["locations"] or []],
        "users": [each["id"] for each in typical_rows["employees"]],
        "contacts": [each["id"] for each in typical_rows["contacts"]],
        "assets": [each["id"] for each in typical_rows["assets"]],
    }
    for entity, truth in typical.truth.entities.items():
        spoken = [int(each) for name in CATEGORIES for each in getattr(truth, name)]
        assert sorted(spoken) == sorted(ids[entity])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_even_a_small_tenant_shows_every_situation(seed: int) -> None:
    truth = generate("small", seed).truth.entities
    missing = {entity: {name for name in CATEGORIES if not getattr(truth[entity], name)} for entity in truth}
    top = {"blocked"}
    assert missing == {
        "clients": {*top, "unnamed"},
        "users": top,
        "locations": set(),
        "contacts": set(),
        "assets": set(),
    }


def test_the_same_size_and_seed_make_the_same_bytes_in_any_process(small: Tenant, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from bms_sandbox.tenant import generate;"
        "generate('small', 1).save(Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], check=True, env=environment, timeout=60)
    small.save(tmp_path / "b")
    files = sorted(each.relative_to(tmp_path / "a") for each in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 11
    assert all((tmp_path / "a" / each).read_bytes() == (tmp_path / "b" / each).read_bytes() for each in files)
    assert generate("small", 2) != small


def test_a_saved_tenant_loads_as_it_was(small: Tenant, tmp_path: Path) -> None:
    small.save(tmp_path)
    assert Tenant.load(tmp_path) == small


def test_a_typical_tenant_has_the_size_of_a_typical_msp(typical: Tenant) -> None:
    sizes = {name: len(rows) for name, rows in typical.rows.items()}
    assert 525 <= sizes["accounts"] <= 530
    assert sizes["employees"] == 50
    assert 20_000 <= sizes["contacts"] <= 20_500
    assert 50_000 <= sizes["assets"] <= 50_500


def test_passportal_holds_about_60_percent_of_clients_and_inside_those_of_their_children(
    typical: Tenant, typical_rows: dict[str, list[dict[str, Any]]]
) -> None:
    truth = typical.truth.entities
    clients = truth["clients"]
    assert 0.55 <= len(clients.identical | clients.near) / 500 <= 0.65
    matched = {int(each) for each in clients.identical}
    for entity, list_name in (("contacts", "contacts"), ("assets", "assets")):
        inside = {each["id"] for each in typical_rows[list_name] if each["accountId"] in matched}
        held = {int(each) for each in truth[entity].identical | truth[entity].near}
        assert 0.55 <= len(held & inside) / len(inside) <= 0.65


def test_clients_differ_widely_in_size(typical_rows: dict[str, list[dict[str, Any]]]) -> None:
    counts: dict[int, int] = {}
    for each in typical_rows["assets"]:
        counts[each["accountId"]] = counts.get(each["accountId"], 0) + 1
    assert max(counts.values()) > 5 * sum(counts.values()) / len(counts)


def test_passportal_rows_have_the_columns_of_their_entity(small: Tenant) -> None:
    for entity in ENTITIES:
        for row in decoded(small.passportal[entity.name]):
            assert list(row) == ["passportal_id", "client_id", *entity.columns]
            assert (row["client_id"] is not None) == entity.has_client


def values_of(record: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in ``record``, with the path to it."""
    for key, value in record.items():
        where = f"{path}{key}"
        yield where, value
        for each in value if isinstance(value, list) else ():
            yield from values_of(each, f"{where}.")


NEVER_NULL = {
    "accounts": {"id", "isActive", "isBilling"}
    | {f"locations.{each}" for each in ("id", "isMain", "isActive")}
    | {f"locations.addresses.{each}" for each in ("id", "isMain", "isBilling")},
    "contacts": {"id", "accountId", "isPoc", "isActive", "isBillable", "canRecieveInvoices"}
    | {f"emails.{each}" for each in ("id", "emailTypeId", "isDefault")}
    | {f"phones.{each}" for each in ("id", "phoneTypeId", "isDefault")},
    "employees": {"id"},
    "assets": {"id", "categoryId", "contactId", "accountId", "isActive"},
}


@pytest.mark.parametrize("name", NEVER_NULL)
def test_every_nullable_field_is_null_somewhere(small: Tenant, name: str) -> None:
    seen = [each for record in decoded(small.rows[name]) for each in values_of(record)]
    assert {path for path, _ in seen} - {path for path, value in seen if value is None} == NEVER_NULL[name]


def names_in(tenant: Tenant) -> list[str]:
    fields = {"accountName", "locationName", "firstName", "lastName", "assetName"}
    return [
        value
        for rows in tenant.rows.values()
        for record in decoded(rows)
        for path, value in values_of(record)
        if value and path.rpartition(".")[2] in fields
    ]


@pytest.mark.parametrize(
    ("mess", "shown"),
    [
        ("a trailing blank", lambda name: name.endswith(" ")),
        ("two blanks at once", lambda name: "  " in name.rstrip()),
        ("capitals only", lambda name: name.isupper() and " " in name),
        ("decomposed accents", lambda name: unicodedata.normalize("NFC", name) != name),
        ("full-width letters", lambda name: any("\uff01" <= each <= "\uff5e" for each in name)),
        ("another script", lambda name: any("\u0400" <= each <= "\u9fff" for each in name)),
        ("a script tag", lambda name: "<script>" in name),
        ("a formula", lambda name: name.startswith("=HYPERLINK(")),
        ("an SQL statement", lambda name: "'; DROP TABLE" in name),
        ("a right-to-left override", lambda name: "\u202e" in name),
        ("a zero-width blank", lambda name: "\u200b" in name),
    ],
)
def test_even_a_small_tenant_has_names_with(mess: str, shown: Any, small: Tenant) -> None:
    assert any(shown(name) for name in names_in(small)), mess


def test_even_a_small_tenant_is_messy(small: Tenant) -> None:
    accounts, contacts, assets = (decoded(small.rows[name]) for name in ("accounts", "contacts", "assets"))
    inactive = {each["id"] for each in accounts if not each["isActive"]}
    serials = [each["serialNumber"] for each in assets if each["serialNumber"]]
    client_names = [name_key(each["accountName"]) for each in accounts if each["isActive"]]
    mess = {
        "contact without e-mail": any(each["emails"] == [] for each in contacts),
        "contact with no list of e-mails": any(each["emails"] is None for each in contacts),
        "two default e-mails": any(sum(one["isDefault"] for one in each["emails"] or []) == 2 for each in contacts),
        "asset without contact": any(each["contactId"] == 0 for each in assets),
        "junk serials": {"To Be Filled By O.E.M.", "Default string", "0"} <= set(serials),
        "serial of two assets": len({each for each in serials if len(each) >= 10})
        < sum(len(each) >= 10 for each in serials),
        "asset of an inactive account": any(each["accountId"] in inactive for each in assets),
        "location without address": any(not one["addresses"] for each in accounts for one in each["locations"] or []),
        "two accounts of one name": len(set(client_names)) < len(client_names),
        "records inactive": all(any(not each["isActive"] for each in rows) for rows in (accounts, contacts, assets)),
    }
    assert [name for name, present in mess.items() if not present] == []


def test_nothing_is_younger_than_the_epoch(small: Tenant) -> None:
    stamps = [
        value
        for rows in small.rows.values()
        for record in decoded(rows)
        for path, value in values_of(record)
        if path.endswith("On") and value
    ]
    assert max(stamps) < "2026-01-01T00:00:00"
    assert all(len(each) == len("2026-01-01T00:00:00") for each in stamps)
