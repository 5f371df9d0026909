"""Each habit of a Passportal shows as exactly its facts, whichever of our two stand-ins has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor.examine import examine
from bms_pipeline.doctor.findings import Examination, Finding
from bms_pipeline.reconcile.sync_settings import store_sync_setting
from bms_pipeline.warehouse.connection import Warehouse, now
from bms_pipeline_tests.doctor.examining import Examined, changed, examined, facts, new_home
from bms_pipeline_tests.running import Home, running_home
from bms_pipeline_tests.stranger.bms import BmsHabits
from bms_pipeline_tests.stranger.passportal import PassportalHabits
from bms_sandbox.documents_api.behaviour import PassportalBehaviour

BY_LABEL = PassportalHabits(details_form="labels", per_page=7)
"""So that every field has a name, and every list several pages."""

# Switch → its value → the facts that it changes; None: not proved any more.
STRANGER: dict[str, dict[Any, dict[str, str | None]]] = {
    "details_at": {
        "results": {"PP-DOCUMENT": "below results"},
        "results list": {"PP-DOCUMENT": "below results in a list"},
    },
    "details_form": {
        "positions": {"PP-DETAILS": "by position", "PP-FIELDS-ASSET": None, "PP-FIELDS-LOCATION": None},
    },
    "values": {"bare": {"PP-VALUES": "some bare"}},
    "nulls": {"omitted": {"PP-BLANKS": None, "PP-FIELDS-ASSET": None, "PP-FIELDS-LOCATION": None}},
    "template_id": {"text": {"PP-TEMPLATE-IDS": "text"}, "tpl-": {"PP-TEMPLATE-IDS": "tpl-"}},
    "titles": {
        "url": {"PP-NAMES": "URL-encoded", "PP-TITLES": "URL-encoded"},
        "html": {"PP-NAMES": "HTML-encoded", "PP-TITLES": "HTML-encoded"},
        "url and html": {
            "PP-NAMES": "URL-encoded and HTML-encoded",
            "PP-TITLES": "URL-encoded and HTML-encoded",
        },
    },
    "success": {"text": {"PP-SUCCESS": "text"}},
    "ids": {"text": {}},
    "end": {
        "null": {"PP-END": "null"},
        "null text": {"PP-END": "null as a text"},
        "absent": {"PP-END": "nothing"},
    },
    "per_page": {3: {"PP-CAP": "3"}, 1000: {"PP-CAP": None}},
    "order": {"ignored": {"PP-ORDER": "ignored"}, "another each call": {"PP-ORDER": "ignored"}},
    "paths": {"all": {"PP-PATH": "/documents/all"}, "documents": {"PP-PATH": "/documents"}},
    "token": {"form": {"PP-SIGN-IN": "form"}, "json": {}},
    "expiry": {
        "text": {"PP-TOKEN": "55 minutes, stated as a text"},
        "short": {"PP-TOKEN": "3 seconds, stated as a number"},
    },
    "lacks": {(("asset", "Serial Number"),): {"PP-FIELDS-ASSET": "Serial Number"}},
    "coding": {"gzip": {}, "byte order mark": {}},
    "spelt": {},
    "late": {3: {}},
}
STRANGER_WITHOUT_FACT = {
    "template_uid": "only a write shows it",
    "token_status": "only an expired token shows it",
    "lost": "only a write shows it",
    "lost_share": "see lost",
    "faults": "a fault now and then is no habit to rely on; see test_services_in_trouble",
    "fault_share": "see faults",
    "body": "only a write, or the tenant's page about its API",
    "strict_keys": "only a write shows it",
    "links": "the tests of this file put links in by hand",
    "required": "only a write shows it",
    "rich_notes": "notes keep their place",
    "please_select": "an empty choice looks like an empty text",
    "unreadable": "it is no habit: PP-UNREADABLE",
    "bare_templates": "see nulls",
    "foreign_ids": "the tests of this file put them in by hand",
}

SANDBOX: dict[str, tuple[Any, dict[str, str | None]]] = {
    "details_form": ("positions", {"PP-DETAILS": "by position"}),
    "bare_values": (True, {"PP-VALUES": "some bare"}),
    "one_document": ("results", {"PP-DOCUMENT": "below results"}),
    "success_text": (True, {"PP-SUCCESS": "text"}),
    "end_of_pages": ("null", {"PP-END": "null"}),
    "expiry_text": (True, {"PP-TOKEN": "55 minutes, stated as a text"}),
    "encoded_names": (False, {"PP-NAMES": "plain"}),
    "encoded_titles": (True, {"PP-TITLES": "URL-encoded and HTML-encoded"}),
    "template_ids": ("uid", {"PP-TEMPLATE-IDS": "tpl-"}),
    "refused_with_200": (True, {}),
    "sign_in": ("form", {"PP-SIGN-IN": "form"}),
    "list_path": ("all", {"PP-PATH": "/documents/all"}),
    "page_cap": (50, {"PP-CAP": "50"}),
    "token_lifetime_seconds": (120, {"PP-TOKEN": "2 minutes, stated as a number"}),
    "missing_labels": ({"Generic Asset": ["Asset Tag"]}, {"PP-FIELDS-ASSET": "Asset Tag"}),
    "added_labels": ({"Generic Asset": ["Warranty"]}, {}),
    "spelled_labels": ({"Location": {"ZIP / Postal Code": "Zip/Postal code"}}, {}),
    "label_types": ({"Generic Asset": {"Status": "select"}}, {"PP-FIELDS-ASSET": "Status"}),
    "label_options": ({"Generic Asset": {"Status": ["Active"]}}, {"PP-FIELDS-ASSET": "Status"}),
    "blanks": ("left out", {"PP-BLANKS": None, "PP-FIELDS-ASSET": None, "PP-FIELDS-LOCATION": None}),
}  # fmt: skip
SANDBOX_WITHOUT_FACT = {
    "body": "only a write, or the tenant's page about its API",
    "values": "only a write, or the tenant's page about its API",
    "update": "only a write, or the tenant's page about its API",
    "template_uids": "only a write shows it",
    "custom_id_writable": "only a write shows it",
    "batch_refusal": "only a write shows it",
    "documentation_manager": "it is no habit: the key's rights are in the way",
    "hidden_clients": "they look like clients that do not exist",
    "same_login_error": "only a wrong secret shows it",
    "listed_after": "only a write shows it",
    "required_labels": "only a write shows it",
    "deleted_templates": "only a write shows it",
    "notes_as_html": "only a write shows it",
    "ignores_details": "only a write shows it",
    "ignores_unknown": "only a write shows it",
    **dict.fromkeys(("lose_answers", "lose_calls", "lost_shows"), "only a write shows it"),
    **dict.fromkeys(("latency_seconds", "faults", "failing_share", "failing_seed"), "see test_services_in_trouble"),
}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Examined:
    """A stranger's Passportal with labels and small pages."""
    return examined(new_home(tmp_path_factory.mktemp("honest")), BmsHabits(), BY_LABEL)


