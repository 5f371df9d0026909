"""The mapping as people write it: what it says, what is refused with which sentence, and that TOML keeps all of it."""

from __future__ import annotations

import tomllib
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.core.entities import ASSETS, BY_NAME, CONTACTS, ENTITIES, LOCATIONS, fields_by_key
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.mapping import DEFAULT, Mapping
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.warehouse import schema
from bms_pipeline.warehouse.names import register_functions

GERMAN = """
version = 1
marker_label = "Notizen"
[[assets.template]]
category = ["Server", "Virtual Server"]
into = 212
[[assets.template]]
into = 79
[assets.fields]
primary_ip = "IP-Adresse"
asset_tag = false
status = { label = "Zustand", words = { "In Use" = "In Betrieb" }, other = "skip" }
platform = { constant = "Managed" }
model = { text = "{manufacturer} {model}", most = 12 }
purchase_date = { date = "%d.%m.%Y" }
notes = "Notizen"
[assets.only.212.fields]
primary_ip = "Mgmt IP"
location = false
"""


def read(text: str) -> Mapping:
    return parse_mapping(tomllib.loads(text))


def test_labels_come_with_the_exceptions_of_a_template_and_without_what_is_left_out() -> None:
    mapping = read(GERMAN)
    labels = mapping.labels(ASSETS)
    assert next(iter(labels)) == "name"
    assert (labels["primary_ip"], labels["location"], "asset_tag" in labels) == ("IP-Adresse", "Location", False)
    special = mapping.labels(ASSETS, "212")
    assert (special["primary_ip"], "location" in special, "asset_tag" in special) == ("Mgmt IP", False, False)
    assert DEFAULT.labels(ASSETS) == ASSETS.labels
    assert (DEFAULT.hash, DEFAULT.as_json()) == ("", {})


def test_the_first_rule_that_fits_chooses_the_template_by_the_word_of_bms() -> None:
    mapping = read(GERMAN)
    assert [mapping.template_for(ASSETS, word) for word in (" virtual  SERVER", "Printer", None)] == ["212", "79", "79"]
    assert DEFAULT.template_for(ASSETS, "Server") is None
    with duckdb.connect() as connection:
        register_functions(connection)
        rows = connection.execute(
            f"SELECT {mapping.template_sql(ASSETS, 'c')} FROM (VALUES (' virtual  SERVER'), ('Printer'), (NULL)) t(c)"
        ).fetchall()
    assert [row[0] for row in rows] == ["212", "79", "79"]


