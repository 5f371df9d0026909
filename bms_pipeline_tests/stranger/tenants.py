"""Tenants whose records hypothesis draws from the vendor's schema, with names from a hostile pool among plain ones.

Hypothesis draws a pool of raw records once per run seed; each tenant samples from it by its own number. So
``SEED:NUMBER`` names one tenant, and the same tenant comes again.
"""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from bms_pipeline_tests.contract.document import schema
from bms_pipeline_tests.stranger.bms import Record
from bms_pipeline_tests.stranger.names import HOSTILE, SERIALS

SCHEMAS = {
    "accounts": "AccountSummaryOutputDto",
    "contacts": "ContactsSummaryOutputDto",
    "employees": "EmployeesListSearchSelectOutputDto",
    "assets": "HardwareAssetsListSearchSelectOutputDto",
    "locations": "AccountLocationOutputDto",
    "detail": "HardwareAssetOutputDto",
}
_POOL = {"accounts": 25, "contacts": 50, "employees": 15, "assets": 50, "locations": 30, "detail": 15}

_SYLLABLES = "ba be bi bo da de di do fa fe fo ga ge go ka ke ki ko la le li lo ma me mi mo na ne no pa pe po ra re ri ro sa se so ta te to va ve vo za zo".split()  # noqa: E501, SIM905

CLIENT, VENDOR, PROSPECT = 11, 12, 13
_DAY, _NOW = datetime(2001, 1, 1), datetime(2026, 1, 1)


def _text() -> st.SearchStrategy[str | None]:
    written = st.text(st.characters(exclude_categories=["Cs"]), max_size=24)
    return st.none() | st.sampled_from(HOSTILE) | written


def _values(kind: str) -> st.SearchStrategy[Any]:
    """Values of a type, written as in the contract: ``string?``, ``integer/int32``, ``Dto[]?`` ..."""
    bare = kind.removesuffix("?")
    optional = st.none() if kind.endswith("?") else st.nothing()
    if bare.endswith("[]"):
        return optional | st.lists(_values(bare.removesuffix("[]")), max_size=2)
    plain: dict[str, st.SearchStrategy[Any]] = {
        "string": _text(),
        "string/date-time": st.datetimes(min_value=_DAY, max_value=_NOW).map(
            lambda at: at.isoformat(timespec="seconds")
        ),
        "boolean": st.booleans(),
        "integer/int32": st.integers(0, 2**31 - 1),
        "integer/int64": st.integers(0, 2**53),
        "number/double": st.floats(allow_nan=False, allow_infinity=False, width=32),
        "number/float": st.floats(allow_nan=False, allow_infinity=False, width=32),
    }
    return optional | (plain[bare] if bare in plain else records(bare))


@functools.cache
def records(name: str) -> st.SearchStrategy[Record]:
    """Records of a schema of the vendor's document, each value as its type allows."""
    if name in {"Statuses", "HardwareAssetDiskVolumeDto"}:
        return st.just({})
    return st.fixed_dictionaries({key: _values(kind) for key, kind in schema(name).items()})


@functools.cache
def pool(run_seed: int) -> dict[str, list[Record]]:
    """Raw records by list, as hypothesis draws them for this seed."""
    return {name: _drawn(records(SCHEMAS[name]), count, run_seed) for name, count in _POOL.items()}


def _drawn(strategy: st.SearchStrategy[Record], count: int, run_seed: int) -> list[Record]:
    found: list[Record] = []

    @seeded(run_seed)
    @settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(record: Record) -> None:
        found.append(record)

    collect()
    return found


@dataclass
class Tenant:
    """What one BMS tenant holds, and which of it carries a plain name of its own.

    ``plain``: (list, id) of records that no hostile name comes near and that a sync has to bring over.
    ``never``: (list, id) of records that are out of scope by the documentation: inactive, or of a vendor's account.
    """

    label: str
    records: dict[str, list[Record]] = field(default_factory=dict)
    plain: set[tuple[str, int]] = field(default_factory=set)
    never: set[tuple[str, int]] = field(default_factory=set)
    words: Iterator[str] = field(default_factory=lambda: iter(()))

    def locations(self) -> list[tuple[int, Record]]:
        """Each location with its account's id."""
        return [(row["Id"], inner) for row in self.records["accounts"] for inner in row["Locations"] or ()]


def _words(chance: random.Random) -> Iterator[str]:
    """Words that are all different in their letters, to the eye and to any folding."""
    seen = set()
    while True:
        word = "".join(chance.choice(_SYLLABLES) for _ in range(4))
        if word not in seen:
            seen.add(word)
            yield word.capitalize()


