"""What users are promised, checked from outside: by what BMS served, what Passportal holds, and what the commands say.

Written from README, ``docs/deciding.md`` and DESIGN alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bms_pipeline_tests.stranger.bms import Record
from bms_pipeline_tests.stranger.living import ENTITIES, LISTS, TYPES, Held, Person
from bms_pipeline_tests.stranger.passportal import LABELS

OUTCOMES = (
    "created",
    "adopted",
    "updated",
    "unchanged",
    "excluded",
    "unmatched",
    "ambiguous",
    "out_of_scope",
    "blocked",
    "failed",
)
EDITED = "Written by a person"
NEW_CONTACT = 777_777
_PLAIN_LISTS = {**LISTS, "locations": "locations"}


@dataclass
class Story:
    """How a tenant's life went. ``refused``: what the user read; empty if it loaded."""

    loaded: bool = False
    refused: str = ""
    violations: list[str] = field(default_factory=list)
    has_details: bool = False
    adopted: dict[str, str] = field(default_factory=dict)
    prefilled: list[Held] = field(default_factory=list)
    edited: list[tuple[str, int, str]] = field(default_factory=list)
    changed: dict[tuple[str, int], dict[str, str]] = field(default_factory=dict)


def live(person: Person, *, with_details: bool = False, whole: bool = True) -> Story:
    """The first sync with a person's finish, a day of changes on both sides, the next sync, and a look: nothing to do.

    Not ``whole``: without the second day.
    """
    story = Story()
    _prefill(person, story)
    before = person.held()
    if not _settled(person, story, "sync", "--create-unmatched"):
        if not _pairs(person) and person.held() != before:
            story.violations.append("refused, and Passportal holds something half done")
        return story
    story.violations += _checked(person, story)
    if with_details:
        _run(person, "details")
        story.has_details = person.bms.habits.detail in {"enveloped", "bare"}
        if not _settled(person, story, "sync"):
            return story
        story.violations += [f"after the details: {each}" for each in _checked(person, story)]
    if whole:
        _a_day_later(person, story)
        if not _settled(person, story, "sync", "--full"):
            story.violations += [f"refused on the second day: {each}" for each in _standing(person, story)]
            return story
        story.violations += [f"second day: {each}" for each in _checked(person, story)]
    last = _run(person, "preview")
    if last.returncode != 0:
        story.violations.append(f"the next run would plan something: exit code {last.returncode}")
    story.loaded = not story.violations
    return story


# -- the person --------------------------------------------------------------------------------------------------


def _run(person: Person, *arguments: str) -> Any:
    """Run a command, again where it failed for a moment; a person tries three times."""
    api = person.passportal_api
    steady = person.bms.habits.faults == "none" and (api is None or api.habits.faults == api.habits.lost == "none")
    for _ in range(1 if steady else 3):
        done = person.do(*arguments)
        if done.returncode != 1:
            break
    return done


def _status(person: Person) -> dict[str, Any]:
    person.last_status = json.loads(person.do("status", "--json").stdout or "{}")
    return person.last_status


def _settled(person: Person, story: Story, *arguments: str) -> bool:
    """Run a sync and what it asks for: imports, and a finish by the hash. Whether that came to its end."""
    done = _run(person, *arguments)
    for _ in range(6):
        if "Traceback (most recent call last)" in done.stderr + done.stdout:
            story.violations.append(f"a traceback: {done.stderr[-600:]}")
            return False
        if person.import_files():
            done = _run(person, "sync")
            continue
        plan = _status(person).get("plan")
        if plan is not None and plan["operations"]:
            done = _run(person, "finish", plan["hash"])
            if done.returncode == 1:
                done = _run(person, "sync")
                if _status(person).get("plan") == plan:
                    break
            continue
        if done.returncode == 2:
            done = _run(person, "sync")
            continue
        break
    if done.returncode != 0:
        story.refused = done.stderr.strip()[-700:] or done.stdout.strip()[-700:]
        return False
    return True