def made(field: str, record: dict[str, str | None]) -> str | None:
    """The text that BMS's values of one asset become."""
    mapping = read(f"[assets.fields]\nstatus = {field}")
    stored = {**dict.fromkeys((*ASSETS.columns, "details_read_at")), "details_read_at": "2026-01-01", **record}
    with duckdb.connect() as connection:
        register_functions(connection)
        values = ", ".join(f"${name}::VARCHAR AS {name}" for name in stored)
        row = connection.execute(
            f"SELECT {mapping.value_sql(ASSETS, 'status')} FROM (SELECT {values})", stored
        ).fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("field", "record", "expected"),
    [
        ('{ words = { "In Use" = "Aktiv" } }', {"status": " in  USE"}, "Aktiv"),
        ('{ words = { "In Use" = "Aktiv" } }', {"status": "Retired"}, "Retired"),
        ('{ words = { "In Use" = "Aktiv" }, other = "skip" }', {"status": "Retired"}, None),
        ('{ words = { "In Use" = "Aktiv" }, other = "ask" }', {"status": "Retired"}, None),
        ('{ words = { "ＩＮ ＵＳＥ" = "it\'s" } }', {"status": "in use"}, "it's"),
        ('{ words = { "In Use" = "Aktiv" } }', {"status": None}, None),
        ('{ constant = "Managed" }', {"status": None}, "Managed"),
        ('{ text = "{manufacturer} {model}" }', {"manufacturer": "Dell", "model": "R740"}, "Dell R740"),
        ('{ text = "{manufacturer} {model}" }', {"model": "R740"}, "R740"),
        ('{ text = "{manufacturer} {model}" }', {}, None),
        ('{ text = "{manufacturer} {model}" }', {"model": "R740", "details_read_at": None}, None),
        ('{ text = "is {status}" }', {"status": "old"}, "is old"),
        ("{ most = 4 }", {"status": "abc def"}, "abc"),
        ('{ date = "%d/%m/%Y" }', {"status": "2026-03-31"}, "31/03/2026"),
        ('{ date = "%d/%m/%Y" }', {"status": "soon"}, "soon"),
    ],
)
def test_a_value_becomes_the_text_that_the_form_says(
    field: str, record: dict[str, str | None], expected: str | None
) -> None:
    assert made(field, record) == expected


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ('[asets.fields]\nnotes = "x"', "asets", "Did you mean 'assets'?"),
        ('[assets.fields]\nprimry_ip = "x"', "assets.fields.primry_ip", "Did you mean 'primary_ip'?"),
        ('[assets.fields]\nstatus = { lable = "x" }', "assets.fields.status.lable", "Did you mean 'label'?"),
        ("[assets.fields]\nstatus = 7", "assets.fields.status", "is int and not a label, false, or a table"),
        ("[assets.fields]\nstatus = true", "assets.fields.status", "is bool"),
        ('[assets.fields]\nstatus = ""', "assets.fields.status", "is no text"),
        ('types = ["printing"]', "types", "is unknown"),
        ('[assets]\ntypes = ["printing"]', "assets.types", "only the type 'asset' is read"),
        ('[assets.fields]\nstatus = "Platform"', "assets.fields.status", "which platform has, too"),
        ('[assets.fields]\nstatus = " plat form:"', "assets.fields.status", "which platform has, too"),
        ('[assets.only.212.fields]\nstatus = "Model"', "assets.only.212.fields.status", "which model has, too"),
        ("[assets.only.abc.fields]\nstatus = false", "assets.only.abc", "no number of a template"),
        (
            "[assets.only.212.fields]\nstatus = { most = 4 }",
            "assets.only.212.fields.status",
            "neither a label nor false",
        ),
        ('[[assets.template]]\ncategory = "Server"', "assets.template[1]", "names no template"),
        ('[[contacts.template]]\ncategory = "x"\ninto = 4', "contacts.template[1].category", "have no category"),
        ('[assets.fields]\nname = "Titel"', "assets.fields.name", "by its name a record is matched"),
        ("[assets.fields]\nname = false", "assets.fields.name", "by its name a record is matched"),
        ("[assets.fields]\nserial_number = { most = 5 }", "assets.fields.serial_number", "only its label"),
        ('[contacts.fields]\nemail = { constant = "x" }', "contacts.fields.email", "only its label"),
        ('[assets.fields]\nmodel = { text = "{mdel}" }', "assets.fields.model.text", "Did you mean {model}?"),
        ('[assets.fields]\nmodel = { text = "no part" }', "assets.fields.model.text", "has no part in braces"),
        ('[assets.fields]\nmodel = { text = "{model" }', "assets.fields.model.text", "no part in braces"),
        ('[assets.fields]\nmodel = { text = "{model} }" }', "assets.fields.model.text", "brace that is not closed"),
        (
            '[assets.fields]\nmodel = { text = "{status}" }\nstatus = { text = "{model}" }',
            "assets.fields.model.text",
            "round in a circle",
        ),
        ('[assets.fields]\nstatus = { words = {}, other = "keep" }', "assets.fields.status.words", "has no word"),
        (
            '[assets.fields]\nstatus = { words = { "In Use" = "a", "in  use" = "b" } }',
            "assets.fields.status.words.in  use",
            "is there twice",
        ),
        ('[assets.fields]\nstatus = { other = "skip" }', "assets.fields.status.other", "belongs to words"),
        (
            '[assets.fields]\nstatus = { words = { a = "b" }, other = "drop" }',
            "assets.fields.status.other",
            "keep, skip, ask",
        ),
        (
            '[assets.fields]\nstatus = { constant = "a", text = "{model}" }',
            "assets.fields.status",
            "exclude each other",
        ),
        ('[assets.fields]\nlocation = { link = "contacts" }', "assets.fields.location.link", "'locations' only"),
        ('[assets.fields]\nstatus = { link = "locations" }', "assets.fields.status.link", "location, assigned_user"),
        (
            '[contacts.fields]\nlocation = { link = "locations", words = { a = "b" } }',
            "contacts.fields.location.words",
            "Possible are label, link",
        ),
        ('[locations.fields]\ncity = { link = "locations" }', "locations.fields.city.link", "can be links: none"),
        ("[assets.fields]\nstatus = { most = 0 }", "assets.fields.status.most", "no number of characters"),
        ('[assets.fields]\nstatus = { date = "%H:%M" }', "assets.fields.status.date", "no format of a day"),
        ("[assets.fields]\nstatus = { required = 1 }", "assets.fields.status.required", "neither true nor false"),
        (
            '[assets.fields]\nstatus = { inactive = "Retired" }',
            "assets.fields.status.inactive",
            "a word for a record that is active again",
        ),
        ('[assets.fields]\nstatus = { active = "Live" }', "assets.fields.status.active", "belongs to inactive"),
        (
            '[assets.fields]\nstatus = { constant = "Live", active = "On", inactive = "Off" }',
            "assets.fields.status.active",
            "both the text of an active record",
        ),
        (
            '[assets.fields]\nstatus = { active = "Off", inactive = "Off" }',
            "assets.fields.status.inactive",
            "the word for an active record, too",
        ),
        (
            '[assets.fields]\nstatus = { active = "N/A", inactive = "Off" }',
            "assets.fields.status.active",
            "a placeholder that replaces no value",
        ),
        (
            '[assets.fields]\nstatus = { active = "In Use", inactive = "In Stock", most = 3 }',
            "assets.fields.status.inactive",
            "the word for an active record, too",
        ),
        (
            '[contacts.fields]\nphone = { active = "On", inactive = "Off" }',
            "contacts.fields.phone.inactive",
            "holds no plain words",
        ),
        (
            '[clients.fields]\nphone = { active = "On", inactive = "Off" }',
            "clients.fields.phone.inactive",
            "clients are no documents",
        ),
        (
            '[assets.fields]\nserial_number = { active = "On", inactive = "Off" }',
            "assets.fields.serial_number",
            "decides which assets match",
        ),
        ('[assets.fields]\nlocationInfo = "x"', "assets.fields.locationInfo", "Did you mean 'detail.locationInfo'?"),
        (
            '[assets.fields]\n"detail.locationinfo" = "x"',
            "assets.fields.detail.locationinfo",
            "Did you mean 'detail.locationInfo'?",
        ),
        ('[assets.fields]\n"detail.brand" = "x"', "assets.fields.detail.brand", "is the field manufacturer"),
        ('[assets.fields]\nserialNumber = "x"', "assets.fields.serialNumber", "is the field serial_number"),
        ('[assets.fields]\n"detail.diskVolumes" = "x"', "assets.fields.detail.diskVolumes", "no documented key of BMS"),
        ('[clients.fields]\naccountCode = "x"', "clients.fields.accountCode", "clients are no documents"),
        ('[users.constants]\nTeam = "x"', "users.constants.Team", "users are no documents"),
        ("[assets.fields]\ncontactId = { most = 3 }", "assets.fields.contactId", "has no label of its own"),
        ("[assets.fields]\ncontactId = false", "assets.fields.contactId", "Take it out"),
        ('[assets.fields]\ncontactId = "Model"', "assets.fields.contactId", "which model has, too"),
        ('[assets.constants]\n"model:" = "x"', "assets.constants.model:", "which model has, too"),
        ('[assets.constants]\nTeam = "a"\nteam = "b"', "assets.constants.team", "is there twice"),
        ('[assets.cleared]\nNotes = "notes"', "assets.cleared.Notes", "can carry markers"),
        ('[assets.cleared]\nModel = "model"', "assets.cleared.Model", "which model has, too"),
        ('[assets.cleared]\nModell = "modell"', "assets.cleared.Modell.modell", "Did you mean 'model'?"),
        ('[assets.fields]\nassetName = "x"', "assets.fields.assetName", "part of the name"),
        ('[contacts.fields]\nfirstName = "x"', "contacts.fields.firstName", "is the field first_name"),
        ('[assets.cleared]\nTyp = "type"\ntyp = "model"', "assets.cleared.typ", "is there twice"),
        ("[assets.constants]\nTeam = 3", "assets.constants.Team", "is no text"),
        (
            '[assets.only.212.fields]\ncontactId = "x"',
            "assets.only.212.fields.contactId",
            "without a label for all other templates",
        ),
        (
            '[assets.fields]\nmodel = { text = "{model} {detail.vendor}" }',
            "assets.fields.model.text",
            "Give detail.vendor a label",
        ),
        (
            "[assets.constants]\n" + "\n".join(f"C{number} = 'x'" for number in range(40)),
            "assets.fields",
            "more than 40 fields",
        ),
        ("version = 2", "version", "this version reads 1"),
        ('marker_label = "Status"', "assets.fields.status", "carries the marker"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(text: str, place: str, says: str) -> None:
    with pytest.raises(SettingsError) as error:
        read(text)
    assert list(error.value.problems) == [place]
    assert says in str(error.value)


def test_the_label_that_a_field_has_anyway_sets_nothing() -> None:
    assert read('[assets.fields]\nstatus = "Status"\nmodel = {}').hash == ""


_TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=12).filter(
    lambda text: text.strip() == text and text.isprintable() and text
)