class _Builder:
    def __init__(self, run_seed: int, number: int, size: int) -> None:
        self.chance = random.Random(f"{run_seed}:{number}")
        self.pool = pool(run_seed)
        self.size = size
        self.tenant = Tenant(f"{run_seed}:{number}", words=_words(self.chance))
        self.ids = {name: self.chance.randint(1, 5000) for name in SCHEMAS}

    def raw(self, name: str) -> Record:
        self.ids[name] += self.chance.choice((1, 1, 1, 2, 7, 1000))
        return {**copy.deepcopy(self.chance.choice(self.pool[name])), "Id": self.ids[name]}

    def word(self) -> str:
        return next(self.tenant.words)

    def hostile(self, record: Record, *names: str) -> None:
        """Names from the pool, or those that hypothesis drew."""
        for name in names:
            if self.chance.random() < 0.6:
                record[name] = self.chance.choice(HOSTILE)

    def is_plain(self, share: float = 0.75) -> bool:
        return self.chance.random() < share

    def build(self) -> Tenant:
        people = self.size
        shares = {"employees": 0.06, "accounts": 0.1, "contacts": 0.38, "assets": 0.46}
        count = {name: max(4, round(people * share)) for name, share in shares.items()}
        self.tenant.records = {
            "accounts": [self.account(number) for number in range(count["accounts"])],
            "employees": [self.employee() for _ in range(count["employees"])],
        }
        self.accounts = self.tenant.records["accounts"]
        self.tenant.records["contacts"] = [self.contact() for _ in range(count["contacts"])]
        self.tenant.records["assets"] = [self.asset() for _ in range(count["assets"])]
        for rows in self.tenant.records.values():
            self.chance.shuffle(rows)
        return self.tenant

    def account(self, number: int) -> Record:
        record = self.raw("accounts")
        plain = number < 3 or self.is_plain()
        if plain:
            record |= {"AccountName": f"{self.word()} {self.word()}", "AccountTypeId": CLIENT, "IsActive": True}
            record["AccountType"] = "Customer"
            self.tenant.plain.add(("accounts", record["Id"]))
        else:
            self.hostile(record, "AccountName")
            record["AccountTypeId"] = self.chance.choice((CLIENT, CLIENT, CLIENT, VENDOR, PROSPECT, None))
            if not record["IsActive"] or record["AccountTypeId"] in (VENDOR, PROSPECT):
                self.tenant.never.add(("accounts", record["Id"]))
        record["ModifiedOn"] = record["ModifiedOn"] or "2024-03-01T10:00:00"
        record["Locations"] = [self.location(plain) for _ in range(self.chance.choice((0, 1, 1, 2)))]
        if record["Locations"] == [] and self.chance.random() < 0.3:
            record["Locations"] = None
        return record

    def location(self, inside_plain: bool) -> Record:
        record = self.raw("locations")
        self.hostile(record, "LocationName")
        if self.is_plain():
            record |= {"LocationName": f"{self.word()} {self.word()}", "IsActive": True}
            if inside_plain:
                self.tenant.plain.add(("locations", record["Id"]))
        if not record["IsActive"]:
            self.tenant.never.add(("locations", record["Id"]))
        return record

    def employee(self) -> Record:
        record = self.raw("employees")
        self.hostile(record, "FirstName", "LastName")
        if self.is_plain(0.6):
            first, last = self.word(), self.word()
            record |= {"FirstName": first, "LastName": last, "IsActive": True, "EmailAddress": f"{first}@msp.example"}
            self.tenant.plain.add(("employees", record["Id"]))
        elif record["IsActive"] is False:
            self.tenant.never.add(("employees", record["Id"]))
        return record

    def inside(self, record: Record, name: str) -> bool:
        """Put a contact or an asset into an account; whether that one is plain."""
        account = self.chance.choice(self.accounts)
        record |= {"AccountId": account["Id"], "AccountName": account["AccountName"]}
        if ("accounts", account["Id"]) in self.tenant.never:
            self.tenant.never.add((name, record["Id"]))
        return ("accounts", account["Id"]) in self.tenant.plain

    def contact(self) -> Record:
        record = self.raw("contacts")
        self.hostile(record, "FirstName", "LastName")
        inside_plain = self.inside(record, "contacts")
        record["ModifiedOn"] = record["ModifiedOn"] or "2024-03-01T10:00:00"
        if self.is_plain():
            first, last = self.word(), self.word()
            email = {
                "Id": record["Id"],
                "EmailAddress": f"{first}.{last}@{self.word()}.example".lower(),
                "EmailTypeId": 1,
            }
            phone = {"Id": record["Id"], "Phone": f"+43 1 {self.chance.randint(10**6, 10**7)}", "PhoneTypeId": 1}
            record |= {
                "FirstName": first, "LastName": last, "IsActive": True, "JobTitle": self.word(),
                "Emails": [{**email, "EmailType": "Work", "IsDefault": True}],
                "Phones": [{**phone, "PhoneType": "Work", "IsDefault": True}],
            }  # fmt: skip
            if inside_plain:
                self.tenant.plain.add(("contacts", record["Id"]))
        if not record["IsActive"]:
            self.tenant.never.add(("contacts", record["Id"]))
        return record

    def asset(self) -> Record:
        record = self.raw("assets")
        self.hostile(record, "AssetName")
        inside_plain = self.inside(record, "assets")
        record["SerialNumber"] = self.chance.choice(SERIALS)
        record["_detail"] = {
            **copy.deepcopy(self.chance.choice(self.pool["detail"])),
            "SerialNumber": record["SerialNumber"],
        }
        if self.is_plain():
            real = "".join(self.chance.choice("BCDFGHJKLMNPQRSTVWXZ23456789") for _ in range(11))
            serial = self.chance.choice((real, real, None))
            record |= {"AssetName": f"{self.word()}-{self.word()}", "IsActive": True, "SerialNumber": serial}
            record["_detail"] |= {"SerialNumber": serial, "IsActive": True, "Brand": self.word()}
            if inside_plain:
                self.tenant.plain.add(("assets", record["Id"]))
        if not record["IsActive"]:
            self.tenant.never.add(("assets", record["Id"]))
        return record


def tenant(run_seed: int, number: int, size: int) -> Tenant:
    """The tenant of this seed and number, of about ``size`` records."""
    return _Builder(run_seed, number, size).build()