def _prefill(person: Person, story: Story) -> None:
    """Two clients of BMS, each with a contact, an asset and a location of it; and a client of Passportal's own."""
    tenant = person.tenant
    plain = [row for row in tenant.records["accounts"] if ("accounts", row["Id"]) in tenant.plain][:2]
    inside = [(0, "contacts", "Nobody Inbms"), (2, "assets", "Their own Server")]
    expected: list[tuple[str, str]] = []
    for number, account in enumerate(plain):
        names: dict[str, Callable[[Record], str]] = {
            "contacts": lambda row: f"{row['FirstName']} {row['LastName']}",
            "assets": lambda row: row["AssetName"],
        }
        for entity, name in names.items():
            found = [
                row
                for row in tenant.records[entity]
                if row["AccountId"] == account["Id"] and (entity, row["Id"]) in tenant.plain
            ]
            if found:
                inside.append((number, entity, name(found[0])))
                expected.append((f"{entity}:{found[0]['Id']}", name(found[0])))
        for location in [row for row in account["Locations"] or () if ("locations", row["Id"]) in tenant.plain][:1]:
            inside.append((number, "locations", location["LocationName"]))
            expected.append((f"locations:{location['Id']}", location["LocationName"]))
    person.prefill([*(row["AccountName"] for row in plain), "Only in Passportal Ltd"], inside)
    _habits_of_what_is_there(person)
    story.prefilled = person.held()
    by_title = {each.title: each.id for each in story.prefilled}
    story.adopted = {f"clients:{row['Id']}": by_title[row["AccountName"]] for row in plain}
    story.adopted |= {key: by_title[title] for key, title in expected}


def _habits_of_what_is_there(person: Person) -> None:
    """Links, foreign IDs and an unreadable document among what was in Passportal before."""
    api = person.passportal_api
    if api is None:
        return
    for document in api.documents.values():
        if api.habits.links and document.type == "asset":
            document.elements["Location"] = {"text": "Main office", "id": 5225344, "type": "locations"}
            document.elements["Manufacturer"] = {"text": "Dell", "id": 1843839, "type": "vendors"}
        if api.habits.foreign_ids and document.type == "asset":
            document.elements |= {"ID": str(person.tenant.records["assets"][0]["Id"]), "Integration Type": "Kaseya BMS"}
    if api.habits.unreadable:
        api.add_document("asset", next(iter(api.clients)), "Nobody may read this", Notes="secret").readable = False


def _a_day_later(person: Person, story: Story) -> None:
    """A person edits in Passportal, BMS changes, and a contact is new."""
    tenant, bms, matches, held = person.tenant, person.bms, person.matches(), {each.id: each for each in person.held()}
    contacts = [
        row
        for row in tenant.records["contacts"]
        if ("contacts", row["Id"]) in tenant.plain and row["Id"] in matches["contacts"]
    ]
    for place, row in enumerate(contacts[:2]):
        record = held[matches["contacts"][row["Id"]]]
        person.edit(record, "Job Title", EDITED)
        story.edited.append(("contacts", row["Id"], "Job Title"))
        if place == 0:
            bms.change("contacts", row["Id"], JobTitle="Changed in BMS too")
    if len(contacts) > 3:
        bms.change("contacts", contacts[2]["Id"], JobTitle="Promoted in BMS")
        story.changed["contacts", contacts[2]["Id"]] = {"Job Title": "Promoted in BMS"}
    assets = [
        row
        for row in tenant.records["assets"]
        if ("assets", row["Id"]) in tenant.plain and row["Id"] in matches["assets"]
    ]
    if len(assets) > 8:
        renamed = f"{assets[-1]['AssetName'].split('-')[0]}-{next(tenant.words)}"
        bms.change("assets", assets[-1]["Id"], AssetName=renamed)
        assets[-1]["_detail"]["Name"] = renamed
    account = next(row for row in tenant.records["accounts"] if ("accounts", row["Id"]) in tenant.plain)
    first, last = next(tenant.words), next(tenant.words)
    new = {
        **tenant.records["contacts"][0],
        "Id": NEW_CONTACT,
        "AccountId": account["Id"],
        "AccountName": account["AccountName"],
        "FirstName": first,
        "LastName": last,
        "IsActive": True,
        "Emails": [],
        "Phones": None,
    }
    bms.add("contacts", new)
    tenant.plain.add(("contacts", NEW_CONTACT))


