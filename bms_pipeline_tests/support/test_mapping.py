"""A bundle of a tenant with a mapping: the same plan under the same mapping, and none of the tenant's own words."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.core.mapping import Mapping
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.support.mapped import replaced_mapping
from bms_pipeline.support.program_words import program_words
from bms_pipeline.support.values import How, Values
from bms_pipeline.warehouse import names
from bms_pipeline_tests.german import german_home
from bms_pipeline_tests.running import Home
from bms_pipeline_tests.support.bundles import content, made, original_words, replayed, standings, whois

pytestmark = pytest.mark.timeout(2400)  # three runs against Passportal's API, and a replay
MAPPING = """
version = 1
marker_label = "Notizen"

[[assets.template]]
category = ["Firewall", "Network Switch"]
into = 311

[[assets.template]]
into = 310

[assets.fields]
type = { label = "Typ", words = { "Firewall" = "Brandmauerzwerg" } }
status = { label = "Status", words = { "Active" = "Zwergenbetrieb", "In Use" = "Riesenbetrieb" } }
serial_number = "Seriennummer"
manufacturer = "Hersteller"
model = { label = "Modell", text = "Wichtelbau {manufacturer} {model}", most = 21 }
location = false
primary_ip = "IP-Adresse"
mac_address = "MAC-Adresse"
default_gateway = "Standardgateway"
operating_system = { label = "Betriebssystem", default = "Niemandzwerg" }
asset_tag = { label = "Inventarnummer", constant = "Koboldinventar 17" }
assigned_user = false
purchase_date = { label = "Benutzer", date = "%d.%m.%Y" }
expiration_date = "Garantieende"
platform = false
notes = "Notizen"

[assets.only.311.fields]
serial_number = "S/N"
primary_ip = "Verwaltungs-IP"

[contacts.fields]
first_name = "Vorname"
last_name = "Nachname"
job_title = "Position"
location = false
phone = "Telefon"
mobile_phone = "Mobiltelefon"
email = "E-Mail-Adresse"
primary_contact = { label = "Hauptansprechpartner", words = { "Yes" = "Ja", "No" = "Nein" } }
"""
OF_MAPPING = {
    "brandmauerzwerg", "zwergenbetrieb", "riesenbetrieb", "wichtelbau", "koboldinventar", "niemandzwerg",
}  # fmt: skip
"""The words that only this mapping has."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A German tenant whose client was loaded under its mapping; since then the mapping changed."""
    folder = tmp_path_factory.mktemp("mapped")
    with german_home(folder) as running:
        store(running, MAPPING)
        for call in (["sync", "--create-unmatched"], ["fetch-details"], ["sync"]):
            ran = running.call(*call)
            assert ran.returncode == 0, (call, ran.stderr)
        store(running, MAPPING.replace("most = 21", "most = 19").replace("Koboldinventar 17", "Koboldinventar 18"))
        assert running.call("preview").returncode == 2
        yield running


def store(home: Home, mapping: str) -> None:
    """A person imports this mapping."""
    file = home.folder / "mapping.toml"
    file.write_text(mapping, encoding="utf-8")
    stored = home.call("mapping", "import", str(file), "--anyway")
    assert stored.returncode == 0, stored.stderr


@pytest.fixture(scope="module")
def bundle(home: Home) -> Path:
    return made(home, "mapped.zip", "--all")


Plan = dict[tuple[str, int], tuple[str, str, str]]


def plan_in(rows: list[tuple[Any, ...]], ids: dict[int, int] | None = None) -> Plan:
    return {(entity, ids[bms_id] if ids else bms_id): tuple(rest) for entity, bms_id, *rest in rows}


PLANNED = " UNION ALL ".join(
    f"SELECT '{entity.name}', bms_id, disposition, operation, reason FROM sync.planned_{entity.name}"
    for entity in ENTITIES
)


WITHOUT_PLACE = "SELECT entity, bms_id FROM sync.operations WHERE no_place IS NOT NULL"


