"""What Passportal refused for its values is not sent again until something changes, or a person asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bms_pipeline.core.entities import CLIENTS, CONTACTS, Entity
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.core.vocabulary import Outcome
from bms_pipeline.passportal.target import Leaving, Write, Written, unmarked
from bms_pipeline.plan import standings
from bms_pipeline.plan.standings import Standing
from bms_pipeline.reconcile.sync_settings import store_sync_setting
from bms_pipeline.reports import figures, stories
from bms_pipeline.reports.plan_preview import overview
from bms_pipeline.sync import deciding, services
from bms_pipeline.warehouse.connection import now
from bms_pipeline_tests.building import World, account, contact, in_passportal, opened_world
from bms_pipeline_tests.load.disturbing import Passing

WORDS = "Job Title: choose one of the list"


class Choosy(Passing):
    """Refuses one job title, in changes and in new documents, as a select element does."""

    def __init__(self, world: World, title: str) -> None:
        super().__init__(world.passportal)
        self.title = title
        self.sent: list[int] = []

    def update(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """See ``Target.update``."""
        return self._choose(entity, writes, leaving, super().update)

    def create(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """See ``Target.create``."""
        return self._choose(entity, writes, leaving, super().create)

    def _choose(self, entity, writes, leaving, go) -> list[Written]:  # type: ignore[no-untyped-def]  # noqa: ANN001
        self.sent += [each.bms_id for each in writes]
        refused = {each.bms_id for each in writes if each.values.get("job_title") == self.title}
        done = {each.bms_id: each for each in go(entity, [w for w in writes if w.bms_id not in refused], leaving)}
        return [
            done.get(w.bms_id, Written(w.bms_id, Outcome.REFUSED, WORDS, of_values=w.bms_id in refused)) for w in writes
        ]


def people(*titles: str) -> list[dict[str, object]]:
    return [contact(n, 1, "Person", str(n), jobTitle=title) for n, title in enumerate(titles, start=1)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One client and two contacts, loaded."""
    with opened_world(tmp_path_factory.mktemp("loaded"), entities=(CLIENTS, CONTACTS)) as world:
        world.accounts = [account(1, "Acme")]
        world.contacts = people("a", "a")
        world.passportal_holds(clients=[in_passportal("C1", "Acme")])
        world.cycle()
    return world


@pytest.fixture
def world(loaded: World, tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home", like=loaded) as world:
        yield world


def test_a_refused_value_is_sent_once_and_stays_listed_with_the_services_words(world: World) -> None:
    choosy = Choosy(world, "boss")
    world.contacts = people("boss", "b")
    assert world.cycle(target=choosy)["contacts"]["failed"] == 1
    assert choosy.sent == [1, 2]
    counts = world.cycle(target=choosy)["contacts"]
    assert choosy.sent == [1, 2], "the second sync writes nothing"
    assert (counts["failed"], counts["unchanged"]) == (1, 1)
    assert world.plan(target=choosy).operations == 0
    (row,) = figures.refused_values(world.warehouse)
    assert (row["bms_id"], row["fields"], row["detail"]) == (1, ["job_title"], WORDS)
    assert overview(world.warehouse).totals["contacts"]["refused"] == 1
    with world.warehouse.open() as connection:
        assert standings.counts(connection)["contacts"][Standing.REFUSED] == 1
    assert WORDS in stories.plain(stories.tell(world.warehouse, "contacts", 1).sentence)


def test_another_value_in_bms_is_sent(world: World) -> None:
    choosy = Choosy(world, "boss")
    world.contacts = people("boss", "a")
    world.cycle(target=choosy)
    world.contacts = people("chief", "a")
    assert world.cycle(target=choosy)["contacts"]["updated"] == 1
    assert figures.refused_values(world.warehouse) == []


def test_a_document_that_a_person_changed_is_sent_to_again(world: World) -> None:
    choosy = Choosy(world, "boss")
    world.contacts = people("boss", "a")
    world.cycle(target=choosy)
    choosy.sent.clear()
    world.edit_passportal(
        "UPDATE records SET last_modified = '2027-01-01T00:00:00Z' WHERE marker = '1' AND type = 'contact'"
    )
    choosy.title = "nobody"
    assert world.cycle(target=choosy)["contacts"]["updated"] == 1
    assert choosy.sent == [1]


def test_a_person_asks_for_it_again(world: World) -> None:
    choosy = Choosy(world, "boss")
    world.contacts = people("boss", "a")
    world.cycle(target=choosy)
    assert deciding.retry(world.warehouse, {"contacts": [1, 2]}) == 1
    choosy.title = "nobody"
    assert world.cycle(target=choosy)["contacts"]["updated"] == 1
    assert deciding.retry(world.warehouse, {"contacts": [1]}) == 0


def test_a_new_document_that_is_refused_is_not_sent_again_either(world: World) -> None:
    choosy = Choosy(world, "boss")
    world.contacts = people("a", "a", "boss")
    world.cycle(target=choosy)
    choosy.sent.clear()
    counts = world.cycle(target=choosy)["contacts"]
    assert (choosy.sent, counts["failed"]) == ([], 1)
    world.contacts = people("a", "a", "chief")
    assert world.cycle(target=choosy)["contacts"]["created"] == 1


def test_what_was_refused_for_another_cause_is_sent_again(world: World) -> None:
    world.contacts = people("b", "a")
    plan = world.plan()
    world.approve(plan.hash)
    world.edit_passportal("UPDATE records SET marker = '99' WHERE marker = '1' AND type = 'contact'")
    assert world.load()["contacts"]["failed"] == 1
    world.edit_passportal("UPDATE records SET marker = '1' WHERE marker = '99'")
    assert world.cycle()["contacts"]["updated"] == 1


def test_another_form_of_writes_is_tried_on_what_the_former_one_could_not_write(world: World) -> None:
    choosy = Choosy(world, "boss")
    world.contacts = people("boss", "a")
    of_a_service = world.settings.model_copy(update={"passportal_target": "documents_api"})
    services.note_form_of_writes(world.warehouse, of_a_service)
    world.cycle(target=choosy)
    services.note_form_of_writes(world.warehouse, of_a_service)
    assert world.plan(target=choosy).operations == 0
    services.note_form_of_writes(world.warehouse, of_a_service.model_copy(update={"passportal_values": "element"}))
    assert world.plan(target=choosy).operations == 1


def test_a_value_that_was_refused_is_tried_under_another_label(world: World) -> None:
    choosy = Choosy(world, "boss")
    world.contacts = people("boss", "a")
    world.cycle(target=choosy)
    assert world.plan(target=choosy).operations == 0
    mapping = parse_mapping({"version": 1, "contacts": {"fields": {"job_title": "Role"}}})
    with world.warehouse.transaction() as connection:
        store_sync_setting(connection, "mapping", mapping.as_json(), now())
    assert world.plan(target=choosy).operations == 1