@st.composite
def mappings(draw: st.DrawFn) -> dict[str, Any]:
    """Tables of TOML for a mapping, of which a few are refused because two fields have one label."""
    entity = draw(st.sampled_from([ASSETS, CONTACTS, LOCATIONS]))
    columns = [
        column for column in entity.columns[1:] if column not in ("serial_number", "email", "first_name", "last_name")
    ]
    forms = st.one_of(
        _TEXTS,
        st.just(False),
        st.fixed_dictionaries(
            {}, optional={"label": _TEXTS, "most": st.integers(1, 300), "default": _TEXTS, "constant": _TEXTS}
        ),
        st.fixed_dictionaries(
            {"words": st.dictionaries(_TEXTS, _TEXTS, min_size=1, max_size=3)},
            optional={"other": st.sampled_from(["keep", "skip", "ask"]), "label": _TEXTS},
        ),
        st.builds(lambda column: {"text": f"{{{column}}} x"}, st.sampled_from(columns)),
    )
    keys = list(fields_by_key(entity))
    fields = draw(st.dictionaries(st.sampled_from([*columns, *keys]), forms, max_size=4))
    only = draw(
        st.dictionaries(
            st.sampled_from(["7", "212"]),
            st.dictionaries(
                st.sampled_from([*columns, *fields]), st.one_of(_TEXTS, st.just(False)), min_size=1, max_size=2
            ),
            max_size=2,
        )
    )
    constants = draw(st.dictionaries(_TEXTS, _TEXTS, max_size=2))
    exceptions = {template: {"fields": found} for template, found in only.items()}
    return {entity.name: {"fields": fields, "constants": constants, "only": exceptions}}


