"""A Passportal that creates no clients and no users: they go into files that a person imports, each record once."""

from __future__ import annotations

import contextlib
import csv
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.core.entities import BY_NAME, CLIENTS, CONTACTS, ENTITIES, USERS, Entity
from bms_pipeline.core.errors import DecisionRefused, PipelineError, SettingsError
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.load import import_files
from bms_pipeline.passportal.target import Leaving, Write, Written, unmarked
from bms_pipeline.reports import figures
from bms_pipeline.reports.read_models import PendingImports
from bms_pipeline.sync import deciding, loading, planning
from bms_pipeline.warehouse.connection import connect, now
from bms_pipeline_tests.building import (
    CREATE_ALL,
    World,
    account,
    asset,
    contact,
    employee,
    in_passportal,
    location,
    opened_world,
)  # fmt: skip
from bms_pipeline_tests.exploring import examples
from bms_pipeline_tests.load.disturbing import Passing

DOCUMENTS = {"assets", "contacts", "locations"}


class DocumentsOnly(Passing):
    """Passportal as its API shows it: it writes documents, and lists no users unless told."""

    def __init__(self, world: World, *, lists_users: bool = True) -> None:
        super().__init__(world.passportal)
        self.can_write = frozenset(DOCUMENTS)
        self.can_list = frozenset(each.name for each in ENTITIES if lists_users or each.name != "users")

    def create(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """See ``Target.create``."""
        assert entity.name in DOCUMENTS
        return super().create(entity, writes, leaving)

    def update(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """See ``Target.update``."""
        assert entity.name in DOCUMENTS
        return super().update(entity, writes, leaving)


class Died(BaseException):
    """The process ends here."""


def fill(world: World) -> World:
    """Client Acme and user Ann are there; client Beta and user Bob are new, with something inside each client."""
    world.accounts = [account(1, "Acme"), account(2, "Beta")]
    world.employees = [employee(1, "Ann", "Lee"), employee(2, "Bob", "Ray", emailAddress="bob@msp.example")]
    world.contacts = [contact(1, 1, "Cid", "One"), contact(2, 2, "Dot", "Two")]
    world.assets = [asset(1, 1, "PC-1"), asset(2, 2, "PC-2")]
    world.passportal_holds(clients=[in_passportal("C1", "ACME")], users=[in_passportal("U1", "Ann Lee")])
    return world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Filled, and nothing is read yet."""
    with opened_world(tmp_path) as world:
        yield fill(world)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Filled and planned."""
    with opened_world(tmp_path_factory.mktemp("prepared")) as world:
        fill(world).plan(CREATE_ALL, DocumentsOnly(world))
    return world


@pytest.fixture(scope="module")
def finished(prepared: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Filled, planned and loaded: Beta and Bob are in files that wait for an import."""
    with opened_world(tmp_path_factory.mktemp("finished"), like=prepared) as world:
        world.finish(DocumentsOnly(world))
    return world


@pytest.fixture
def planned(prepared: World, tmp_path: Path) -> Iterator[World]:
    """A copy of ``prepared``."""
    with opened_world(tmp_path, like=prepared) as world:
        yield world


@pytest.fixture
def handed(finished: World, tmp_path: Path) -> Iterator[World]:
    """A copy of ``finished``, with its files."""
    with opened_world(tmp_path, like=finished) as world:
        shutil.copytree(finished.settings.import_folder, world.settings.import_folder)
        yield world


def files(world: World) -> dict[str, list[list[str]]]:
    """Entity → the rows of all its files, without their headings."""
    found: dict[str, list[list[str]]] = {}
    for file in sorted(world.settings.import_folder.glob("*.csv")):
        rows = list(csv.reader(file.read_text(encoding="utf-8").splitlines()))
        found.setdefault(file.name.partition("-")[0], []).extend(rows[1:])
    return found


def import_by_hand(world: World) -> None:
    """A person imports every file and deletes it; Passportal gives ids and looks at nothing that is there."""
    for file in sorted(world.settings.import_folder.glob("*.csv")):
        number = len(world.content())
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        if file.name.startswith("clients"):
            names = [each["Client Name"] for each in rows]
        else:
            names = [f"{each['First Name']} {each['Last Name']}" for each in rows]
        entity = file.name.partition("-")[0]
        world.passportal_holds(
            **{entity: [in_passportal(f"imported-{number + n}", name) for n, name in enumerate(names)]}
        )
        file.unlink()


def test_new_clients_and_users_go_into_a_file_and_the_next_sync_adopts_them(world: World) -> None:
    target = DocumentsOnly(world)
    counts = world.cycle(CREATE_ALL, target)
    assert files(world) == {
        "clients": [["", "Beta", "", ""]], "users": [["", "Ray", "Bob", "bob@msp.example", ""]],
    }  # fmt: skip
    assert (counts["clients"]["adopted"], counts["clients"]["unmatched"], counts["clients"]["pending"]) == (1, 1, 0)
    assert world.decisions("contacts")[2] == ("blocked", "client_not_in_passportal", None)
    assert world.titles("contact") == ["Cid One"], "what is inside Acme does not wait"

    import_by_hand(world)
    world.cycle(CREATE_ALL, target)
    assert world.titles("client") == ["ACME", "Beta"]
    assert world.titles("contact") == ["Cid One", "Dot Two"]
    assert world.titles("asset") == ["PC-1", "PC-2"]
    assert {each["state"] for each in figures.pending_imports(world.warehouse)} == {"adopted"}
    assert world.plan(CREATE_ALL, target).operations == 0


def test_while_an_import_is_waited_for_nothing_is_planned_or_handed_over_twice(handed: World) -> None:
    target = DocumentsOnly(handed)
    before = files(handed)
    for _ in range(2):
        plan = handed.plan(CREATE_ALL, target)
        assert plan.operations == 0
        assert handed.operations("clients")[2][:2] == ("skip", "handed_over")
        handed.finish(target)
    assert files(handed) == before
    assert not planning.is_anything_new(handed.warehouse)


def test_the_initial_sync_ends_although_an_import_is_waited_for(handed: World) -> None:
    assert figures.status(handed.settings, handed.warehouse).initial_sync_finished
    assert figures.status(handed.settings, handed.warehouse).hand_overs == PendingImports(
        waiting=2, overdue=0, folder=str(handed.settings.import_folder)
    )


def test_what_cannot_be_written_is_never_updated(handed: World) -> None:
    target = DocumentsOnly(handed)
    handed.accounts[0] = account(1, "Acme International")
    assert handed.plan(CREATE_ALL, target).operations == 0
    assert handed.operations("clients")[1].kept == {"name": ("Acme International", "ACME")}


def test_an_undo_takes_back_the_match_with_a_client_that_cannot_be_written(handed: World) -> None:
    """Nothing marks it in Passportal, where it is read once more before the undo is loaded."""
    assert ("clients", 1) in handed.query("SELECT entity, bms_id FROM sync.matches")
    deciding.plan_undo(handed.warehouse, int(figures.loads(handed.warehouse)[0]["plan_id"]))
    handed.finish(DocumentsOnly(handed))
    assert ("clients", 1) not in handed.query("SELECT entity, bms_id FROM sync.matches")
    handed.plan(CREATE_ALL, DocumentsOnly(handed))
    assert handed.decisions("clients")[1][:2] == ("unmatched", "unmatched_by_person")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Please Select", "placeholder_name"),
        ("00000000", "placeholder_name"),
        ("xxx", "placeholder_name"),
        ("Bell\x07 & Tab\x08", "waits_for_decision"),
    ],
)
def test_a_client_that_nobody_would_know_again_is_not_handed_over_with_all_others(
    world: World, name: str, reason: str
) -> None:
    world.accounts.append(account(3, name))
    world.plan(CREATE_ALL, DocumentsOnly(world))
    assert world.decisions("clients")[2][0] == "to_create"
    assert world.decisions("clients")[3][:2] == ("unmatched", reason)
    world.create("clients", 3)
    assert world.decisions("clients")[3][0] == "to_create", "a person may want it by its id"


def test_users_that_are_not_listed_are_left_alone(world: World) -> None:
    """Any of them may be there already: handing it over would make it a second time."""
    world.cycle(CREATE_ALL, DocumentsOnly(world, lists_users=False))
    assert set(world.decisions("users").values()) == {("blocked", "not_listed_in_passportal", None)}
    assert "users" not in files(world)


def test_one_client_is_excluded_after_its_hand_over(handed: World) -> None:
    target = DocumentsOnly(handed)
    handed.exclude("clients", 2)
    assert handed.plan(CREATE_ALL, target).operations == 0
    assert [each["state"] for each in figures.pending_imports(handed.warehouse) if each["entity"] == "clients"] == [
        "excluded"
    ]


def test_a_name_that_looks_like_a_formula_is_none_in_the_file(world: World) -> None:
    world.accounts = [account(2, '=HYPERLINK("http://evil.example")')]
    phone = [location(1, "HQ", isMain=True, addresses=[{"phone": "+1 555 0100", "isMain": True}])]
    world.accounts.append(account(3, "Gamma", *phone))
    world.cycle(CREATE_ALL, DocumentsOnly(world))
    assert files(world)["clients"] == [
        ["", "'=HYPERLINK(\"http://evil.example\")", "", ""], ["", "Gamma", "+1 555 0100", ""],
    ]  # fmt: skip


# The tenant's own columns


def test_the_columns_are_those_of_the_tenants_file(world: World, tmp_path: Path) -> None:
    headers = tmp_path / "downloaded.csv"
    headers.write_text("\ufeffEmail,Client Name,Account Manager,Phone\r\n", encoding="utf-8")
    world.settings.passportal_import_headers_clients = headers
    world.cycle(CREATE_ALL, DocumentsOnly(world))
    assert files(world)["clients"] == [["", "Beta", "", ""]]
    (file,) = world.settings.import_folder.glob("clients-*.csv")
    assert file.read_text(encoding="utf-8").splitlines()[0] == "Email,Client Name,Account Manager,Phone"


def test_the_labels_of_the_mapping_are_headings_and_a_field_left_out_is_blank(tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("Vorname,Last Name,Email,Foto\r\n")
    mapping = parse_mapping({"users": {"fields": {"first_name": "Vorname", "email": False}}})
    assert import_files.read_headers(USERS, file, mapping) == {
        "Vorname": "first_name",
        "Last Name": "last_name",
        "Email": None,
        "Foto": None,
    }


@pytest.mark.parametrize("content", ["Phone,Email\r\n", "", None], ids=["no name", "empty", "not there"])
def test_columns_without_a_name_are_refused_before_anything_is_noted(
    world: World, tmp_path: Path, content: str | None
) -> None:
    headers = tmp_path / "downloaded.csv"
    if content is not None:
        headers.write_text(content, encoding="utf-8")
    world.settings.passportal_import_headers_clients = headers
    with pytest.raises(SettingsError, match="PASSPORTAL_IMPORT_HEADERS_CLIENTS"):
        world.cycle(CREATE_ALL, DocumentsOnly(world))
    assert world.query("SELECT count(*) FROM sync.pending_imports") == [(0,)]


# A file that was lost


def test_what_was_lost_is_handed_over_anew_and_nothing_else(handed: World) -> None:
    target = DocumentsOnly(handed)
    for file in handed.settings.import_folder.iterdir():
        file.unlink()
    deciding.reissue_import(handed.warehouse, CLIENTS, [2], "a person")
    handed.cycle(CREATE_ALL, target)
    assert files(handed) == {"clients": [["", "Beta", "", ""]]}


def test_what_passportal_lists_is_not_handed_over_again(handed: World) -> None:
    target = DocumentsOnly(handed)
    import_by_hand(handed)
    handed.reconcile(CREATE_ALL, target)
    with pytest.raises(DecisionRefused, match="client 2 is listed"):
        deciding.reissue_import(handed.warehouse, CLIENTS, [2], "a person")
    with pytest.raises(DecisionRefused, match="client 1 is not handed over"):
        deciding.reissue_import(handed.warehouse, CLIENTS, [1], "a person")


def test_a_person_gets_the_files_into_a_folder_and_none_is_replaced(handed: World, tmp_path: Path) -> None:
    names = [row["file"] for row in figures.pending_imports(handed.warehouse)]
    folder = tmp_path / "to" / "import"
    saved = loading.save_import_files(handed.settings, names, folder)
    assert {file.name: file.read_bytes() for file in saved} == {
        file.name: file.read_bytes() for file in handed.settings.import_folder.glob("*.csv")
    }
    saved[0].write_text("edited")
    assert loading.save_import_files(handed.settings, [*names, "missing.csv"], folder) == []
    assert saved[0].read_text() == "edited"


def test_a_file_that_nobody_imports_is_overdue(handed: World) -> None:
    with handed.warehouse.open() as connection:
        much_later = timedelta(days=import_files.OVERDUE_DAYS + 1)
        later = import_files.list_pending_imports(connection, ENTITIES, now() + much_later)
    assert [each["overdue"] for each in later] == [True, True]


# Crashes, and a database that is lost


@pytest.mark.parametrize(
    ("step", "before"), [("write_missing_files", True), ("_ids_text", True), ("_csv_text", True),
                         ("_csv_text", False), ("write_missing_files", False)],
    ids=["noted", "no file begun", "ids beside it", "written and not in place", "marked as written"],
)  # fmt: skip
def test_killed_between_any_two_steps_the_next_run_hands_over_the_same(planned: World, step: str, before: bool) -> None:
    target = DocumentsOnly(planned)
    planned.approve(planning.current_plan(planned.warehouse).hash, target)
    with dying(step, before=before), pytest.raises(Died):
        planned.load(target)
    planned.cycle(CREATE_ALL, target)
    assert files(planned) == {
        "clients": [["", "Beta", "", ""]], "users": [["", "Ray", "Bob", "bob@msp.example", ""]],
    }  # fmt: skip
    assert planned.query("SELECT count(*) FROM sync.pending_imports WHERE written_at IS NULL") == [(0,)]


@contextlib.contextmanager
def dying(step: str, *, before: bool) -> Iterator[None]:
    """The process dies before, or right after, a step of a hand-over."""
    go = getattr(import_files, step)

    def dies(*arguments: object) -> None:
        if not before:
            go(*arguments)
        raise Died

    with mock.patch.object(import_files, step, dies):
        yield


def test_with_the_database_lost_nothing_is_created_or_handed_over_again(handed: World, tmp_path: Path) -> None:
    target = DocumentsOnly(handed)
    import_by_hand(handed)
    handed.cycle(CREATE_ALL, target)
    with rebuilt(handed, tmp_path / "rebuilt") as again:
        plan = again.plan(None, DocumentsOnly(again))
        assert {each.operation for entity in BY_NAME for each in again.operations(entity).values()} == {"adopt"}
        again.finish(DocumentsOnly(again))
        assert plan.operations == 8
        assert again.content() == handed.content()
        assert again.plan(CREATE_ALL, DocumentsOnly(again)).operations == 0


def test_with_the_database_lost_while_an_import_is_waited_for_the_files_tell(handed: World, tmp_path: Path) -> None:
    before = files(handed)
    with rebuilt(handed, tmp_path / "rebuilt") as again:
        again.cycle(None, DocumentsOnly(again))
        assert files(again) == before
        assert {each["state"] for each in figures.pending_imports(again.warehouse)} == {"handed over"}


@pytest.mark.parametrize("content", ["", "{", "{}", '{"handed_over_at": "x", "records": []}', '{"records": [1]}'])
def test_with_the_database_lost_a_damaged_file_stops_the_run_by_name_and_nothing_is_handed_over_twice(
    handed: World, tmp_path: Path, content: str
) -> None:
    with rebuilt(handed, tmp_path / "rebuilt") as again:
        before = sorted(each.name for each in again.settings.import_folder.iterdir())
        damaged = next(again.settings.import_folder.glob("clients-*.json"))
        damaged.write_text(content, encoding="utf-8")
        with pytest.raises(PipelineError, match="is damaged") as stopped:
            again.plan(None, DocumentsOnly(again))
        assert damaged.name in stopped.value.message
        assert sorted(each.name for each in again.settings.import_folder.iterdir()) == before


@contextlib.contextmanager
def rebuilt(world: World, folder: Path) -> Iterator[World]:
    """The same tenant and Passportal, and its import files, with a database that a person started over."""
    lists = {each: getattr(world, each) for each in ("accounts", "employees", "contacts", "assets")}
    with opened_world(folder, **lists) as again:
        with closing(connect(world.settings.passportal_file)) as held:
            rows = held.execute("FROM records").fetchall()
        with closing(connect(again.settings.passportal_file)) as held:
            held.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        shutil.copytree(world.settings.import_folder, again.settings.import_folder)
        again.set("rebuilt_at", "2026-01-01 00:00:00")
        yield again


# Any history


@examples(3, 100)
@given(steps=st.lists(st.sampled_from(["sync", "crash", "import", "new client"]), max_size=8))
def test_whatever_happens_no_client_is_there_twice(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    """Each record is in at most one file ever, and the imported ones are adopted."""
    with opened_world(tmp_path_factory.mktemp("any"), entities=(CLIENTS, CONTACTS)) as world:
        target = DocumentsOnly(world)
        world.accounts = [account(1, "Client 1")]
        for step in [*steps, "sync", "import", "sync"]:
            _STEPS[step](world, target)
        names = world.titles("client")
        assert sorted(names) == sorted({f"Client {each['id']}" for each in world.accounts})
        assert world.plan(CREATE_ALL, target).operations == 0


def _crash(world: World, target: DocumentsOnly) -> None:
    plan = world.plan(CREATE_ALL, target)
    world.approve(plan.hash, target)
    with dying("_csv_text", before=True), contextlib.suppress(Died):
        world.load(target)


_STEPS: dict[str, Callable[[World, DocumentsOnly], object]] = {
    "sync": lambda world, target: world.cycle(CREATE_ALL, target),
    "crash": _crash,
    "import": lambda world, _: import_by_hand(world),
    "new client": lambda world, _: world.accounts.append(
        account(len(world.accounts) + 1, f"Client {len(world.accounts) + 1}")
    ),
}
