"""The matching rules in plain, slow Python, worked out from the saved files alone.

Written without looking at the generator: it shares no function with it, so that both must be right to agree.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIXES = {
    "ltd",
    "limited",
    "inc",
    "llc",
    "gmbh",
    "corp",
    "corporation",
    "co",
    "company",
    "plc",
    "ag",
    "bv",
    "sa",
    "pty",
}


def name_key(text: str | None) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text or "").casefold()).strip()


def loose_key(text: str | None) -> tuple[str, ...]:
    plain = "".join(c for c in unicodedata.normalize("NFD", name_key(text)) if unicodedata.combining(c) == 0)
    words = "".join(c if c.isalnum() else " " for c in plain.replace("&", " and ")).split()
    return tuple(sorted(word for word in words if word not in SUFFIXES))


def serial_key(text: str | None) -> str:
    plain = re.sub("[^0-9A-Za-z]", "", text or "").upper()
    says_nothing = not any(sign.isdigit() for sign in plain) or len(set(plain)) < 2
    return "" if says_nothing else plain


@dataclass
class Ours:
    """A BMS record as far as matching looks at it."""

    id: int
    account: int
    name: str
    active: bool
    email: str = ""
    serial: str = ""


@dataclass
class Theirs:
    """A Passportal record as far as matching looks at it."""

    id: str
    client: str | None
    name: str
    email: str
    serial: str


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def main_email(contact: dict[str, Any]) -> str:
    emails = contact["emails"] or []
    chosen = next((each for each in emails if each["isDefault"]), emails[0] if emails else {})
    return (chosen.get("emailAddress") or "").strip().lower()


def bms_records(folder: Path) -> dict[str, list[Ours]]:
    types = {each["id"]: each["isClient"] for each in read_lines(folder / "account_types.ndjson")}
    records: dict[str, list[Ours]] = defaultdict(list)
    for each in read_lines(folder / "accounts.ndjson"):
        in_scope = each["isActive"] and types.get(each["accountTypeId"], False)
        records["clients"].append(Ours(each["id"], each["id"], name_key(each["accountName"]), in_scope))
        for place in each["locations"] or []:
            records["locations"].append(
                Ours(place["id"], each["id"], name_key(place["locationName"]), place["isActive"])
            )
    for each in read_lines(folder / "employees.ndjson"):
        name = name_key(f"{each['firstName'] or ''} {each['lastName'] or ''}")
        records["users"].append(Ours(each["id"], 0, name, each["isActive"] is not False))
    for each in read_lines(folder / "contacts.ndjson"):
        name = name_key(f"{each['firstName'] or ''} {each['lastName'] or ''}")
        records["contacts"].append(Ours(each["id"], each["accountId"], name, each["isActive"], main_email(each)))
    for each in read_lines(folder / "assets.ndjson"):
        serial = serial_key(each["serialNumber"])
        name = name_key(each["assetName"])
        records["assets"].append(Ours(each["id"], each["accountId"], name, each["isActive"], serial=serial))
    return records


def passportal_records(folder: Path) -> dict[str, list[Theirs]]:
    return {
        file.stem: [
            Theirs(
                each["passportal_id"],
                each["client_id"],
                name_key(each["name"]),
                (each.get("email") or "").strip().lower(),
                serial_key(each.get("serial_number")),
            )
            for each in read_lines(file)
        ]
        for file in sorted((folder / "passportal").glob("*.ndjson"))
    }


class Verdicts:
    """Categories as they are found."""

    def __init__(self) -> None:
        self.pairs: dict[str, dict[str, str]] = {"identical": {}, "near": {}}
        self.lists: dict[str, set[int]] = defaultdict(set)

    def as_truth(self) -> dict[str, Any]:
        names = ("ambiguous", "new", "blocked", "out_of_scope", "unnamed")
        return {**self.pairs, **{name: sorted(self.lists[name]) for name in names}}


def one_to_one(
    ours: Iterable[Ours], theirs: Iterable[Theirs], key: Callable[[Any], Hashable]
) -> Iterator[tuple[Ours, Theirs]]:
    """Pairs whose key exactly one record on each side bears; a falsy key is borne by nobody."""
    left, right = defaultdict(list), defaultdict(list)
    for mine in ours:
        left[key(mine)].append(mine)
    for other in theirs:
        right[key(other)].append(other)
    for value, bearers in left.items():
        if value and len(bearers) == 1 and len(right.get(value, ())) == 1:
            yield bearers[0], right[value][0]


def settle(
    entity: str, ours: list[Ours], theirs: list[Theirs], serial_pairs: dict[int, Theirs], verdicts: Verdicts
) -> None:
    """Categories of the records in one place: a matched client, or the top level."""
    found: dict[int, Theirs] = {mine.id: serial_pairs[mine.id] for mine in ours if mine.id in serial_pairs}
    taken = {other.id for other in found.values()}
    named = [mine for mine in ours if mine.name]
    rules: list[Callable[[Any], Hashable]] = [lambda each: each.name]
    if entity == "contacts":
        rules.append(lambda each: (each.name, each.email) if each.email else None)
    for rule in rules:
        for mine, other in one_to_one(named, [each for each in theirs if each.name], rule):
            differ = mine.serial and other.serial and mine.serial != other.serial
            if mine.id not in found and other.id not in taken and not differ:
                found[mine.id] = other
                taken.add(other.id)
    for mine_id, other in found.items():
        verdicts.pairs["identical"][str(mine_id)] = other.id
    waiting = [mine for mine in ours if mine.id not in found]
    free = [other for other in theirs if other.id not in taken]
    sort_out(entity, waiting, free, Counter(mine.name for mine in ours), {each.name for each in theirs}, verdicts)


def sort_out(
    entity: str,
    waiting: list[Ours],
    free: list[Theirs],
    ours_named: Counter[str],
    theirs_named: set[str],
    verdicts: Verdicts,
) -> None:
    """Categories of what is not identical to anything."""
    free_names = {each.name for each in free}
    top = entity in {"clients", "users"}
    lookalikes: dict[tuple[str, ...], list[Theirs]] = defaultdict(list)
    for other in free:
        lookalikes[loose_key(other.name)].append(other)
    for mine in waiting:
        similar = lookalikes.get(loose_key(mine.name), [])
        if not mine.name:
            verdicts.lists["unnamed"].add(mine.id)
        elif mine.name in free_names or (top and (ours_named[mine.name] > 1 or mine.name in theirs_named)):
            verdicts.lists["ambiguous"].add(mine.id)
        elif similar:
            assert len(similar) == 1, f"{entity} {mine.id} resembles several: {similar}"
            verdicts.pairs["near"][str(mine.id)] = similar[0].id
        else:
            verdicts.lists["new"].add(mine.id)


def truth_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The categories of all BMS records of the saved tenant."""
    ours, theirs = bms_records(folder), passportal_records(folder)
    truth = {}
    clients = Verdicts()
    for entity in ("clients", "users"):
        verdicts = clients if entity == "clients" else Verdicts()
        in_scope = [each for each in ours[entity] if each.active]
        settle(entity, in_scope, theirs[entity], {}, verdicts)
        verdicts.lists["out_of_scope"] = {each.id for each in ours[entity] if not each.active}
        truth[entity] = verdicts.as_truth()
    matched = {int(bms_id): held for bms_id, held in clients.pairs["identical"].items()}
    stuck = clients.lists["ambiguous"] | {int(each) for each in clients.pairs["near"]}
    for entity in ("locations", "contacts", "assets"):
        truth[entity] = _children(entity, ours[entity], theirs[entity], matched, stuck, clients.lists["new"])
    return truth


def _children(
    entity: str, ours: list[Ours], theirs: list[Theirs], matched: dict[int, str], stuck: set[int], new: set[int]
) -> dict[str, Any]:
    verdicts = Verdicts()
    in_scope = [each for each in ours if each.active and (each.account in stuck | new or each.account in matched)]
    kept = {each.id for each in in_scope}
    verdicts.lists["out_of_scope"] = {each.id for each in ours if each.id not in kept}
    by_serial = {
        mine.id: other
        for mine, other in one_to_one(in_scope, theirs, lambda each: each.serial)
        if matched.get(mine.account) == other.client
    }
    by_account: dict[int, list[Ours]] = defaultdict(list)
    for mine in in_scope:
        by_account[mine.account].append(mine)
    by_client: dict[str | None, list[Theirs]] = defaultdict(list)
    for other in theirs:
        by_client[other.client].append(other)
    for account, children in by_account.items():
        if account in stuck:
            verdicts.lists["blocked"] |= {each.id for each in children}
        else:
            settle(entity, children, by_client[matched[account]] if account in matched else [], by_serial, verdicts)
    return verdicts.as_truth()
