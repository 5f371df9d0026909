"""What a person does in the stand-in for Passportal: import, export, edit; and what of it a restart keeps."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bms_pipeline_tests.running import Home
from bms_pipeline_tests.sandbox.passportal_calling import DOCUMENTS, Stranger, stranger
from bms_sandbox.documents_api.store import Record, Store
from bms_sandbox.process import Sandbox, SandboxFailed, SandboxPassportal, import_new_files, running_passportal

CLIENTS = "Passportal ID,Client Name,Phone,Email\r\n"
USERS = "Passportal ID (BLANK),Last Name,First Name,Email,Phone\r\n"


@pytest.fixture
def passportal(passportal_file: Path) -> Stranger:
    return stranger(passportal_file)


def import_text(passportal: Stranger, entity: str, text: str) -> int:
    answer = passportal.post(f"/sandbox/import/{entity}", content=text.encode())
    return int(answer.json()["imported"]) if answer.status_code == 200 else -1


def exported(passportal: Stranger) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(passportal.get("/sandbox/users.csv").content.decode(), newline="")))


def test_each_row_makes_a_client_and_the_same_file_makes_it_again(passportal: Stranger) -> None:
    file = f'{CLIENTS},"A, ""B"" & Co",555,a@b.example\r\n,=Formula,,\r\n'
    assert [import_text(passportal, "clients", file) for _ in range(2)] == [2, 2]
    new = [each for each in passportal.records() if int(each["id"]) >= 60000000]
    assert [(each["type"], each["title"], each["details"], each["marker"]) for each in new] == 2 * [
        ("client", 'A, "B" & Co', {"Phone": "555", "Email": "a@b.example"}, None),
        ("client", "=Formula", {}, None),
    ]
    assert len({each["id"] for each in new}) == 4
    assert {each["id"] for each in passportal.all_pages(f"{DOCUMENTS}/clients")} >= {int(each["id"]) for each in new}


def test_an_imported_client_takes_documents(passportal: Stranger) -> None:
    import_text(passportal, "clients", f"{CLIENTS},Acme,,\r\n")
    client = int(passportal.record(title="Acme")["id"])
    assert passportal.post(DOCUMENTS, json=[{"templateUid": "tpl-5001", "clientId": client, "title": "HQ"}]).is_success


def test_users_come_in_by_a_file_and_go_out_in_another(passportal: Stranger, tenant_folder: Path) -> None:
    lines = (tenant_folder / "passportal" / "users.ndjson").read_text().splitlines()
    before = {(each["passportal_id"], each["name"], each["email"] or "") for each in map(json.loads, lines)}
    assert {
        (each["Passportal ID"], f"{each['First Name']} {each['Last Name']}".strip(), each["Email"])
        for each in exported(passportal)
    } == before
    assert import_text(passportal, "users", f"\ufeff{USERS},Lee,Ann,ann@a.example,555\r\n") == 1
    assert exported(passportal)[-1] == {
        "Passportal ID": "60000000", "Last Name": "Lee", "First Name": "Ann", "Email": "ann@a.example", "Phone": "555",
    }  # fmt: skip
    assert passportal.record(title="Ann Lee", type="user")["details"]["Last Name"] == "Lee"


@pytest.mark.parametrize(
    ("entity", "text"),
    [
        ("clients", ""),
        ("clients", "Client Name,Phone,Email\r\nAcme,,\r\n"),
        ("clients", f"{USERS},Lee,Ann,,\r\n"),
        ("clients", f"{CLIENTS},Acme,,\r\n, ,,\r\n"),
        ("clients", f"{CLIENTS},Acme,,\r\n,Short\r\n"),
        ("users", f"{USERS},,,x@a.example,\r\n"),
        ("assets", CLIENTS),
    ],
)
def test_a_file_that_is_not_as_passportal_wants_it_is_not_imported(
    passportal: Stranger, entity: str, text: str
) -> None:
    before = passportal.records()
    assert import_text(passportal, entity, text) == -1
    assert passportal.records() == before


def edit(passportal: Stranger, record_id: str | int, **changes: Any) -> int:
    return passportal.post("/sandbox/edit", json={"id": record_id, **changes}).status_code


def test_a_person_edits_one_field_and_the_others_stay(passportal: Stranger) -> None:
    before = passportal.values(50000001)
    assert edit(passportal, 50000001, details={"Hostname": "edited", "Type": None}) == 200
    after = {label: text for label, text in before.items() if label != "Type"} | {"Hostname": "edited"}
    assert passportal.values(50000001) == after
    assert passportal.document(50000001)["last_modified"] == "2027-01-15T08:00:00Z"
    edit(passportal, 10000001, title="Renamed")
    assert passportal.record(id="10000001")["title"] == "Renamed"
    edit(passportal, 20000001, details={"First Name": "Renamed"})
    assert passportal.record(id="20000001")["title"].startswith("Renamed ")


def test_a_disabled_document_is_shown_to_nobody_until_it_is_enabled(passportal: Stranger) -> None:
    title = passportal.document(50000001)["label"]
    edit(passportal, 50000001, disabled=True)
    assert passportal.get(f"{DOCUMENTS}/50000001").status_code == 403
    assert 50000001 not in {each["id"] for each in passportal.all_pages()}
    assert "50000001" not in {each["id"] for each in passportal.records()}
    edit(passportal, 50000001, disabled=False)
    assert passportal.document(50000001)["label"] == title


def test_an_edit_of_what_is_not_there_is_refused(passportal: Stranger) -> None:
    assert edit(passportal, 1, title="x") == edit(passportal, 50000001, colour="x") == 422


@pytest.mark.parametrize(
    ("edited", "marker", "left"),
    [
        ({"custom_id": "kaseya-bms:7"}, "7", {"Model": "M"}),
        ({"custom_id": "rmm:7"}, None, {"Model": "M"}),
        ({"details": {"ID": "kaseya-bms:7", "Integration Type": "Kaseya BMS"}}, "7", {"Model": "M"}),
        (
            {"details": {"ID": "7", "Integration Type": "Kaseya BMS"}},
            None,
            {"Model": "M", "ID": "7", "Integration Type": "Kaseya BMS"},
        ),
        ({"details": {"Notes": "<p>Two</p><p>Kaseya BMS ID: 7</p>"}}, "7", {"Model": "M", "Notes": "<p>Two</p>"}),
        (
            {"details": {"ID": "7", "Integration Type": "Some RMM"}},
            None,
            {"Model": "M", "ID": "7", "Integration Type": "Some RMM"},
        ),
        ({"details": {"Notes": "Kaseya BMS ID: 7"}}, "7", {"Model": "M"}),
        ({"details": {"Notes": "Two\n\nlines\nKaseya BMS ID: 7"}}, "7", {"Model": "M", "Notes": "Two\n\nlines"}),
        (
            {"details": {"Notes": "Kaseya BMS ID: 7\nis no last line"}},
            None,
            {"Model": "M", "Notes": "Kaseya BMS ID: 7\nis no last line"},
        ),
        ({"custom_id": "kaseya-bms:7", "details": {"Notes": "Kaseya BMS ID: 8"}}, "7,8", {"Model": "M"}),
        ({"custom_id": "kaseya-bms:7", "details": {"Notes": "Kaseya BMS ID: 7"}}, "7", {"Model": "M"}),
    ],
)
def test_the_dump_tells_the_marker_apart_from_what_people_keep(
    passportal: Stranger, edited: dict[str, Any], marker: str | None, left: dict[str, str]
) -> None:
    passportal.post(
        DOCUMENTS,
        json=[{"templateUid": "tpl-79", "clientId": 10000001, "title": "T", "details": {"Name": "T", "Model": "M"}}],
    )
    edit(passportal, 60000000, **edited)
    row = passportal.record(id="60000000")
    assert (row["marker"], row["details"]) == (marker, left)


def test_a_name_field_that_contradicts_the_title_is_dumped(passportal: Stranger) -> None:
    edit(passportal, 50000001, title="Only the title")
    assert passportal.record(id="50000001")["details"]["Name"] != "Only the title"


def test_a_torn_last_line_is_a_call_that_was_never_answered(tmp_path: Path) -> None:
    file = tmp_path / "passportal.ndjson"
    Store.make(file, [Record(1, "client", "A", 0)])
    Store(file).put([Record(2, "client", "B", 0)])
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"id":3,"type":"cli')
    again = Store(file)
    assert [each.title for each in again.of_type("client")] == ["A", "B"]
    again.put([Record(4, "client", "D", 0)])
    assert [each.id for each in Store(file).of_type("client")] == [1, 2, 4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("passportal")


@pytest.fixture(scope="module")
def running(folder: Path, tenant_folder: Path) -> Iterator[SandboxPassportal]:
    with running_passportal(folder, tenant_folder) as passportal:
        yield passportal


def test_what_was_done_stays_over_a_kill(tmp_path: Path, tenant_folder: Path) -> None:
    file = tmp_path / "clients-1.csv"
    file.write_text(f"{CLIENTS},Acme,,\r\n")
    with running_passportal(tmp_path, tenant_folder) as passportal:
        passportal.import_file("clients", file)
        edited = passportal.edit(50000001, title="Edited")
        passportal.set_clock(2_000_000_000)
        before = passportal.records()
    with running_passportal(tmp_path, tenant_folder) as passportal:
        assert passportal.records() == before
        assert edited in before
        passportal.import_file("clients", file)
        assert [each["id"] for each in passportal.records() if each["title"] == "Acme"] == ["60000000", "60000001"]


def test_a_person_imports_each_file_once(running: SandboxPassportal, tmp_path: Path) -> None:
    assert import_new_files(running.url, tmp_path) == []
    first, second = tmp_path / "clients-1.csv", tmp_path / "users-1.csv"
    first.write_text(f"{CLIENTS},Once Ltd,,\r\n")
    assert [import_new_files(running.url, tmp_path) for _ in range(2)] == [[first], []]
    second.write_text(f"{USERS},Only,Once,,\r\n")
    assert import_new_files(running.url, tmp_path) == [second]
    assert sorted(each["title"] for each in running.records() if "Once" in each["title"]) == ["Once Ltd", "Once Only"]
    assert "Only,Once" in running.export_users().read_text()


def test_a_refused_import_says_why(running: SandboxPassportal, tmp_path: Path) -> None:
    (tmp_path / "clients-1.csv").write_text("Client Name\r\nAcme\r\n")
    with pytest.raises(SandboxFailed, match="The columns must be Passportal ID, Client Name, Phone, Email"):
        import_new_files(running.url, tmp_path)


def test_a_home_asks_it_as_it_asks_the_embedded_one_and_the_command_line_plays_the_person(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    query = (
        "SELECT id, type, client_id, title, details['Serial Number'], details['Email Address'], details['City'], marker"
        " FROM records WHERE type IN ('client', 'user', 'asset', 'contact', 'location') ORDER BY ALL"
    )
    with running_passportal(tmp_path / "passportal", sandbox.folder) as service:
        embedded, home = Home(tmp_path / "one", sandbox), Home(tmp_path / "two", sandbox, service=service)
        blank_as_none = [tuple(each or None for each in row) for row in embedded.passportal(query)]
        assert home.passportal(query) == blank_as_none
        assert len(blank_as_none) > 200

        (home.folder / "import_files").mkdir()
        (home.folder / "import_files" / "clients-1.csv").write_text(f"{CLIENTS},Acme,,\r\n")
        said = home.call("sandbox", "import-files")
        assert (said.returncode, said.stdout.splitlines()[0]) == (0, "Imported clients-1.csv.")
        assert home.settle() == []
        assert home.passportal("SELECT id FROM records WHERE title = 'Acme'") == [("60000000",)]


def run_sandbox(home: Path, target: str) -> subprocess.CompletedProcess[str]:
    show = "import os, json; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('PASSPORTAL_')}))"
    arguments = ["--size", "small", "--home", str(home), "--target", target, "--", sys.executable, "-c", show]
    return subprocess.run(
        [sys.executable, "-m", "bms_pipeline.cli", "sandbox", "run", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_command_finds_the_service_in_its_environment(tmp_path: Path) -> None:
    given = json.loads(run_sandbox(tmp_path, "documents_api").stdout)
    assert set(given) == {
        "PASSPORTAL_TARGET", "PASSPORTAL_URL", "PASSPORTAL_KEY_ID", "PASSPORTAL_SECRET", "PASSPORTAL_USERS_FILE",
    }  # fmt: skip
    assert given["PASSPORTAL_TARGET"] == "documents_api"
    assert "Passportal ID,Last Name" in Path(given["PASSPORTAL_USERS_FILE"]).read_text()
    assert not (tmp_path / "passportal.duckdb").exists()


def test_a_target_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    refused = run_sandbox(tmp_path, "cloud")
    assert (refused.returncode, "There is no target 'cloud'" in refused.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []
