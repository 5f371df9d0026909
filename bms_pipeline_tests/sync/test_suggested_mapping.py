"""Suggestions from records and documents side by side: what is strong, what is weak, and what is never suggested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from bms_pipeline.core.entities import ASSETS, BY_NAME, CONTACTS
from bms_pipeline.core.mapping import DEFAULT, folded_label
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.core.settings import Settings
from bms_pipeline.passportal.documents import synonyms
from bms_pipeline.passportal.documents.encoding import DetailsForm, Document, Element, snake_case
from bms_pipeline.passportal.documents.labels import Label, TemplateLabels, labels_of, read_labels, store_labels
from bms_pipeline.sync.label_samples import SampledPair, Samples
from bms_pipeline.sync.suggested_mapping import SuggestedMapping, is_same_value, suggest_mapping

SETTINGS = Settings(_env_file=None)  # type: ignore[call-arg]  # pydantic adds it


def document(number: int, template: str, **values: str) -> Document:
    """Blanks of a label are written ``_``."""
    texts = {label.replace("_", " "): text for label, text in values.items()}
    elements = {label: Element(snake_case(label), label, DetailsForm.TEXT) for label in texts}
    return Document(str(number), "1", f"D {number}", template, "", values=texts, elements=elements)


def samples(
    pairs: Sequence[tuple[Mapping[str, str], Document]], categories: Mapping[tuple[str, str], int] | None = None
) -> Samples:
    documents = [found for _, found in pairs]
    ids = dict.fromkeys(found.template_id for found in documents)
    templates = tuple(
        labels_of(id_, f"T{id_}", 10, [found for found in documents if found.template_id == id_]) for id_ in ids
    )
    sampled = tuple(SampledPair(number, values, found) for number, (values, found) in enumerate(pairs))
    return Samples({"assets": templates}, {"assets": sampled}, categories={"assets": categories or {}})


def labels(found: SuggestedMapping) -> dict[str, tuple[str, bool]]:
    return {label.column: (label.label, label.is_by_values) for label in found.labels}


def test_equal_serial_numbers_name_their_label_in_any_language() -> None:
    pairs = [
        ({"serial_number": f"AB-{n}", "model": f"M{n}"}, document(n, "1", Sarjanumero=f"ab {n}", Muu="x"))
        for n in range(4)
    ]
    assert labels(suggest_mapping(SETTINGS, DEFAULT, samples(pairs))) == {"serial_number": ("Sarjanumero", True)}


def test_values_outrank_names_and_a_name_alone_is_weak() -> None:
    pairs = [
        (
            {"serial_number": f"AB-{n}", "manufacturer": "Dell"},
            document(n, "1", Seriennummer=f"RMM-{n}", Geraetenummer=f"AB-{n}", Hersteller="Dell"),
        )
        for n in range(5)
    ]
    found = labels(suggest_mapping(SETTINGS, DEFAULT, samples(pairs)))
    assert found == {"serial_number": ("Geraetenummer", True), "manufacturer": ("Hersteller", False)}, (
        "one word in all of them is no evidence by itself"
    )


def test_a_label_named_like_a_serial_number_with_other_values_is_not_suggested() -> None:
    pairs = [({"serial_number": f"AB-{n}"}, document(n, "1", Seriennummer=f"RMM-{n}")) for n in range(5)]
    assert labels(suggest_mapping(SETTINGS, DEFAULT, samples(pairs))) == {}


def test_two_values_never_get_one_label_and_a_present_label_is_left_alone() -> None:
    pairs = [
        (
            {"serial_number": f"S{n}", "asset_tag": f"S{n}", "primary_ip": f"10.0.0.{n}"},
            document(n, "1", Nummer=f"S{n}", Primary_IP=f"10.9.9.{n}", LAN=f"10.0.0.{n}"),
        )
        for n in range(6)
    ]
    found = suggest_mapping(SETTINGS, DEFAULT, samples(pairs))
    given = [label.label for label in found.labels]
    assert len(given) == len(set(given)) == 1
    assert "primary_ip" not in labels(found)


def test_templates_that_differ_get_labels_of_their_own() -> None:
    pairs = [({"serial_number": f"A{n}"}, document(n, "1", Seriennummer=f"A{n}")) for n in range(5)]
    pairs += [({"serial_number": f"B{n}"}, document(90 + n, "2", Kennung=f"B{n}")) for n in range(5)]
    mapping = suggest_mapping(SETTINGS, DEFAULT, samples(pairs)).mapping
    assert {id_: mapping.label(ASSETS, "serial_number", id_) for id_ in "12"} == {"1": "Seriennummer", "2": "Kennung"}


def test_words_that_stand_for_one_another_are_suggested_and_free_text_is_not() -> None:
    pairs = [
        (
            {"status": "In Use" if n % 2 else "Spare", "notes": f"text {n}"},
            document(n, "1", Status="In Betrieb" if n % 2 else "Reserve", Notes=f"anders {n}"),
        )
        for n in range(12)
    ]
    found = suggest_mapping(SETTINGS, DEFAULT, samples(pairs))
    assert {(word.column, word.word, word.ours) for word in found.words} == {
        ("status", "In Use", "In Betrieb"),
        ("status", "Spare", "Reserve"),
    }
    assert dict(found.mapping.rule(ASSETS, "status").words or {}) == {"In Use": "In Betrieb", "Spare": "Reserve"}


def test_new_records_go_where_most_of_their_category_lie() -> None:
    pairs = [({"serial_number": "1"}, document(n, template, A="1")) for n, template in enumerate("1112")]
    lie = {("Server", "1"): 9, ("Firewall", "2"): 8, ("Firewall", "1"): 1, ("Printer", "2"): 2}
    found = suggest_mapping(SETTINGS, DEFAULT, samples(pairs, lie))
    assert [found.mapping.template_for(ASSETS, word) for word in ("Server", "Firewall", "Printer")] == ["1", "2", "1"]
    chosen = Settings(_env_file=None, passportal_templates="asset=2")  # type: ignore[call-arg]  # pydantic adds it
    assert suggest_mapping(chosen, DEFAULT, samples(pairs, lie)).mapping.template_for(ASSETS, "Printer") is None


def test_what_the_mapping_has_stays_and_a_second_suggestion_is_empty() -> None:
    pairs = [({"serial_number": f"A{n}", "model": "M1"}, document(n, "1", SN=f"A{n}", Modell="M1")) for n in range(5)]
    before = parse_mapping({"assets": {"fields": {"status": {"constant": "Managed"}, "asset_tag": False}}})
    first = suggest_mapping(SETTINGS, before, samples(pairs))
    assert first.count == 2
    assert first.mapping.rule(ASSETS, "status").constant == "Managed"
    assert first.mapping.is_left_out(ASSETS, "asset_tag")
    assert suggest_mapping(SETTINGS, first.mapping, samples(pairs)).count == 0


def test_links_and_choices_are_hints_and_in_no_mapping() -> None:
    label = Label("Standort", DetailsForm.LINK, 3)
    template = TemplateLabels("1", "T", 3, 3, (label, Label("Betriebssystem", DetailsForm.TEXT, 3)))
    found = suggest_mapping(SETTINGS, DEFAULT, Samples({"assets": (template,)}))
    assert ([hint.column for hint in found.hints], [label.column for label in found.labels]) == (
        ["location"],
        ["operating_system"],
    )
    assert found.mapping.label(ASSETS, "location") == "Location"


@pytest.mark.parametrize(
    ("column", "ours", "theirs", "is_same"),
    [
        ("purchase_date", "2024-04-01", "01.04.2024", True),
        ("purchase_date", "2024-04-01", "4/1/2024", True),
        ("purchase_date", "2024-04-01", "2024-04-02T00:00:00Z", False),
        ("purchase_date", "soon", "soon", False),
        ("serial_number", "ab-12 3", "AB123", True),
        ("serial_number", "--", "..", False),
        ("model", "Größe 1", "GRÖSSE 1", True),
    ],
)
def test_values_mean_the_same_in_any_writing(column: str, ours: str, theirs: str, is_same: bool) -> None:
    assert is_same_value(ASSETS, column, ours, theirs) is is_same


def test_phone_numbers_are_the_same_with_and_without_their_country() -> None:
    assert is_same_value(CONTACTS, "phone", "+43 1 234 5678", "01/2345678")
    assert not is_same_value(CONTACTS, "phone", "1", "1")


def test_no_other_name_stands_for_two_fields_of_one_entity() -> None:
    for entity, fields in synonyms.SYNONYMS.items():
        assert set(fields) <= set(BY_NAME[entity].columns)
        known = [(folded_label(label), column) for column, label in BY_NAME[entity].labels.items()]
        known += [(folded_label(name), column) for column, names in fields.items() for name in names]
        assert len({name for name, _ in set(known)}) == len(set(known)), entity


def test_a_lost_or_damaged_file_of_labels_is_no_labels(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("labels") / "passportal_labels.json"
    assert read_labels(file) == {}
    template = labels_of("1", "Gerät", 3, [document(1, "1", Seriennummer="x", Raum="")])
    store_labels(file, ASSETS, [template])
    store_labels(file, CONTACTS, [])
    assert read_labels(file) == {"assets": (template,), "contacts": ()}
    for damage in (b"", file.read_bytes()[:40], b"[1]", b'{"assets": [{"id": 1}]}', b"\xff"):
        file.write_bytes(damage)
        assert read_labels(file) == {}