@pytest.mark.explores
@given(mappings())
def test_a_mapping_written_as_toml_or_json_and_read_again_is_the_same(data: dict[str, Any]) -> None:
    try:
        mapping = parse_mapping(data)
    except SettingsError:
        return
    for again in (read(mapping.as_toml()), parse_mapping(mapping.as_json())):
        assert again.as_json() == mapping.as_json()
        assert again.hash == mapping.hash
        assert [again.labels(entity, template) for entity in ENTITIES for template in ("", "7", "212")] == [
            mapping.labels(entity, template) for entity in ENTITIES for template in ("", "7", "212")
        ]
    for entity in map(mapping.entity, BY_NAME.values()):
        assert len({column.casefold() for column in entity.columns}) == len(entity.columns)
        for column in entity.columns:
            mapping.value_sql(entity, column)


def test_every_key_that_a_mapping_may_name_has_a_column_of_its_own_and_is_read_by_its_json_key() -> None:
    for entity in ENTITIES:
        keys = fields_by_key(entity)
        added = entity.with_fields(keys.values())
        assert len({field.name for field in keys.values()}) == len(keys), entity.name
        assert not {field.name for field in keys.values()} & {*schema.bms_columns(entity)}, entity.name
        listed = {str(field.json_key) for field in keys.values() if not field.from_details}
        in_detail = {str(field.json_key) for field in keys.values() if field.from_details}
        assert listed <= {*added.wire}
        assert not in_detail or (added.details is not None and in_detail <= {*added.details.wire})


def test_a_text_of_a_key_of_the_detail_waits_until_that_key_was_read() -> None:
    mapping = read('[assets.fields]\nmodel = { text = "{model} {detail.vendor}" }\n"detail.vendor" = "Vendor"')
    assert mapping.needs_details(ASSETS, "model")
    assert "list_has_all(string_split(details_keys, ' '), ['vendor'])" in mapping.value_sql(ASSETS, "model")
