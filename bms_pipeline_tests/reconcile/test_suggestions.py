"""What a person is shown for a record that matched nothing: candidates that may be it, best first, and why."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from benchmarks.labelled_pairs import Labelled, companies, people
from benchmarks.suggestions import store
from bms_pipeline.core.entities import ASSETS, CLIENTS, CONTACTS, LOCATIONS, USERS, Entity, EntityName
from bms_pipeline.reconcile.suggestions import Suggestion, suggest_partners
from bms_pipeline_tests.building import (
    World,
    account,
    asset,
    contact,
    employee,
    in_passportal,
    location,
    new_warehouse,
    opened_world,
)

BY_ENTITY = {each.name: each for each in (CLIENTS, USERS, LOCATIONS, CONTACTS, ASSETS)}


def suggested(world: World, entity: EntityName, bms_ids: Collection[int] | None = None) -> dict[int, list[Suggestion]]:
    """Reconcile and ask, as after the first finish with auto-create off: what is new waits for a person."""
    world.entities = (BY_ENTITY[entity],)  # the others only take time
    world.reconcile()
    world.query(f"UPDATE sync.reconciled_{entity} SET disposition = 'unmatched' WHERE disposition = 'to_create'")
    with world.warehouse.open() as connection:
        return suggest_partners(connection, BY_ENTITY[entity], bms_ids)


def found(answer: dict[int, list[Suggestion]], bms_id: int) -> list[str]:
    """The Passportal ids suggested, best first."""
    return [each.passportal_id for each in answer[bms_id]]


def agreements(one: Suggestion) -> dict[str, str]:
    return {each.field: each.agreement for each in one.evidence}


COMPANIES = {
    "typo": ("Northwind Traders", "Nortwhind Traders"),
    "two typos": ("Contoso Pharmaceuticals", "Cotnoso Pharmacuticals"),
    "legal suffix": ("Fabrikam Ltd", "Fabrikam Corporation"),
    "suffix left out": ("Litware Inc.", "Litware"),
    "word order": ("Wingtip Toys Holding", "Holding, Toys Wingtip"),
    "& for and": ("Proseware & Daughters", "Proseware and Daughters"),
    "accents": ("Café Zürich Électrique", "Cafe Zurich Electrique"),
    "punctuation": ("Blue-Yonder Airlines", "Blue Yonder. Airlines"),
    "dropped word": ("Adventure Works Cycles", "Adventure Works"),
    "one word": ("Tailspin", "Tailspn"),
    "another script": ("Московский Завод", "Московскйи Завод"),
}
PEOPLE = {
    "initial": (("John", "Okonkwo"), "J. Okonkwo"),
    "swapped": (("Wei", "Zhang"), "Zhang, Wei"),
    "typo": (("Katherine", "Brzezinski"), "Katherine Brezzinski"),
    "short form": (("Alexander", "Lindqvist"), "Alex Lindqvist"),
    "accents": (("Zoë", "Núñez"), "Zoe Nunez"),
    "script without spaces": (("東京電力", "株式会社"), "東京電力株式会社"),
}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[int, list[Suggestion]], dict[int, list[Suggestion]]]:
    """Suggestions for companies and for users, each case among all others and 200 strangers."""
    with opened_world(tmp_path_factory.mktemp("crowd") / "home") as world:
        strangers = companies(200)
        world.accounts += [account(n, bms) for n, (bms, _) in enumerate(COMPANIES.values())]
        world.employees += [employee(n, *bms) for n, (bms, _) in enumerate(PEOPLE.values())]
        world.passportal_holds(
            clients=[in_passportal(f"P{n}", name) for n, (_, name) in enumerate(COMPANIES.values())]
            + [in_passportal(f"S{n}", each["name"]) for n, each in enumerate(strangers.right)],
            users=[in_passportal(f"P{n}", name) for n, (_, name) in enumerate(PEOPLE.values())]
            + [in_passportal(f"S{n}", each["name"]) for n, each in enumerate(people(200).right)],
        )
        return suggested(world, "clients"), suggested(world, "users")


@pytest.mark.parametrize("case", COMPANIES)
def test_a_company_written_differently_comes_first(
    crowd: tuple[dict[int, list[Suggestion]], dict[int, list[Suggestion]]], case: str
) -> None:
    n = list(COMPANIES).index(case)
    best = crowd[0][n][0]
    assert (best.passportal_id, best.rank, best.name) == (f"P{n}", 1, COMPANIES[case][1])
    assert best.score >= 0.5
    assert agreements(best)["name"] == "near"


@pytest.mark.parametrize("case", PEOPLE)
def test_a_person_written_differently_comes_first(
    crowd: tuple[dict[int, list[Suggestion]], dict[int, list[Suggestion]]], case: str
) -> None:
    n = list(PEOPLE).index(case)
    assert found(crowd[1], n)[0] == f"P{n}"


def test_ranks_count_up_and_scores_fall(
    crowd: tuple[dict[int, list[Suggestion]], dict[int, list[Suggestion]]],
) -> None:
    for answer in crowd:
        for bms_id, some in answer.items():
            assert [each.rank for each in some] == list(range(1, len(some) + 1))
            assert [each.score for each in some] == sorted((each.score for each in some), reverse=True)
            assert all(each.bms_id == bms_id and 0 <= each.score <= 1 for each in some)
            assert len(some) <= 5


def two_clients(world: World) -> None:
    """Two matched clients, C1 and C2."""
    world.accounts += [account(1, "One"), account(2, "Two")]


CLIENTS_HELD = [in_passportal("C1", "One"), in_passportal("C2", "Two")]


def test_an_email_alone_finds_a_renamed_contact(world: World) -> None:
    two_clients(world)
    world.contacts.append(contact(1, 1, "Maria", "Rossi", "maria@one.example"))
    world.passportal_holds(
        clients=CLIENTS_HELD,
        contacts=[
            in_passportal("P", "Bianchi-Ferrari", "C1", email="Maria@One.example"),
            *(in_passportal(f"S{n}", f"Maria Rosso {n}", "C1", email=f"s{n}@one.example") for n in range(40)),
        ],
    )
    best = suggested(world, "contacts")[1][0]
    assert best.passportal_id == "P"
    assert agreements(best)["name"] == "differs"
    assert agreements(best)["email"] == "agrees"


def test_a_serial_number_alone_finds_a_renamed_asset_and_junk_does_not(world: World) -> None:
    two_clients(world)
    world.assets += [asset(1, 1, "LAPTOP-77", "5CG-1234X"), asset(2, 1, "SRV-EXCHANGE", "To be filled by O.E.M.")]
    world.passportal_holds(
        clients=CLIENTS_HELD,
        assets=[
            # The same serial number twice, or else the two would be matched without asking.
            in_passportal("P", "Reception", "C1", serial_number="5cg1234x"),
            in_passportal("Q", "Warehouse", "C1", serial_number="5CG1234X"),
            in_passportal("J", "Printer", "C1", serial_number="To be filled by O.E.M."),
        ],
    )
    answer = suggested(world, "assets")
    assert found(answer, 1) == ["P", "Q"]
    assert [agreements(each)["serial_number"] for each in answer[1]] == ["agrees", "agrees"]
    assert "J" not in found(answer, 2)


PHONES = (
    ("+44 20 7946 0958", "020 7946 0958", "agrees"),
    ("+45 21 43 65 78", "21436578", "agrees"),
    ("(555) 010-4477 x12", "555.010.4477", "agrees"),
    ("020 7946 0958", "020 7946 0959", "differs"),
    ("12 34", "12 34", "missing"),
    ("000 000 0000", "0000000000", "missing"),
    ("123-456-7890", "(123) 456-7890", "missing"),
    ("", "020 7946 0958", "missing"),
)


def test_phones_are_compared_by_their_last_digits(world: World) -> None:
    strangers = companies(len(PHONES)).left
    for n, (bms, _, _) in enumerate(PHONES):
        site = location(n, "HQ", addresses=[{"phone": bms}], isMain=True)
        world.accounts.append(account(n, strangers[n]["name"], site))
    world.passportal_holds(
        clients=[
            in_passportal(f"P{n}", f"{strangers[n]['name']}s", phone=phone) for n, (_, phone, _) in enumerate(PHONES)
        ]
    )
    answer = suggested(world, "clients")
    said = [
        next(agreements(each)["phone"] for each in answer[n] if each.passportal_id == f"P{n}")
        for n in range(len(PHONES))
    ]
    assert said == [agreement for _, _, agreement in PHONES]


def test_each_field_says_whether_it_agrees(world: World) -> None:
    two_clients(world)
    phones = [{"id": 1, "phone": "555 010 4477", "phoneType": "Work", "isDefault": True}]
    world.contacts.append(
        contact(
            1, 1, "Maria", "Rossi", "mrossi@one.example", phones=phones, jobTitle="Office Manager", locationName=" "
        )
    )
    values = {"email": "mrosi@two.example", "phone": "5550104477", "job_title": "Owner", "location": " "}
    world.passportal_holds(clients=CLIENTS_HELD, contacts=[in_passportal("P", "Maria Rosi", "C1", **values)])
    (best,) = suggested(world, "contacts")[1]
    assert agreements(best) == {
        "name": "near",
        "job_title": "differs",
        "email": "near",
        "phone": "agrees",
        "mobile_phone": "missing",
        "location": "missing",
    }
    email = next(each for each in best.evidence if each.field == "email")
    assert (email.bms, email.passportal) == ("mrossi@one.example", "mrosi@two.example")


def test_what_agrees_raises_the_score_and_what_differs_lowers_it(world: World) -> None:
    world.employees += [employee(1, "Maria", "Rossi", emailAddress="maria@one.example"), employee(2, "Al", "Fox")]
    world.passportal_holds(
        users=[
            in_passportal("agrees", "Maria Rosi", email="maria@one.example"),
            in_passportal("blank", "Maria Rosi"),
            in_passportal("differs", "Maria Rosi", email="someone@else.example"),
        ]
    )
    answer = suggested(world, "users")
    assert found(answer, 1) == ["agrees", "blank", "differs"]
    assert [agreements(each)["email"] for each in answer[1]] == ["agrees", "missing", "differs"]
    assert len({each.score for each in answer[1]}) == 3


def test_a_value_that_everybody_bears_says_little(world: World) -> None:
    two_clients(world)
    office = [{"id": 1, "phone": "555 010 4477", "isDefault": True}]
    own = [{"id": 1, "phone": "555 010 9999", "isDefault": True}]
    world.contacts += [contact(n, 1, "Staff", f"Number{n}", phones=office) for n in range(3, 9)]
    world.contacts += [contact(1, 1, "Maria", "Rossi", phones=office), contact(2, 1, "Kofi", "Mensah", phones=own)]
    held = [in_passportal(f"M{n}", f"Staff Number{n}", "C1", phone="5550104477") for n in range(3, 9)]
    held += [
        in_passportal("P", "Reception", "C1", phone="5550104477"),
        in_passportal("Q", "Yard", "C1", phone="5550109999"),
    ]
    world.passportal_holds(clients=CLIENTS_HELD, contacts=held)
    answer = suggested(world, "contacts")
    assert answer[2][0].passportal_id == "Q"
    assert answer[2][0].score > 0.5
    assert all(each.score < 0.3 for each in answer[1])


def test_blank_never_agrees_and_a_record_without_a_name_is_suggested_by_its_email(world: World) -> None:
    world.accounts.append(account(1, "Any"))
    world.employees += [employee(1, " ", None), employee(2, None, "", emailAddress="maria@one.example")]
    world.passportal_holds(
        users=[in_passportal("A", " ", email=" "), in_passportal("B", "Maria Rossi", email="maria@one.example")]
    )
    answer = suggested(world, "users")
    assert answer[1] == []
    assert found(answer, 2) == ["B"]
    assert agreements(answer[2][0]) == {"name": "missing", "email": "agrees"}


def test_never_across_clients(world: World) -> None:
    two_clients(world)
    world.accounts.append(account(3, "Not in Passportal"))
    world.contacts += [contact(n, n, "Maria", "Rossi", "maria@one.example") for n in (1, 2, 3)]
    world.contacts.append(contact(4, 2, "Kofi", "Mensah"))
    held = [in_passportal(f"P{n}", f"Maria Rosi{n}", "C1", email="maria@one.example") for n in range(30)]
    world.passportal_holds(clients=CLIENTS_HELD, contacts=[*held, in_passportal("Q", "Kofi Menssah", "C2")])
    answer = suggested(world, "contacts")
    assert len(answer[1]) == 5
    assert set(found(answer, 1)) <= {f"P{n}" for n in range(30)}
    assert answer[2] == []
    assert answer.get(3, []) == []
    assert found(answer, 4) == ["Q"]


def test_never_what_is_matched_or_bears_the_marker_of_another(world: World) -> None:
    world.employees += [employee(1, "Maria", "Rossi"), employee(2, "Kofi", "Mensah"), employee(3, "Maria", "Rosssi")]
    world.passportal_holds(
        users=[
            in_passportal("matched now", "Kofi Mensah"),
            in_passportal("matched before", "Maria Rosi"),
            in_passportal("marked", "Mariah Rossi"),
            in_passportal("own", "Maria R."),
            in_passportal("free", "Marya Rossi"),
        ]
    )
    world.reconcile()
    world.query("INSERT INTO sync.matches VALUES ('users', 99, 'matched before', '', now())")
    world.query("UPDATE passportal.users SET bms_id = 98 WHERE passportal_id = 'marked'")
    world.query("UPDATE passportal.users SET bms_id = 1 WHERE passportal_id = 'own'")
    with world.warehouse.open() as connection:
        answer = suggest_partners(connection, USERS)
    assert set(answer) == {1, 3}
    assert set(found(answer, 1)) == {"own", "free"}
    assert found(answer, 3) == ["free"]


def test_only_for_those_asked_for_and_the_same_as_for_all(world: World) -> None:
    names = companies(60)
    world.accounts += [account(n, each["name"]) for n, each in enumerate(names.left)]
    world.passportal_holds(clients=[in_passportal(f"P{n}", each["name"]) for n, each in enumerate(names.right)])
    everything = suggested(world, "clients")
    some = list(everything)[3:6]
    with world.warehouse.open() as connection:
        assert suggest_partners(connection, CLIENTS, some) == {each: everything[each] for each in some}
        assert suggest_partners(connection, CLIENTS, []) == {}
        assert suggest_partners(connection, CLIENTS, [10_000]) == {}
        assert suggest_partners(connection, CLIENTS, limit=2) == {each: some[:2] for each, some in everything.items()}


def test_nothing_to_suggest_from(world: World) -> None:
    world.accounts.append(account(1, "One"))
    assert suggested(world, "clients") == {1: []}
    assert suggested(world, "users") == {}


def stored(file: Path, entity: Entity, labelled: Labelled) -> dict[int, list[Suggestion]]:
    with new_warehouse(file).open() as connection:
        store(connection, entity, labelled)
        return suggest_partners(connection, entity)


def test_the_order_of_the_input_changes_nothing(tmp_path: Path) -> None:
    """Names and values repeat, so that there are ties."""
    content = people(150)
    content.right.extend(dict(each) for each in content.right[:100])
    with new_warehouse(tmp_path / "one").open() as connection:
        connection.execute("SET threads = 1; SET preserve_insertion_order = true")
        store(connection, CONTACTS, content)
        before = suggest_partners(connection, CONTACTS)
        for seed in range(5):
            for table in ("bms.contacts", "passportal.contacts", "sync.reconciled_contacts"):
                connection.execute(f"CREATE OR REPLACE TEMP TABLE rows AS FROM {table} ORDER BY md5(rowid || '{seed}')")
                connection.execute(f"TRUNCATE {table}; INSERT INTO {table} FROM rows")
            assert suggest_partners(connection, CONTACTS) == before, f"seed {seed}"


def share_found(answer: dict[int, list[Suggestion]], labelled: Labelled, first: int) -> float:
    hits = [f"P{partner}" in found(answer, n)[:first] for n, partner in enumerate(labelled.partner)]
    return sum(hits) / len(hits)


def test_recall_of_companies(tmp_path: Path) -> None:
    labelled = companies(2_000, seed=7)
    answer = stored(tmp_path / "warehouse", CLIENTS, labelled)
    assert share_found(answer, labelled, 1) >= 0.985
    assert share_found(answer, labelled, 5) >= 0.993


def test_recall_of_people(tmp_path: Path) -> None:
    """Half of the names have typos and many persons share one, so that e-mail, phone and job title decide."""
    labelled = people(2_000, seed=7)
    answer = stored(tmp_path / "warehouse", CONTACTS, labelled)
    assert share_found(answer, labelled, 1) >= 0.92
    assert share_found(answer, labelled, 5) >= 0.97