# -- the promises ------------------------------------------------------------------------------------------------


def _checked(person: Person, story: Story) -> list[str]:
    """Everything that is not as promised after a sync that came to its end."""
    return [*_counted(person), *_standing(person, story), *_brought_over(person, story)]


def _pairs(person: Person) -> dict[str, dict[int, str]]:
    if not person.settings.warehouse_file.exists():
        return {}
    matches = person.matches()
    return matches if any(matches.values()) else {}


def _served(person: Person) -> dict[str, set[int]]:
    """The ids that BMS sent in lists, by entity; locations with their accounts."""
    served = {entity: person.bms.served[name] for entity, name in LISTS.items()}
    inside = {inner["Id"] for account, inner in person.tenant.locations() if account in served["clients"]}
    return {**served, "locations": set() if "accounts.Locations" in person.bms.habits.renamed else inside}


def _counted(person: Person) -> Iterator[str]:
    """Each record that was read is in one outcome, and what was served was read."""
    shown = person.last_status["entities"]
    for entity, ids in _served(person).items():
        counts = shown[entity]
        if counts["read"] != sum(counts[outcome] for outcome in OUTCOMES):
            yield f"{entity}: the counts do not add up: {counts}"
        if counts["read"] != len(ids):
            yield f"{entity}: BMS served {len(ids)} records, {counts['read']} were read"
        if counts["failed"]:
            yield f"{entity}: {counts['failed']} records failed"


def _standing(person: Person, story: Story) -> Iterator[str]:
    """Nothing twice, nothing in the wrong client, nothing out of scope, nothing of a person's touched."""
    matches, held = person.matches(), {each.id: each for each in person.held()}
    rows = _rows(person)
    for entity, pairs in matches.items():
        for passportal_id, times in Counter(pairs.values()).items():
            if times > 1:
                yield f"{entity}: {passportal_id} is matched {times} times"
        for bms_id, passportal_id in pairs.items():
            record = held.get(passportal_id)
            if record is None or record.type != TYPES[entity]:
                yield f"{entity} {bms_id} is matched to {passportal_id}, which is {record}"
                continue
            account = rows[entity][bms_id].get("AccountId")
            if account is not None and record.client_id != matches["clients"].get(account):
                yield f"{entity} {bms_id} of client {account} lies in another client: {record}"
            if (_PLAIN_LISTS[entity], bms_id) in person.tenant.never:
                yield f"{entity} {bms_id} is out of scope and matched to {passportal_id}"
    known = {passportal_id for pairs in matches.values() for passportal_id in pairs.values()}
    known |= {each.id for each in story.prefilled}
    yield from (
        f"Passportal holds what nothing is matched to: {each}" for each in held.values() if each.id not in known
    )
    yield from _untouched(story, held, set().union(*(set(pairs.values()) for pairs in matches.values())))
    for entity, bms_id, label in story.edited:
        record = held[matches[entity][bms_id]]
        if record.values.get(label) != EDITED:
            yield f"{entity} {bms_id}: a person's {label} was overwritten: {record}"


def _untouched(story: Story, held: dict[str, Held], matched: set[str]) -> Iterator[str]:
    for each in story.prefilled:
        found = held.get(each.id)
        if found is None or found.title != each.title or (found.client_id != each.client_id and each.id not in matched):
            yield f"a person's record changed: {each} is {found}"
        elif each.id not in matched and found.values != each.values:
            yield f"a record that nothing is matched to changed: {each} is {found}"
        else:
            lost = {label for label, text in each.values.items() if text and found.values.get(label) != text}
            if lost - {"Notes", "Job Title"}:
                yield f"values of a person's record are lost: {lost} of {each}; it is {found}"


