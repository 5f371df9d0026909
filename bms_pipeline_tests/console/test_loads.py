"""The page of a load and the page of a client: what was done to which record, and what waits for what."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from bms_pipeline.console.context import Console
from bms_pipeline.reports import figures
from bms_pipeline_tests.building import World, contact, opened_world
from bms_pipeline_tests.console.serving import Person, served


@pytest.fixture(scope="module")
def world(prepared: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two loads: the first of everything, the second of one contact of Acme whose e-mail changed."""
    with opened_world(tmp_path_factory.mktemp("loaded") / "home", like=prepared) as found:
        found.finish()
        found.contacts[0] = contact(100, 10, "Dee", "Dee", "new@acme.example")
        found.set("update_share", 1.0)
        found.cycle(None)
        found.let_go_of_the_warehouse()
        yield found


@pytest.fixture(scope="module")
def console(world: World) -> Iterator[Console]:
    with served(world.settings) as found:
        yield found


@pytest.fixture(scope="module")
def numbers(world: World) -> tuple[int, int]:
    """The first and the last load."""
    found = [int(load["plan_id"]) for load in figures.loads(world.warehouse)]
    return found[-1], found[0]


def rows(person: Person) -> list[str]:
    """The records that a page lists, each as one text."""
    assert person.page is not None
    body = person.page.text.rpartition("<tbody>")[2].partition("</tbody>")[0]
    return [" ".join(re.sub(r"<[^>]*>", " ", row).split()) for row in re.findall(r"<tr>.*?</tr>", body, re.DOTALL)]


def test_what_changed_in_one_client_in_the_last_load_is_two_clicks_away(alex: Person) -> None:
    assert 'href="/clients/10"' in alex.get("/")
    assert 'href="/clients/10?tab=load"' in alex.get("/clients/10")
    alex.get("/clients/10?tab=load")
    (row,) = rows(alex)
    assert row == "Dee Dee contact 100 updated Email Address: dee@acme.example → new@acme.example"


def test_a_client_that_no_load_touched_says_so(alex: Person, numbers: tuple[int, int]) -> None:
    first, last = numbers
    alex.get("/clients/13?tab=load")
    assert "No load changed anything in this client so far." in alex.text
    alex.get(f"/loads/{first}?client=10")
    assert {row.split()[0] for row in rows(alex)} == {"Acme", "Dee"}
    alex.get(f"/loads/{last}?client=11")
    assert "No record of this load is like that." in alex.text


def test_a_load_is_filtered_by_entity_operation_outcome_client_and_text(alex: Person, numbers: tuple[int, int]) -> None:
    first, _ = numbers
    alex.get("/runs")
    assert f'href="/loads/{first}"' in alex.page.text  # type: ignore[union-attr]

    def found(query: str) -> set[str]:
        alex.get(f"/loads/{first}?{query}")
        return {row.split()[0] for row in rows(alex)} if "No record of this load" not in alex.text else set()

    assert found("") == {"Acme", "Ada", "Dee"}
    assert found("entity=users") == {"Ada"}
    assert found("operation=create") == {"Dee"}
    assert found("operation=adopt&outcome=done") == {"Acme", "Ada"}
    assert found("outcome=refused") == set()
    assert found("client=10") == found("client=ACME") == {"Acme", "Dee"}
    assert found("q=dEE") == found("q=100") == {"Dee"}
    assert found("q=%25") == set()
    assert found("entity=nothing&operation=skip&outcome=x&page=99999") == {"Acme", "Ada", "Dee"}


def test_what_waits_in_a_client_says_what_why_and_where_to_decide(alex: Person) -> None:
    text = alex.get("/clients/11?tab=waiting")
    assert [row for row in rows(alex) if row.startswith("Eve Moore contact 101 blocked")]
    assert 'href="/review/clients/11/match"' in text
    alex.get("/clients/10?tab=waiting")
    assert "Nothing of this client waits." in alex.text


def test_the_records_of_a_client_are_counted_by_standing_and_each_count_leads_to_them(alex: Person) -> None:
    text = alex.get("/clients/10")
    assert "The client is in sync ." in alex.text
    assert 'href="/clients/10?entity=contacts&amp;standing=in%20sync"' in text
    alex.get("/clients/10?entity=contacts&standing=in%20sync")
    assert [row.split(" contact")[0] for row in rows(alex)] == ["Dee Dee"]
    alex.get("/clients/999")
    assert alex.status == 404
    assert "BMS has listed no client with id 999" in alex.text


def test_a_record_names_its_client_and_leads_to_it(alex: Person) -> None:
    assert 'href="/clients/11"' in alex.get("/records/contacts/101")
    assert "Waits for its client Borealis, about which nobody decided yet." in alex.text
    assert "Decide about its client: Borealis" in alex.text


def test_a_load_names_who_approved_it_and_can_be_taken_back_from_its_page(
    alex: Person, numbers: tuple[int, int]
) -> None:
    first, _ = numbers
    alex.get("/loads/9999")
    assert alex.status == 404
    assert "Nothing was loaded by plan 9999." in alex.text
    alex.get(f"/loads/{first}")
    assert "approved by a person ." in alex.text
    alex.send("/runs/undo")
    assert f"takes back plan {first}" in alex.text
