"""A bundle of a whole sandbox tenant and of parts of it: same reasons, no original inside, replayed like the home."""

from __future__ import annotations

import json
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.support import tenant
from bms_pipeline.support.manifest import MANIFEST
from bms_pipeline.support.program_words import program_words
from bms_pipeline.support.values import How, Values
from bms_pipeline.support.whois import whois_file
from bms_pipeline.warehouse import names
from bms_pipeline.warehouse.connection import open_warehouse
from bms_pipeline_tests.running import Home, called, quick_and_soak, running_home
from bms_pipeline_tests.support.bundles import (
    content,
    lines,
    made,
    number_of,
    original_words,
    replayed,
    standings,
    whois,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A small tenant after a first sync, a day of changes and decisions of a person."""
    with running_home(tmp_path_factory.mktemp("bundle")) as running:
        assert running.call("sync", "--create-unmatched").returncode == 0
        running.sandbox.mutate(3)
        assert running.call("preview").returncode in (0, 2)
        (excluded,) = running.warehouse("SELECT min(bms_id) FROM sync.reconciled_assets WHERE disposition = 'matched'")
        assert running.call("exclude", "assets", str(excluded[0]), "--why", "lent by Peter").returncode == 0
        yield running


@pytest.fixture(scope="module")
def whole(home: Home) -> Path:
    return made(home, "whole.zip", "--all")


def test_the_manifest_comes_first_and_says_what_is_inside_and_what_was_proved(whole: Path) -> None:
    with zipfile.ZipFile(whole) as opened:
        assert opened.namelist()[0] == MANIFEST
    manifest = content(whole)[MANIFEST]
    assert "ALWAYS INSIDE" in manifest
    assert "NEVER INSIDE" in manifest
    assert "records have the same disposition and reason" in manifest
    assert stat.S_IMODE(whole.stat().st_mode) == 0o600


def test_a_search_for_every_original_word_finds_none(home: Home, whole: Path) -> None:
    public = program_words() | names.SAYS_NOTHING | {"example", "corp"}
    words = original_words(home) - public
    assert len(words) > 300
    for file, text in content(whole).items():
        assert words.isdisjoint(re.findall(r"[^\W_]{4,}", text.casefold())), file
    tables = " ".join(text for file, text in content(whole).items() if file.startswith("tenant/"))
    values = {word for line in tables.splitlines() for word in re.findall(r'(?<="name": ")[^"]*', line)}
    public_in_names = {word for name in values for word in re.findall(r"[^\W_]{4,}", name.casefold())}
    assert public_in_names & original_words(home) <= names.SAYS_NOTHING | {"test"}


def test_nothing_of_settings_or_people_is_in_it(home: Home, whole: Path) -> None:
    texts = " ".join(content(whole).values())
    for hidden in (home.environment["BMS_PASSWORD"], home.environment["BMS_TENANT"], "lent by Peter", str(home.folder)):
        assert hidden not in texts
    settings = json.loads(content(whole)["report.json"])["settings"]
    assert (settings["BMS_PASSWORD"], settings["BMS_MFA_SECRET"]) == ("set", "not set")


def test_every_table_has_only_allowed_columns(whole: Path) -> None:
    for file, text in content(whole).items():
        for line in text.splitlines() if file.endswith(".ndjson") else ():
            assert not {"json", "decided_by", "why", "details_problem", "record"} & json.loads(line).keys(), file


def test_the_replay_shows_the_same_dispositions_and_reasons(home: Home, whole: Path, tmp_path: Path) -> None:
    found = replayed(home, whole, tmp_path / "replay")
    assert found == standings(home)
    assert len({reason for _, reason in found.values()}) >= 8


@pytest.mark.parametrize("reason", quick_and_soak(["match"], ["several_in_bms", "several_in_passportal"]))
def test_one_client_has_its_records_and_replays_to_the_same_reasons(home: Home, tmp_path: Path, reason: str) -> None:
    ((client,),) = home.warehouse(f"SELECT min(bms_id) FROM sync.reconciled_clients WHERE reason = '{reason}'")
    bundle = made(home, f"client-{client}.zip", "--client", str(client))
    assert "records have the same disposition and reason" in content(bundle)[MANIFEST]
    found = replayed(home, bundle, tmp_path / "replay")
    wanted = standings(home, f"account_id = {client}")
    assert len(wanted) > 1
    assert {record: found.get(record) for record in wanted} == wanted
    others = [row for row in lines(bundle, "bms/contacts") if row["account_id"] != number_of(home, client)]
    assert others == [], "no contact of another client"


def test_one_record_brings_its_client_and_what_matching_looks_at(home: Home) -> None:
    ((bms_id, client),) = home.warehouse(
        "SELECT bms_id, account_id FROM sync.reconciled_assets WHERE disposition = 'matched' ORDER BY bms_id LIMIT 1"
    )
    bundle = made(home, "one.zip", "--about", "assets", str(bms_id))
    assert "records have the same disposition and reason" in content(bundle)[MANIFEST]
    about = [row for row in lines(bundle, "bms/assets") if row["bms_id"] == number_of(home, bms_id)]
    assert len(about) == 1
    stubs = [row for row in lines(bundle, "bms/clients") if row["bms_id"] == number_of(home, client)]
    assert [(row["phone"], row["email"]) for row in stubs] == [(None, None)]


def test_without_a_request_there_is_no_record(home: Home) -> None:
    assert list(content(made(home, "none.zip"))) == [MANIFEST, "report.json"]


def test_an_id_that_bms_never_listed_is_refused(home: Home) -> None:
    ran = home.call("support", "--client", "987654", "--to", "no.zip")
    assert ran.returncode == 1
    assert "987654" in ran.stderr
    assert not (home.folder / "no.zip").exists()


def test_whois_tells_the_original_of_a_word_a_value_and_an_id_and_only_at_home(home: Home, tmp_path: Path) -> None:
    bundle = made(home, "who.zip", "--all")
    row = next(
        row for row in lines(bundle, "bms/contacts") if re.fullmatch("[A-Z][a-z]{4,} [A-Z][a-z]{4,}", row["name"])
    )
    shown = {
        known["kind"]: known["original"]
        for word in (row["name"], str(row["bms_id"]), row["name"].split()[0])
        for known in json.loads(home.call("support", "whois", word, "--json").stdout)
    }
    ((name,),) = home.warehouse(f"SELECT name FROM bms.contacts WHERE bms_id = {shown['BMS id']}")
    assert shown["name"] in (name, name.split()[0])
    assert stat.S_IMODE(whois_file(home.folder).stat().st_mode) == 0o600
    ran = called(
        "support", "whois", row["name"], environment={**home.environment, "BMS_PIPELINE_HOME": str(tmp_path)},
        folder=tmp_path,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "No bundle made in this home folder" in ran.stderr


def test_an_original_in_any_file_means_no_file_and_an_error_without_the_value(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect is played: something of the tenant gets in, in each of the forms it may have there."""
    ((name,),) = home.warehouse(
        "SELECT min(last_name) FROM bms.contacts WHERE regexp_full_match(last_name, '[A-Z][a-z]{6,}')"
    )
    ((serial,),) = home.warehouse("SELECT min(serial_number) FROM bms.assets WHERE length(serial_number) > 9")
    encoded = tenant.lines_of
    for kind, leak in (
        ("(name|word)", name.upper()),
        ("(name|word)", f"before%20{name}"),
        ("(name|word)", "".join(f"&#{ord(letter)};" for letter in name)),
        ("serial number", serial.lower()),
        ("secret", home.environment["BMS_PASSWORD"]),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(tenant, "lines_of", lambda rows, leak=leak: encoded([*rows, {"name": leak}]))
            ran = home.call("support", "--all", "--to", "leak.zip")
        assert ran.returncode == 1, leak
        assert re.search(f"an original .?{kind}", ran.stderr), leak
        assert "tenant/bms/clients.ndjson" in ran.stderr
        assert leak not in ran.stderr
        assert not (home.folder / "leak.zip").exists()
        assert list(home.folder.glob(".leak*")) == []


def test_an_error_keeps_the_words_of_this_program_and_no_name(home: Home) -> None:
    ((name, bms_id),) = home.warehouse(
        "SELECT name, bms_id FROM bms.contacts WHERE name ~ '[A-Z][a-z]{4,} [A-Z][a-z]{4,}' ORDER BY bms_id LIMIT 1"
    )
    with open_warehouse(home.settings).transaction() as connection:
        connection.execute(
            "INSERT INTO sync.runs (epoch, kind, started_at, ended_at, failed_because)"
            " SELECT max(epoch) + 1, 'command', max(started_at), max(started_at), ? FROM sync.runs",
            [
                f"The record of {name} ({bms_id}) cannot be read at 10.1.2.3 (wrzl-10-1-2-3):"
                " Zugriff verweigert, HTTP 503."
            ],
        )
    run = json.loads(content(made(home, "error.zip", "--all"))["report.json"])["runs"][0]
    standin = next(word for word, original in whois(home)["name"].items() if original == name)
    assert run["failed_because"] == (
        f"The record of {standin} ({number_of(home, bms_id)}) cannot be read at 0.0.0.0 (xxxx-0.0.0.0):"
        " xxxxxxx xxxxxxxxxx, HTTP 503."
    )
    run = json.loads(content(made(home, "error.zip"))["report.json"])["runs"][0]
    assert not set(name.split()) & set(run["failed_because"].split()), "also without any record"


def test_a_label_stays_but_for_words_of_a_record_and_of_the_settings() -> None:
    values = Values(b"k" * 32, {How.NAME: ["Contoso Freight"]}, {"fabrikam"})
    shown = values.stand_in(How.LABEL, "Seriennummer Contoso / Fabrikam status")
    assert shown is not None
    assert re.fullmatch(r"Seriennummer [A-Z][a-z]{6} / xxxxxxxx status", shown)
    assert "Contoso" not in shown


def test_a_database_that_cannot_be_used_is_named_in_a_bundle_without_records(tmp_path: Path) -> None:
    (tmp_path / "warehouse.duckdb").write_bytes(b"no database at all" * 1000)
    environment = {"BMS_PIPELINE_HOME": str(tmp_path), "PATH": "/usr/bin", "HOME": str(tmp_path)}
    ran = called("support", "--to", "broken.zip", environment=environment, folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(content(tmp_path / "broken.zip")["report.json"])["warehouse"]["error"] == "WarehouseDamaged"
    assert called("support", "--all", "--to", "no.zip", environment=environment, folder=tmp_path).returncode == 1


def test_a_file_that_is_no_bundle_or_has_no_records_is_refused_by_replay(home: Home, tmp_path: Path) -> None:
    none = made(home, "without.zip")
    (tmp_path / "text.zip").write_text("no ZIP")
    for file, words in (
        (none, "no records to replay"),
        (tmp_path / "text.zip", "cannot be read"),
        (tmp_path / "x", ""),
    ):
        ran = home.call("sandbox", "replay", str(file), "--home", str(tmp_path / "replay"))
        assert ran.returncode == 1
        assert words in ran.stderr
        assert "Next:" in ran.stderr
    assert not (tmp_path / "replay").exists()