def _rows(person: Person) -> dict[str, dict[int, Record]]:
    rows = {entity: {row["Id"]: row for row in person.tenant.records[name]} for entity, name in LISTS.items()}
    rows["contacts"] = {row["Id"]: row for row in person.bms.records["contacts"]}
    inside = {row["Id"]: {**row, "AccountId": account} for account, row in person.tenant.locations()}
    return {**rows, "locations": inside}


def _brought_over(person: Person, story: Story) -> Iterator[str]:
    """Each plain record that was served is there, under its name and with its values; what was there was adopted."""
    matches, served = person.matches(), _served(person)
    held, rows = {each.id: each for each in person.held()}, _rows(person)
    entity_of = {name: entity for entity, name in _PLAIN_LISTS.items()}
    for name, bms_id in sorted(person.tenant.plain):
        entity = entity_of[name]
        account = rows[entity][bms_id].get("AccountId")
        without_users = entity == "users" and person.passportal_api is not None
        if without_users or bms_id not in served[entity] or (account is not None and account not in served["clients"]):
            continue
        record = held.get(matches[entity].get(bms_id, ""))
        if record is None and _was_missed_at_first(person, entity, bms_id):
            continue
        if record is None:
            yield f"{entity} {bms_id} was not brought over: {_named(entity, rows[entity][bms_id])}"
        else:
            yield from _differences(person, story, name, (entity, bms_id), rows[entity][bms_id], record)
    for key, passportal_id in story.adopted.items():
        entity, _, number = key.partition(":")
        if int(number) in served[entity] and matches[entity].get(int(number)) != passportal_id:
            yield f"{key} was there as {passportal_id} and is matched to {matches[entity].get(int(number))}"


def _was_missed_at_first(person: Person, entity: str, bms_id: int) -> bool:
    """Whether a sweep that nobody could complete left the record out, so that it is new after the initial sync."""
    found = person.warehouse(
        f"SELECT r.reason = 'waits_for_decision' AND EXISTS (FROM sync.sweeps WHERE NOT complete)"
        f" FROM sync.reconciled_{entity} r WHERE r.bms_id = {bms_id}"
    )
    return bool(found and found[0][0])


def _differences(
    person: Person, story: Story, name: str, key: tuple[str, int], row: Record, record: Held
) -> Iterator[str]:
    """What a record of Passportal shows otherwise than BMS, and that nobody decided."""
    entity, bms_id = key
    edited = {label for of, changed, label in story.edited if (of, changed) == key}
    api = person.passportal_api
    places = None if api is None else api.labels(record.type) if record.type in LABELS else []
    details = {"Manufacturer": row["_detail"]["Brand"]} if entity == "assets" and story.has_details else {}
    for label, text in {**_wanted(entity, row), **details, **story.changed.get(key, {})}.items():
        sent = f"{name}.{_KEYS.get(label, '')}" not in person.bms.habits.renamed
        has_a_place = places is None or label in places
        if text and sent and has_a_place and label not in edited and record.values.get(label, "") != text:
            yield f"{entity} {bms_id}: {label} is {record.values.get(label)!r} and not {text!r}"
    if record.title != _named(entity, row):
        yield f"{entity} {bms_id}: the title is {record.title!r} and not {_named(entity, row)!r}"


_KEYS = {"Job Title": "JobTitle", "Serial Number": "SerialNumber", "Email Address": "Emails", "Phone": "Phones"}


def _named(entity: str, row: Record) -> str:
    if entity in ("users", "contacts"):
        return f"{row['FirstName']} {row['LastName']}"
    return str(row[{"clients": "AccountName", "assets": "AssetName", "locations": "LocationName"}[entity]])


def _wanted(entity: str, row: Record) -> dict[str, str]:
    """Values by label that a plain record has to show in Passportal."""
    if entity == "assets":
        return {"Serial Number": row["SerialNumber"] or ""}
    if entity != "contacts" or row["Id"] == NEW_CONTACT:
        return {}
    email = row["Emails"][0]["EmailAddress"]
    values = {"First Name": row["FirstName"], "Last Name": row["LastName"], "Job Title": row["JobTitle"]}
    return {**values, "Email Address": email}


__all__ = ["ENTITIES", "Story", "live"]
