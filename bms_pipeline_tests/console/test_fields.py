"""The page Fields and ``mapping suggest``, of a tenant in German: a draft is made, tried, refused and stored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.console.context import Console
from bms_pipeline.core.entities import ASSETS
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.sync import mapping
from bms_pipeline.warehouse.connection import open_warehouse
from bms_pipeline_tests.building import World
from bms_pipeline_tests.console.serving import Person, served
from bms_pipeline_tests.german import german_home
from bms_pipeline_tests.running import Home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with german_home(tmp_path_factory.mktemp("german")) as found:
        yield found


@pytest.fixture(scope="module")
def console(home: Home) -> Iterator[Console]:
    with served(home.settings, home.folder / ".env") as found:
        yield found


@pytest.fixture
def robin(console: Console) -> Person:
    return Person(console, "Robin")


def test_before_the_first_sync_labels_are_suggested_by_their_names(robin: Person) -> None:
    assert "No template is known yet." in robin.get("/fields")
    robin.send("/fields/look")
    assert "0 of them are of records that match" in robin.text
    assert "only the names of labels tell" in robin.text
    assert "Seriennummer its name only" in robin.text
    assert "equal" not in robin.text.partition("Assets: Gerät")[2]


def test_the_first_preview_says_which_values_have_no_place(home: Home) -> None:
    assert home.call("preview").returncode == 2
    rows = {(row["template"], row["field"]) for row in home.status()["no_place"]}
    assert {("Gerät", "serial_number"), ("Netzwerkgerät", "serial_number"), ("Kontakt", "email")} <= rows


def test_each_line_of_no_place_leads_to_its_template(robin: Person) -> None:
    preview, fields = robin.get("/preview"), robin.get("/fields")
    places = set(re.findall(r'href="/fields#([\w-]+)"', preview))
    assert {"assets-310", "assets-311"} <= places
    assert places <= set(re.findall(r'id="([\w-]+)"', fields))


def test_suggest_prints_a_mapping_that_import_takes_and_stores_nothing(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "suggested.toml"
    said = home.call("mapping", "suggest", str(file))
    assert said.returncode == 0, said.stderr
    assert "records have the same value" in said.stdout
    assert json.loads(home.call("mapping", "show", "--json").stdout)["mapping"] == {}
    tried = home.call("mapping", "import", str(file), "--dry-run")
    assert (tried.returncode, tried.stderr) == (0, "")
    found = json.loads(home.call("mapping", "suggest", "--json").stdout)
    labels = parse_mapping(found["mapping"]).labels(ASSETS, "311")
    assert (labels["serial_number"], labels["primary_ip"]) == ("S/N", "Verwaltungs-IP")
    by_column = {(label["template_id"], label["column"]): label for label in found["labels"]}
    serial = by_column["310", "serial_number"]
    assert (serial["label"], serial["evidence"]) == ("Seriennummer", "equal values")
    assert serial["agreed"] >= 3
    assert found["marker_label"] == "Notizen"
    assert [rule["template_id"] for rule in found["templates"] if not rule["categories"]] == ["310"]


def test_a_draft_belongs_to_its_browser_and_is_discarded(robin: Person, console: Console) -> None:
    robin.get("/fields")
    robin.send("/fields/look")
    robin.send("/fields/accept", what="all")
    assert "Your draft is not stored" in robin.text
    assert "Accept all suggestions" not in robin.text
    assert "Your draft is not stored" not in Person(console, "Alex").get("/fields")
    robin.send("/fields/discard")
    assert "Your draft is not stored" not in robin.text
    assert "Accept all suggestions" in robin.text


def test_one_suggestion_or_any_label_goes_into_the_draft_and_a_value_is_left_out(robin: Person) -> None:
    robin.get("/fields")
    place = {"entity": "assets", "template_id": "310", "column": "serial_number"}
    robin.send("/fields/accept", what="label", **place)
    assert "Label for Serial Number in Gerät" in robin.text.partition("Values of BMS without a place")[0] or (
        "Seriennummer text" in robin.text
    )
    robin.send("/fields/label", entity="assets", template_id="310", column="manufacturer", label="Hersteller")
    assert "Manufacturer lies under Hersteller." in robin.text
    robin.send("/fields/label", entity="assets", template_id="310", column="platform", leave_out="1")
    assert "Platform is left out." in robin.text
    robin.send("/fields/label", entity="assets", template_id="310", column="model", label="Hersteller")
    assert "which manufacturer has, too" in robin.text
    robin.get("/fields")
    robin.send("/fields/label", entity="assets", template_id="310", column="model", label="")
    assert "No label was chosen." in robin.text
    robin.get("/fields")
    robin.send("/fields/label", entity="assets", template_id="310", column="none_such", label="x")
    assert robin.status == 422


def test_a_try_says_what_would_change_and_stores_nothing(robin: Person, home: Home) -> None:
    robin.get("/fields")
    robin.send("/fields/accept", what="all")
    robin.send("/fields/try")
    assert "What storing it would do" in robin.text
    assert "documents of assets are read again, one call each" in robin.text
    assert " 0 overwritten" in robin.text
    assert mapping.current_mapping(open_warehouse(home.settings)).hash == ""


def test_a_label_that_no_template_has_is_refused_unless_it_is_meant(robin: Person, home: Home) -> None:
    robin.get("/fields")
    robin.send("/fields/label", entity="contacts", template_id="320", column="email", label="None Such")
    robin.send("/fields/store", why="a typing error")
    assert "The mapping was not stored" in robin.text
    robin.get("/fields")
    robin.send("/fields/try")
    assert "None Such" in robin.text
    assert "store it in spite of these problems" in robin.text
    assert mapping.current_mapping(open_warehouse(home.settings)).hash == ""


def test_a_stored_mapping_has_an_author_and_a_reason(robin: Person, home: Home) -> None:
    robin.get("/fields")
    robin.send("/fields/accept", what="all")
    robin.send("/fields/store", why="templates in German")
    assert "The mapping is stored." in robin.text
    history = json.loads(home.call("settings", "history", "--json").stdout)
    assert (history[0]["name"], history[0]["changed_by"], history[0]["why"]) == (
        "mapping", "Robin", "templates in German",
    )  # fmt: skip
    assert "→ is written as" in robin.text


def test_the_embedded_passportal_has_nothing_to_map(world: World) -> None:
    with served(world.settings) as console:
        robin = Person(console, "Robin")
        assert "The embedded Passportal has the labels of this program." in robin.get("/fields")


def test_keys_of_bms_and_constants_are_listed_by_their_own_words_and_taken_out_in_a_draft(
    home: Home, robin: Person, tmp_path: Path
) -> None:
    data = json.loads(home.call("mapping", "show", "--json").stdout)["mapping"]
    assets = data.setdefault("assets", {})
    assets.setdefault("fields", {})["detail.locationInfo"] = "Rack"
    assets["constants"] = {"Betreuung": "Managed"}
    file = tmp_path / "mapping.toml"
    file.write_text(parse_mapping(data).as_toml())
    stored = home.call("mapping", "import", str(file), "--anyway")
    assert stored.returncode == 0, stored.stderr
    assert "Not read so far: assets.detail.locationInfo." in stored.stdout
    shown = home.call("mapping", "show").stdout
    assert "detail.locationInfo" in shown
    assert "always 'Managed'" in shown

    robin.get("/fields")
    robin.send("/fields/look")
    assert "detail.locationInfo no label Rack" in robin.text
    assert "constant Betreuung" in robin.text
    robin.send("/fields/label", entity="assets", template_id="310", column="detail_location_info", leave_out="1")
    assert "detail.locationInfo is left out." in robin.text
    robin.send("/fields/label", entity="assets", template_id="310", column="constant_betreuung", leave_out="1")
    robin.send("/fields/try")
    assert "detail.locationInfo of assets is left out" in robin.text
    robin.send("/fields/discard")