@pytest.mark.parametrize(("switch", "value"), [(switch, value) for switch in STRANGER for value in STRANGER[switch]])
def test_each_habit_of_a_stranger_changes_exactly_its_facts(
    tmp_path: Path, honest: Examined, switch: str, value: Any
) -> None:
    seen = examined(new_home(tmp_path), BmsHabits(), dataclasses.replace(BY_LABEL, **{switch: value}))

    assert changed(honest.report, seen.report) == STRANGER[switch][value]
    assert len(seen.passportal_calls) == seen.report.calls["Passportal"] <= 16
    assert seen.writes == []
    assert all(call.startswith(("GET ", "POST /api/v2/auth/client_token?")) for call in seen.passportal_calls)


def test_every_switch_has_a_fact_or_a_reason() -> None:
    own = {field.name for field in dataclasses.fields(PassportalHabits)}
    assert own == {*STRANGER, *STRANGER_WITHOUT_FACT}
    assert {field.name for field in dataclasses.fields(PassportalBehaviour)} == {*SANDBOX, *SANDBOX_WITHOUT_FACT}


def test_a_label_in_another_spelling_is_the_same_label(tmp_path: Path, honest: Examined) -> None:
    habits = dataclasses.replace(BY_LABEL, spelt={"Serial Number": "Serial number", "ZIP / Postal Code": "Zip/Postal"})

    seen = examined(new_home(tmp_path), BmsHabits(), habits)

    assert changed(honest.report, seen.report) == {"PP-FIELDS-LOCATION": "ZIP / Postal Code"}


