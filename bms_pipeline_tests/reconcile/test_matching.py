"""Which records are the same: identical names, e-mail as tie-break, real serial numbers.

Two candidates are never guessed between.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bms_pipeline.core.entities import ASSETS, CLIENTS, CONTACTS, ENTITIES, LOCATIONS, USERS, Entity
from bms_pipeline_tests.building import CREATE_ALL, World, account, asset, contact, in_passportal
from bms_pipeline_tests.reconcile.cases import Case, decide

EVERYWHERE = {
    "identical": Case(["Ann Lee"], ["Ann Lee"], ["matched 1: identical_name"]),
    "case, width and white space": Case(["Bob  RAY"], [" ｂｏｂ\u00a0ray "], ["matched 1: identical_name"]),
    "composed and decomposed": Case(
        ["Zoë Ångström"], ["Zoe\u0308 A\u030angstro\u0308m"], ["matched 1: identical_name"]
    ),
    "another script": Case(["李 小龙"], ["李 小龙"], ["matched 1: identical_name"]),
    "hostile": Case(["'; DROP TABLE --"], ["'; drop table --"], ["matched 1: identical_name"]),
    "two in Passportal": Case(["Cat Fox"], ["Cat Fox", "CAT FOX"], ["ambiguous: several_in_passportal"]),
    "two on both sides": Case(
        ["Dan Hill", "dan hill"], ["Dan Hill", "Dan  Hill"], ["ambiguous: several_in_passportal"] * 2
    ),
    "two in BMS, one in Passportal": Case(["Eve Kerr", "EVE KERR"], ["Eve Kerr"], ["ambiguous: several_in_bms"] * 2),
    "near by word order": Case(["Gus Moe"], ["Moe, Gus"], ["unmatched: near_identical_name"]),
    "near by an accent": Case(["Hal Núñez"], ["Hal Nunez"], ["unmatched: near_identical_name"]),
    "near by a legal suffix": Case(["Kit Lane"], ["Kit Lane Ltd"], ["unmatched: near_identical_name"]),
    "identical beside near": Case(["Ida Orr"], ["Ida-Orr", "Ida Orr"], ["matched 2: identical_name"]),
    "blank": Case(["", " "], ["", " "], ["unmatched: no_name"] * 2),
    "crossed over": Case(
        ["Lea Pye", "Max Poe"], ["max poe", "lea pye"], ["matched 2: identical_name", "matched 1: identical_name"]
    ),
}
"""What holds for every entity."""

INSIDE_CLIENTS = {
    "new": Case(["Ned Orr"], [], ["to_create: not_in_passportal"]),
    "two new ones of one name": Case(["Ola Nye", "ola nye"], [], ["to_create: not_in_passportal"] * 2),
    "of another client": Case(["Pia Ross"], [], ["to_create: not_in_passportal"], elsewhere=([], ["Pia Ross"])),
    "one in each client": Case(
        ["Rob Shaw"], ["Rob Shaw"], ["matched 1: identical_name"], elsewhere=(["Rob Shaw"], ["Rob Shaw"])
    ),
    "near in another client": Case(["Sam Tate"], [], ["to_create: not_in_passportal"], elsewhere=([], ["Sam-Tate"])),
}
"""What holds for every entity inside clients."""

DECIDED_BY_PERSON = {
    "new": Case(["Ned Orr"], [], ["unmatched: waits_for_decision"]),
    "two new ones of one name": Case(["Ola Nye", "ola nye"], [], ["ambiguous: several_in_bms"] * 2),
}
"""What holds for clients and users, before the first finish."""

CONTACTS_BY_EMAIL = {
    "two in Passportal, told apart": Case(
        ["Ann Lee <ann@a.example>"],
        ["Ann Lee <bob@a.example>", "Ann Lee <ANN@a.example >"],
        ["matched 2: identical_name_and_email"],
    ),
    "two on both sides, told apart": Case(
        ["Ann Lee <a@a.example>", "Ann Lee <b@a.example>"],
        ["Ann Lee <b@a.example>", "Ann Lee <a@a.example>"],
        ["matched 2: identical_name_and_email", "matched 1: identical_name_and_email"],
    ),
    "two in BMS, one of them told": Case(
        ["Ann Lee <a@a.example>", "Ann Lee <b@a.example>"],
        ["Ann Lee <a@a.example>"],
        ["matched 1: identical_name_and_email", "to_create: not_in_passportal"],
    ),
    "one of each, e-mails differ": Case(
        ["Ann Lee <a@a.example>"], ["Ann Lee <b@a.example>"], ["matched 1: identical_name"]
    ),
    "two in Passportal, one e-mail": Case(
        ["Ann Lee <a@a.example>"],
        ["Ann Lee <a@a.example>", "Ann Lee <a@a.example>"],
        ["ambiguous: several_in_passportal"],
    ),
    "two in Passportal, no e-mail anywhere": Case(
        ["Ann Lee"], ["Ann Lee", "Ann Lee"], ["ambiguous: several_in_passportal"]
    ),
    "two in Passportal, another e-mail": Case(
        ["Ann Lee <c@a.example>"],
        ["Ann Lee <a@a.example>", "Ann Lee <b@a.example>"],
        ["ambiguous: several_in_passportal"],
    ),
    "an e-mail alone is nothing": Case(
        ["Ann Lee <ann@a.example>"], ["Bob Ray <ann@a.example>"], ["to_create: not_in_passportal"]
    ),
}

ASSETS_BY_SERIAL = {
    "renamed": Case(["PC-1 [SN-0001]"], ["Old name [sn0001]"], ["matched 1: identical_serial"]),
    "before the name": Case(["PC-1 [SN-0002]"], ["PC-1", "Spare [SN0002]"], ["matched 2: identical_serial"]),
    "same name, no serial there": Case(["PC-1 [SN-0003]"], ["PC-1"], ["matched 1: identical_name"]),
    "same name, no serial here": Case(["PC-1"], ["PC-1 [SN-0004]"], ["matched 1: identical_name"]),
    "same name, another serial": Case(["PC-1 [SN-0005]"], ["PC-1 [SN-0006]"], ["ambiguous: same_name_other_evidence"]),
    "same name, junk on one side": Case(["PC-1 [SN-0007]"], ["PC-1 [Default string]"], ["matched 1: identical_name"]),
    "only junk in common": Case(
        ["PC-1 [To be filled by O.E.M.]"], ["PC-2 [To Be Filled By O.E.M.]"], ["to_create: not_in_passportal"]
    ),
    "zeros in common": Case(["PC-1 [000000000]"], ["PC-2 [000000000]"], ["to_create: not_in_passportal"]),
    "blank in common": Case(["PC-1 []"], ["PC-2 []"], ["to_create: not_in_passportal"]),
    "too short to say anything": Case(["PC-1 [A1]"], ["PC-2 [A1]"], ["to_create: not_in_passportal"]),
    "nameless but numbered": Case([" [SN-0008]"], ["PC-1 [SN-0008]"], ["matched 1: identical_serial"]),
    "twice in BMS": Case(
        ["PC-1 [SN-0009]", "PC-2 [SN-0009]"], ["PC-3 [SN-0009]"], ["to_create: not_in_passportal"] * 2
    ),
    "twice in BMS, names tell": Case(
        ["PC-1 [SN-0010]", "PC-2 [SN-0010]"],
        ["PC-1 [SN-0010]"],
        ["matched 1: identical_name", "to_create: not_in_passportal"],
    ),
    "twice in Passportal, names tell": Case(
        ["PC-1 [SN-0011]"], ["PC-1 [SN-0011]", "PC-2 [SN-0011]"], ["matched 1: identical_name"]
    ),
    "in another client of Passportal": Case(
        ["PC-1 [SN-0012]"], [], ["to_create: not_in_passportal"], elsewhere=([], ["PC-1 [SN-0012]"])
    ),
    "also in another client of BMS": Case(
        ["PC-1 [SN-0013]"], ["PC-9 [SN-0013]"], ["to_create: not_in_passportal"], elsewhere=(["PC-2 [SN-0013]"], [])
    ),
    "also in another client of Passportal": Case(
        ["PC-1 [SN-0014]"], ["PC-9 [SN-0014]"], ["to_create: not_in_passportal"], elsewhere=([], ["PC-2 [SN-0014]"])
    ),
    "swapped": Case(
        ["PC-1 [SN-0015]", "PC-2 [SN-0016]"],
        ["PC-1 [SN-0016]", "PC-2 [SN-0015]"],
        ["matched 2: identical_serial", "matched 1: identical_serial"],
    ),
    "serials in other alphabets": Case(["PC-1 [АБ-1234]"], ["PC-2 [ЯЮ-1234]"], ["to_create: not_in_passportal"]),
}

TABLES: dict[str, tuple[tuple[Entity, ...], dict[str, Case]]] = {
    "everywhere": (ENTITIES, EVERYWHERE),
    "inside clients": ((LOCATIONS, CONTACTS, ASSETS), INSIDE_CLIENTS),
    "decided by a person": ((CLIENTS, USERS), DECIDED_BY_PERSON),
    "by e-mail": ((CONTACTS,), CONTACTS_BY_EMAIL),
    "by serial number": ((ASSETS,), ASSETS_BY_SERIAL),
}
_PARAMETERS = [
    pytest.param(entity, table, case, id=f"{entity.name}-{case}")
    for table, (entities, cases) in TABLES.items()
    for entity in entities
    for case in cases
]


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, list[str]]]:
    """(entity, table) → case → what was decided."""
    home: Path = tmp_path_factory.mktemp("matching")
    return {
        (entity.name, table): decide(home / f"{entity.name} {table}", entity, cases)
        for table, (entities, cases) in TABLES.items()
        for entity in entities
    }


@pytest.mark.parametrize(("entity", "table", "case"), _PARAMETERS)
def test_matching(decided: dict[tuple[str, str], Any], entity: Entity, table: str, case: str) -> None:
    assert decided[entity.name, table][case] == list(TABLES[table][1][case].expected)


# What takes a world of its own


def test_near_identical_is_not_even_created_when_a_person_says_create_unmatched(world: World) -> None:
    world.entities = (CLIENTS, CONTACTS)
    world.accounts = [account(1, "Acme"), account(2, "Beta Ltd")]
    world.contacts = [contact(1, 1, "Ann", "Lee"), contact(2, 1, "Bob", "Ray")]
    world.passportal_holds(
        clients=[in_passportal("C1", "Acme"), in_passportal("C2", "Beta")],
        contacts=[in_passportal("P1", "Lee Ann", "C1")],
    )
    world.cycle(CREATE_ALL)
    assert world.decisions("clients")[2] == ("unmatched", "near_identical_name", None)
    assert world.decisions("contacts")[1] == ("unmatched", "near_identical_name", None)
    assert world.titles("contact") == ["Bob Ray", "Lee Ann"]


def test_a_record_of_passportal_that_lies_in_no_client_is_nobodys(world: World) -> None:
    """Rule 3, also while the client of the BMS record is only going to be created."""
    world.entities = (CLIENTS, CONTACTS, ASSETS)
    world.accounts = [account(1, "Acme")]
    world.contacts = [contact(1, 1, "Ann", "Lee")]
    world.assets = [asset(1, 1, "PC-1", "SN-0001")]
    world.passportal_holds(
        contacts=[in_passportal("P1", "Ann Lee", None)],
        assets=[in_passportal("A1", "PC-1", None, serial_number="SN-0001")],
    )
    world.reconcile(CREATE_ALL)
    assert world.decisions("clients")[1].disposition == "to_create"
    assert world.decisions("contacts")[1] == ("to_create", "not_in_passportal", None)
    assert world.decisions("assets")[1] == ("to_create", "not_in_passportal", None)


def test_contacts_of_one_name_in_two_clients_that_are_both_new_are_both_created(world: World) -> None:
    world.entities = (CLIENTS, CONTACTS)
    world.accounts = [account(1, "Acme"), account(2, "Beta")]
    world.contacts = [contact(1, 1, "Ann", "Lee"), contact(2, 2, "Ann", "Lee")]
    counts = world.cycle()
    assert (counts["contacts"]["created"], counts["contacts"]["failed"]) == (2, 0)
    assert [(each.client, each.title) for each in world.content() if each.type == "contact"] == [
        ("Acme", "Ann Lee"),
        ("Beta", "Ann Lee"),
    ]
