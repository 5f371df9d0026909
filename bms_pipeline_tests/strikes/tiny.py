"""A tenant so small that a whole sync of it takes a second, and the day after, on which something of each kind changed.

It is a part of the sandbox's small tenant: two clients that Passportal has too and one that it lacks, with a few
records inside each.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bms_sandbox.tenant import Tenant, generate

Row = dict[str, Any]

HELD = {115: "10000011", 107: "10000005"}
"""BMS account id → client of Passportal with the identical name."""
LACKED = (119,)
EMPLOYEES = ("Kate Bull", "Tito Viña", "Emil Carrera")
ALL = (*HELD, *LACKED)
MOST = {"contacts": 3, "assets": 4, "locations": 2}
"""Records of a kind inside one client."""
NEXT_DAY = "2026-01-02T08:00:00"


def today() -> Tenant:
    """The tenant as the first sync finds it."""
    tenant = generate("small", 3)
    accounts = [account for account in _rows(tenant.rows["accounts"]) if account["id"] in (*HELD, *LACKED)]
    for account in accounts:
        account["locations"] = (account["locations"] or [])[: MOST["locations"]]
    rows = {
        "accounts": accounts,
        "employees": [row for row in _rows(tenant.rows["employees"]) if _full_name(row) in EMPLOYEES],
        "contacts": _inside(tenant.rows["contacts"], MOST["contacts"], _has_a_name),
        "assets": _inside(tenant.rows["assets"], MOST["assets"], lambda row: bool(row["assetName"])),
    }
    names = {
        "clients": {account["accountName"] for account in accounts},
        "users": set(EMPLOYEES),
        "contacts": {_full_name(row) for row in rows["contacts"]},
        "assets": {row["assetName"] for row in rows["assets"]},
    }
    for entity, lines in tenant.passportal.items():
        held = [row for row in _rows(lines) if row["client_id"] in (None, *HELD.values())]
        tenant.passportal[entity] = _lines([row for row in held if row["name"] in names.get(entity, {row["name"]})])
    tenant.rows = {name: _lines(found) for name, found in rows.items()}
    return tenant


def tomorrow(tenant: Tenant) -> Tenant:
    """The same tenant a day later: one renamed, changed, added and gone of the lists that can show it."""
    rows = {name: _rows(lines) for name, lines in tenant.rows.items()}
    held = [account for account in rows["accounts"] if account["id"] in HELD]
    held[0]["accountName"] += " International"
    held[1]["phone"] = "+1 555 0100"
    place = held[1]["locations"][0]
    held[1]["locations"].append({**place, "id": place["id"] + 90_000, "locationName": "New Annex"})
    people, assets = rows["contacts"], rows["assets"]
    people[0]["jobTitle"] = "Head of everything"
    people[1]["lastName"] += "-Smith"
    people.append({**people[2], "id": people[2]["id"] + 90_000, "firstName": "Newman", "lastName": "Added"})
    assets[0]["ipAddress"] = "10.9.9.9"
    assets[1]["assetName"] += "-RENAMED"
    assets.append({**assets[2], "id": 999_001, "assetName": "BRAND-NEW-01", "serialNumber": "BRANDNEW0001"})
    del people[3], assets[3]
    for changed in (*held[:2], *people[:2], people[-1]):
        changed["modifiedOn"] = NEXT_DAY
    return Tenant({name: _lines(found) for name, found in rows.items()}, tenant.account_types, {}, tenant.truth)


def _inside(lines: list[bytes], most: int, fits: Callable[[Row], bool]) -> list[Row]:
    """The first ``most`` records inside each of our clients."""
    found: dict[int, list[Row]] = {client: [] for client in (*HELD, *LACKED)}
    for row in _rows(lines):
        inside = found.get(row["accountId"])
        if inside is not None and len(inside) < most and row["isActive"] and fits(row):
            inside.append(row)
    return [row for inside in found.values() for row in inside]


def _has_a_name(row: Row) -> bool:
    return bool(row["firstName"] and row["lastName"])


def _full_name(row: Row) -> str:
    return f"{row['firstName']} {row['lastName']}"


def _rows(lines: list[bytes]) -> list[Row]:
    return [json.loads(line) for line in lines]


def _lines(rows: list[Row]) -> list[bytes]:
    return [json.dumps(row, ensure_ascii=False).encode() for row in rows]