def test_fields_are_looked_for_under_the_labels_of_the_mapping(tmp_path: Path) -> None:
    habits = dataclasses.replace(BY_LABEL, spelt={"Serial Number": "Seriennummer"})
    home = new_home(tmp_path)
    before = fields_of_assets(examined(home, BmsHabits(), habits))
    assert (before.value, "mapping suggest" in before.next_step) == ("Serial Number", True)
    with Warehouse(home / "warehouse.duckdb").transaction() as connection:
        mapping = parse_mapping({"version": 1, "assets": {"fields": {"serial_number": "Seriennummer"}}})
        store_sync_setting(connection, "mapping", mapping.as_json(), now())

    assert fields_of_assets(examined(home, BmsHabits(), habits)).value == "every value"


def fields_of_assets(seen: Examined) -> Finding:
    return next(finding for finding in seen.report.findings if finding.code == "PP-FIELDS-ASSET")


def test_all_odd_habits_at_once_end_with_right_facts(tmp_path: Path, honest: Examined) -> None:
    odd = PassportalHabits(
        details_at="results list", details_form="labels", values="bare", template_id="tpl-", titles="url and html",
        success="text", ids="text", end="null text", per_page=5, order="ignored", paths="all", token="form",
        expiry="text", coding="gzip",
    )  # fmt: skip

    seen = examined(new_home(tmp_path), BmsHabits(), odd)

    assert len(seen.passportal_calls) <= 16
    assert changed(honest.report, seen.report) == {
        "PP-CAP": "5",
        "PP-DOCUMENT": "below results in a list",
        "PP-END": "null as a text",
        "PP-NAMES": "URL-encoded and HTML-encoded",
        "PP-ORDER": "ignored",
        "PP-PATH": "/documents/all",
        "PP-SIGN-IN": "form",
        "PP-SUCCESS": "text",
        "PP-TEMPLATE-IDS": "tpl-",
        "PP-TITLES": "URL-encoded and HTML-encoded",
        "PP-TOKEN": "55 minutes, stated as a text",
        "PP-VALUES": "some bare",
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with running_home(tmp_path_factory.mktemp("sandbox"), target="documents_api") as running:
        yield running


@pytest.fixture(scope="module")
def before(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Examination:
    """The sandbox as it is by default."""
    folder = new_home(tmp_path_factory.mktemp("before"))
    return examine(home.settings.model_copy(update={"bms_pipeline_home": folder}))


@pytest.mark.parametrize("switch", SANDBOX)
def test_each_switch_of_the_sandbox_changes_exactly_its_facts(
    home: Home, before: Examination, tmp_path: Path, switch: str
) -> None:
    assert home.service is not None
    value, expected = SANDBOX[switch]
    records = home.service.records()
    home.service.behave(**{switch: value})
    home.service.reset_calls()
    try:
        after = examine(home.settings.model_copy(update={"bms_pipeline_home": new_home(tmp_path / "after")}))
        calls = home.service.calls()
    finally:
        home.service.behave(**{switch: PassportalBehaviour().as_switches()[switch]})

    assert changed(before, after) == expected
    assert sum(calls.values()) <= after.calls["Passportal"] <= 16  # the sandbox has no page about its API
    assert {call for call in calls if not call.startswith("GET ")} == {"POST /api/v2/auth/client_token"}
    assert home.service.records() == records


def test_a_key_without_documentation_manager_is_in_the_way(home: Home, tmp_path: Path) -> None:
    assert home.service is not None
    home.service.behave(documentation_manager=False)
    try:
        report = examine(home.settings.model_copy(update={"bms_pipeline_home": new_home(tmp_path)}))
    finally:
        home.service.behave(documentation_manager=True)

    assert report.exit_code == 1
    assert [finding.code for finding in report.groups[Verdict.BLOCKED]] == ["PP-LISTS"] * len(
        report.groups[Verdict.BLOCKED]
    )
    assert "Documentation Manager" in report.groups[Verdict.BLOCKED][0].next_step
    assert facts(report)["BMS-CLAMP"] == "100", "the other service is looked at all the same"