def test_the_replay_plans_the_same_for_the_same_reasons(home: Home, bundle: Path, tmp_path: Path) -> None:
    wanted, plan = standings(home), plan_in(home.warehouse(PLANNED))

    found = replayed(home, bundle, tmp_path / "replay")

    assert found == wanted
    ids = {int(number): int(original) for number, original in whois(home)["BMS id"].items()}
    with duckdb.connect(str(tmp_path / "replay" / "warehouse.duckdb"), read_only=True) as connection:
        replanned = plan_in(connection.execute(PLANNED).fetchall(), ids)
    differing = {record for record, was in plan.items() if replanned.get(record) != was}
    # A load found these labels missing; a replay loaded nothing, so it looks for them once more.
    without_place = {(entity, bms_id) for entity, bms_id in home.warehouse(WITHOUT_PLACE)}
    assert differing <= without_place
    assert len(plan.keys() - differing) > 500
    assert {reason for _, operation, reason in plan.values() if operation == "update"} == {"mapping_changed"}


def test_no_word_of_the_mapping_or_of_a_record_is_in_it(home: Home, bundle: Path) -> None:
    public = program_words() | names.SAYS_NOTHING | {"example", "corp"}
    words = (original_words(home) | OF_MAPPING) - public
    held = " ".join(str(row) for row in home.warehouse("SELECT * FROM passportal.assets")).casefold()
    assert {"wichtelbau", "koboldinventar"} <= set(re.findall(r"[^\W_]+", held)), "they were written"
    for file, text in content(bundle).items():
        assert words & set(re.findall(r"[^\W_]{4,}", text.casefold())) == set(), file


def test_the_report_has_the_mapping_with_its_rules_and_labels(home: Home, bundle: Path) -> None:
    shown = json.loads(content(bundle)["report.json"])["mapping"]
    told = tomllib.loads(MAPPING)

    parse_mapping(shown)
    fields, wanted = shown["assets"]["fields"], told["assets"]["fields"]
    assert fields.keys() >= wanted.keys() - {"status"}
    assert {column: fields[column] for column in ("serial_number", "location", "platform")} == {
        column: wanted[column] for column in ("serial_number", "location", "platform")
    }
    assert fields["purchase_date"] == wanted["purchase_date"]
    assert fields["model"]["most"] == 19
    assert re.fullmatch(r"[A-Z][a-z]{9} {manufacturer} {model}", fields["model"]["text"])
    assert fields["asset_tag"]["constant"] != wanted["asset_tag"]["constant"]
    assert [rule["into"] for rule in shown["assets"]["template"]] == [311, 310]
    assert shown["assets"]["only"] == told["assets"]["only"]


def test_the_report_has_it_also_without_any_record(home: Home) -> None:
    shown = content(made(home, "without.zip"))["report.json"]

    assert json.loads(shown)["mapping"]["assets"]["fields"]["asset_tag"]["label"] == "Inventarnummer"
    assert OF_MAPPING & set(re.findall(r"[^\W_]{4,}", shown.casefold())) == set()


# The replaced mapping


def replaced(fields: dict[str, Any], found: dict[How, set[str]], hidden: frozenset[str] = frozenset()) -> Mapping:
    mapping = parse_mapping({"assets": {"fields": fields}})
    return replaced_mapping(mapping, Values(bytes(range(32)), found, hidden))


def test_labels_that_differ_only_in_hidden_words_stay_two_labels() -> None:
    fields = {"default_gateway": "Contoso", "platform": "Fabrika", "asset_tag": "Inventar"}

    mapping = replaced(fields, {}, frozenset({"contoso", "fabrika"}))

    parse_mapping(mapping.as_json())
    assert "Contoso" not in mapping.as_toml()


def test_a_word_of_a_record_is_the_same_word_in_the_mapping() -> None:
    texts = {How.TEXT: {"Zwergenbetrieb", "In Use", "stillgelegt"}}
    values = Values(bytes(range(32)), texts)
    mapping = parse_mapping({"assets": {"fields": {"status": {"words": {"In Use": "Zwergenbetrieb"}}}}})

    words = replaced_mapping(mapping, values).as_json()["assets"]["fields"]["status"]["words"]

    assert words == {values.stand_in(How.TEXT, "In Use"): values.stand_in(How.TEXT, "Zwergenbetrieb")}


def test_a_flag_keeps_the_words_of_the_pipeline_and_no_word_of_the_tenant() -> None:
    values = Values(bytes(range(32)), {How.FLAG: {"Yes", "No", "Jawohl"}})

    assert [values.stand_in(How.FLAG, word) for word in ("Yes", "No")] == ["Yes", "No"]
    assert values.stand_in(How.FLAG, "Jawohl") != "Jawohl"
