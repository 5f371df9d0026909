"""``doctor --write``: what only a write shows, on one document, which is what it was at the end, whatever happens."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
from pydantic import SecretStr

from bms_pipeline.core import http
from bms_pipeline.core.entities import ASSETS
from bms_pipeline.core.errors import PipelineError, RunLocked, SettingsError
from bms_pipeline.core.vocabulary import Outcome, Verdict
from bms_pipeline.doctor import before_image, document_writer, one_write
from bms_pipeline.doctor.before_image import ImagePlace
from bms_pipeline.doctor.examine import examine
from bms_pipeline.doctor.one_write import Candidate, Clock, Tried
from bms_pipeline.passportal.documents.habits import habits_in
from bms_pipeline.passportal.target import Write
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.protocol import LockName
from bms_pipeline.warehouse.connection import Warehouse, now
from bms_pipeline.warehouse.facts import read_facts
from bms_pipeline_tests.doctor.examining import new_home
from bms_pipeline_tests.passportal.conftest import ACME, Service, empty_service, server  # noqa: F401  # fixtures
from bms_pipeline_tests.running import called
from bms_sandbox.documents_api.behaviour import PassportalBehaviour
from bms_sandbox.documents_api.store import Link, Record

ASSET, CONTACT = 201, 202


@pytest.fixture
def passportal(empty_service: Service) -> Service:  # noqa: F811
    """The sandbox with a person's document that has a link, a choice and empty fields."""
    service = empty_service
    service.hold(ACME, "client", "Test client")
    service.hold(103, "location", "HQ", 5001, values={"Name": "HQ"})
    service.hold(
        ASSET,
        "asset",
        "Doctor's own",
        79,
        values={
            "Name": "Doctor's own",
            "Serial Number": "SN & 1",
            "Location": Link("HQ", 103, "location"),
            "Status": "Active",
        },
    )
    service.behave(label_options={"Generic Asset": {"Status": ["Active", "Retired"]}})
    service.now += 60
    new_home(service.settings().bms_pipeline_home)
    return service


def clock_of(service: Service) -> Clock:
    return Clock(lambda: service.now, service.sleep)


def tried(service: Service, document: int = ASSET, **settings: Any) -> Tried:
    def saved(place: ImagePlace, candidate: Candidate) -> None: ...

    return one_write.try_document(service.settings(**settings), str(document), saved, clock=clock_of(service))


def held(service: Service, document: int = ASSET) -> Record:
    """The document as it is, without the moment of its last change."""
    return msgspec.structs.replace(service.store.records[document], modified=0)


def values(report: Tried) -> dict[str, str]:
    return {finding.code: finding.value for finding in report.findings if finding.value is not None}


USUAL = {
    "PP-KEEPS": "keeps everything",
    "PP-UPDATE": "one",
    "PP-SENT-VALUES": "text",
    "PP-TEMPLATE-PREFIX": "tpl-",
    "PP-NOTES": "plain text",
    "PP-SIGNS": "kept",
    "PP-STAMP-MOVES": "moves",
    "PP-NOTES-LENGTH": "keeps 5000",
    "PP-TEXT-LENGTH": "keeps 5000",
    "PP-LINKS": "by their text",
    "PP-CHOICES": "refused",
    "PP-SENT-CUSTOM-ID": "ignored",
}
"""What the sandbox shows by default."""

# Switches of the sandbox → the facts that they change.
SWITCHED: list[tuple[dict[str, Any], dict[str, str | None]]] = [
    ({"values": "element"}, {"PP-SENT-VALUES": "element", "PP-LINKS": "by their id"}),
    ({"update": "batch"}, {"PP-UPDATE": "batch", "PP-BODY": "array"}),
    ({"update": "batch", "body": "object"}, {"PP-UPDATE": "batch", "PP-BODY": "object"}),
    ({"template_uids": "capitals"}, {"PP-TEMPLATE-PREFIX": "TPL-"}),
    ({"template_uids": "bare"}, {"PP-TEMPLATE-PREFIX": "no prefix"}),
    ({"template_uids": "prefixed"}, {}),
    ({"custom_id_writable": True}, {"PP-SENT-CUSTOM-ID": "kept"}),
    ({"notes_as_html": True}, {"PP-NOTES": "formatted text"}),
    ({"encoded_titles": True}, {}),
    ({"details_form": "positions"}, {}),
    ({"one_document": "results"}, {}),
    ({"bare_values": True}, {}),
    ({"success_text": True}, {}),
    ({"refused_with_200": True}, {}),
    ({"template_ids": "uid"}, {}),
    ({"blanks": "left out"}, {"PP-TEXT-LENGTH": None}),
    ({"label_types": {"Generic Asset": {"Notes": "html"}}, "label_options": {}}, {
        "PP-NOTES": None, "PP-SIGNS": None, "PP-STAMP-MOVES": None, "PP-NOTES-LENGTH": None, "PP-CHOICES": None,
    }),
]  # fmt: skip


@pytest.mark.parametrize(("switches", "changed"), SWITCHED, ids=lambda it: str(it)[:60])
def test_each_switch_changes_exactly_its_facts_and_the_document_is_what_it_was(
    passportal: Service, switches: dict[str, Any], changed: dict[str, str | None]
) -> None:
    passportal.behave(**switches)
    before, everything = held(passportal), dict(passportal.store.records)

    report = tried(passportal)

    found = values(report)
    assert {code: found.get(code) for code in {*USUAL, *found} if found.get(code) != USUAL.get(code)} == changed
    assert report.restored.is_identical, report.restored
    assert held(passportal) == before
    assert {**passportal.store.records, ASSET: 0} == {**everything, ASSET: 0}, "no other record changes, none is new"
    assert before_image.open_images(passportal.settings()) == []
    assert not any(call == "POST /api/v2/documents" for call in passportal.calls())


SHOWN_ELSEWHERE = {
    "sign_in", "list_path", "end_of_pages", "expiry_text", "encoded_names", "page_cap", "token_lifetime_seconds",
    "documentation_manager", "hidden_clients", "same_login_error", "latency_seconds", "listed_after",
}  # fmt: skip
"""Switches of reading: see ``test_passportal_facts``."""
OF_CREATES = {"batch_refusal", "deleted_templates", "ignores_details"}
OF_TEMPLATES = {"missing_labels", "added_labels", "spelled_labels", "required_labels", "ignores_unknown"}
OF_FAILURES = {"faults", "failing_share", "failing_seed", "lose_answers", "lose_calls", "lost_shows"}


def test_every_switch_has_a_fact_or_a_reason() -> None:
    tried_here = {name for switches, _ in SWITCHED for name in switches}
    known = {*tried_here, *SHOWN_ELSEWHERE, *OF_CREATES, *OF_TEMPLATES, *OF_FAILURES}
    assert known == set(PassportalBehaviour().as_switches())


@pytest.mark.parametrize(
    "switches",
    [
        {"missing_labels": {"Generic Asset": ["Asset Tag", "Notes"]}},
        {"added_labels": {"Generic Asset": ["Warranty"]}},
        {"spelled_labels": {"Generic Asset": {"Notes": "NOTES ", "Asset Tag": "Asset tag"}}},
        {"required_labels": {"Generic Asset": ["Serial Number"]}},
        {"ignores_unknown": True},
    ],
    ids=str,
)
def test_a_tenants_own_template_is_no_obstacle(passportal: Service, switches: dict[str, Any]) -> None:
    passportal.behave(**switches)
    before = held(passportal)

    report = tried(passportal)

    assert values(report)["PP-SENT-VALUES"] == "text"
    assert report.stopped == ""
    assert report.restored.is_identical
    assert held(passportal) == before


# Killed, refused or without answer at any moment


class Killed(BaseException):
    """Stands in for a kill of the process."""


@contextmanager
def killed_at(number: int, *, after: bool) -> Iterator[Callable[[], int]]:
    """Be killed at the call or the saved file with this number (from 1), before or after its effect."""
    count = 0

    def at(real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count == number and not after:
                raise Killed
            done = real(*arguments, **more)
            if count == number:
                raise Killed
            return done

        return wrapped

    with (
        mock.patch.object(http.Service, "_send", at(http.Service._send)),
        mock.patch.object(before_image, "save", at(before_image.save)),
        mock.patch.object(before_image, "put_away", at(before_image.put_away)),
    ):
        yield lambda: count


def steps_of_a_trial(service: Service) -> int:
    with killed_at(0, after=False) as count:
        tried(service)
        return count()


def test_killed_at_any_moment_the_document_is_put_back_by_restore(passportal: Service) -> None:
    before = held(passportal)
    steps = steps_of_a_trial(passportal)
    assert steps > 40
    for number in range(steps + 1):
        # Right after one step is right before the next.
        with killed_at(max(number, 1), after=number > 0), pytest.raises(Killed):
            tried(passportal)
        passportal.now += passportal.settings().passportal_unknown_seconds + 1

        restored = one_write.restore_all(passportal.settings(), clock_of(passportal))

        assert held(passportal) == before, number
        assert all(document.is_identical for document in restored), (number, restored)
        assert before_image.open_images(passportal.settings()) == []


@pytest.mark.parametrize("share", [5, 9, 14, 19, 22])
def test_killed_during_the_restore_too_the_next_restore_puts_it_back(passportal: Service, share: int) -> None:
    before = held(passportal)
    with killed_at(share * 2, after=True), pytest.raises(Killed):
        tried(passportal)
    for number in range(1, 12):
        with killed_at(number, after=number % 2 == 0):
            try:
                one_write.restore_all(passportal.settings(), clock_of(passportal))
            except Killed:
                continue
    passportal.now += passportal.settings().passportal_unknown_seconds + 1

    one_write.restore_all(passportal.settings(), clock_of(passportal))

    assert held(passportal) == before
    assert before_image.open_images(passportal.settings()) == []


def test_the_next_trial_of_the_document_puts_it_back_first(passportal: Service) -> None:
    before = held(passportal)
    with killed_at(30, after=True), pytest.raises(Killed):
        tried(passportal)
    assert held(passportal) != before
    passportal.now += passportal.settings().passportal_unknown_seconds + 1

    assert values(tried(passportal)) == USUAL
    assert held(passportal) == before
    assert before_image.open_images(passportal.settings()) == []


def test_a_change_without_answer_keeps_the_image_until_it_cannot_come_any_more(passportal: Service) -> None:
    before = held(passportal)
    passportal.behave(lose_answers=[3])

    report = tried(passportal)

    assert "an error ended it" in report.stopped
    assert held(passportal) == before, "it is put back at once"
    assert report.restored.differing == ()
    assert report.restored.again_at is not None, "the lost change may still be on its way"
    assert len(before_image.open_images(passportal.settings())) == 1
    passportal.edit(ASSET, details={"Asset Tag": f"{'bms-pipeline-doctor-trial'} late"})
    passportal.now += passportal.settings().passportal_unknown_seconds + 1

    (restored,) = one_write.restore_all(passportal.settings(), clock_of(passportal))

    assert restored.is_identical
    assert held(passportal) == before


FROM_THE_FOURTH = tuple(range(4, 60))


@pytest.mark.parametrize("shows", ["nothing", "502"])
def test_a_service_that_takes_no_write_any_more_is_said_with_the_way_back(passportal: Service, shows: str) -> None:
    before = held(passportal)
    passportal.behave(lose_calls=FROM_THE_FOURTH, lost_shows=shows)

    with pytest.raises(PipelineError) as failed:
        tried(passportal)

    assert held(passportal) != before
    assert "doctor --restore" in failed.value.next_step
    passportal.behave(lose_calls=0, lost_shows="nothing")
    passportal.now += passportal.settings().passportal_unknown_seconds + 1
    assert all(document.is_identical for document in one_write.restore_all(passportal.settings(), clock_of(passportal)))
    assert held(passportal) == before


@pytest.mark.parametrize("lost", [{"lose_answers": 1.0}, {"lose_calls": 1.0}])
def test_a_document_that_is_as_it_was_is_said_to_be_though_no_write_was_answered(
    passportal: Service, lost: dict[str, Any]
) -> None:
    before = held(passportal)
    passportal.behave(**lost)

    report = tried(passportal)

    assert "an error ended it" in report.stopped
    assert report.restored.differing == ()
    assert report.restored.again_at is not None, "one of them may still come"
    assert held(passportal) == before


def test_an_edit_that_a_person_made_meanwhile_is_kept_and_named(passportal: Service) -> None:
    with killed_at(30, after=True), pytest.raises(Killed):
        tried(passportal)
    passportal.edit(ASSET, details={"Hostname": "a person's host"}, title="A person's title")
    passportal.now += passportal.settings().passportal_unknown_seconds + 1

    (restored,) = one_write.restore_all(passportal.settings(), clock_of(passportal))

    assert restored.edited == ("Hostname", "title")
    assert restored.is_identical
    record = held(passportal)
    assert record.title == "A person's title"
    assert record.values["Hostname"] == "a person's host"
    assert record.values["Location"] == Link("HQ", 103, "location")
    assert "Notes" not in record.values


def test_nothing_is_sent_where_nothing_was_written(passportal: Service) -> None:
    with killed_at(4, after=True), pytest.raises(Killed):
        tried(passportal)
    (place,) = before_image.open_images(passportal.settings())
    assert not before_image.read_image(place).is_written
    passportal.calls()

    (restored,) = one_write.restore_all(passportal.settings(), clock_of(passportal))

    assert restored.is_identical
    assert not any(call.startswith("PUT") for call in passportal.calls())


@pytest.mark.parametrize("damage", [lambda it: it[:-9], lambda it: b"", lambda it: it.replace(b"SN &", b"SN %")])
def test_a_damaged_image_is_never_written_over_a_document(
    passportal: Service, damage: Callable[[bytes], bytes]
) -> None:
    with killed_at(30, after=True), pytest.raises(Killed):
        tried(passportal)
    (place,) = before_image.open_images(passportal.settings())
    file = Path(str(place))
    file.write_bytes(damage(file.read_bytes()))
    before = held(passportal)

    with pytest.raises(PipelineError, match="it is damaged") as failed:
        one_write.restore_all(passportal.settings(), clock_of(passportal))

    assert "Version Control" in failed.value.next_step
    assert held(passportal) == before


# What is refused, saved and kept


def test_the_image_is_readable_by_its_owner_only_and_saved_before_the_first_change(passportal: Service) -> None:
    seen: list[tuple[ImagePlace, Record]] = []
    before = held(passportal)

    one_write.try_document(
        passportal.settings(), str(ASSET), lambda place, _: seen.append((place, held(passportal))),
        clock=clock_of(passportal),
    )  # fmt: skip

    ((place, then),) = seen
    assert then == before
    folder = Path(str(place)).parent
    (kept,) = (folder / "restored").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    restored = before_image.read_image(replace(place, name=f"restored/{kept.name}"))
    assert restored.row["label"] == "Doctor's own"


@pytest.mark.parametrize("document", ["../../x", "1/2", "", "1?a=b", "x" * 50, "9999999"])
def test_what_is_no_document_is_refused_before_anything_is_saved(passportal: Service, document: str) -> None:
    with pytest.raises(PipelineError):
        one_write.try_document(passportal.settings(), document, lambda *_: None, clock=clock_of(passportal))

    assert before_image.open_images(passportal.settings()) == []


def test_a_document_that_a_sync_writes_is_refused(passportal: Service) -> None:
    passportal.edit(ASSET, details={"Notes": "Kaseya BMS ID: 4711"})

    with pytest.raises(PipelineError, match="4711"):
        tried(passportal)

    assert before_image.open_images(passportal.settings()) == []


def test_while_a_run_is_at_work_nothing_is_tried(passportal: Service) -> None:
    state = open_state(passportal.settings())
    with state.locked(LockName.RUN, "a sync", now()), pytest.raises(RunLocked):
        tried(passportal)


def test_the_image_of_another_passportal_is_not_sent_to_this_one(passportal: Service) -> None:
    with killed_at(30, after=True), pytest.raises(Killed):
        tried(passportal)
    elsewhere = passportal.settings(passportal_url=passportal.url.replace("127.0.0.1", "localhost"))

    with pytest.raises(SettingsError, match="before-image"):
        one_write.restore_all(elsewhere, clock_of(passportal))


def test_the_facts_are_kept_with_how_they_were_seen(passportal: Service) -> None:
    tried(passportal)

    with Warehouse(passportal.settings().warehouse_file).open() as connection:
        stored = read_facts(connection)
    assert {code: fact.value for code, fact in stored.items()} == USUAL
    assert {fact.how for fact in stored.values()} == {"the trial of a document"}


# The command


def run(service: Service, *arguments: str) -> Any:
    environment = {
        "BMS_PIPELINE_HOME": str(service.settings().bms_pipeline_home),
        "PASSPORTAL_TARGET": "documents_api",
        "PASSPORTAL_URL": service.url,
        "PASSPORTAL_KEY_ID": service.settings().passportal_key_id,
        "PASSPORTAL_SECRET": service.settings().passportal_secret.get_secret_value(),
    }
    with mock.patch.object(document_writer, "LOOK_AGAIN_AFTER", (0.0, 0.01)):
        return called("doctor", *arguments, environment=environment, folder=service.folder)


def test_without_yes_the_command_says_what_it_would_do_and_writes_nothing(passportal: Service) -> None:
    passportal.calls()

    ran = run(passportal, "--write", str(ASSET))

    said = " ".join(ran.stdout.split())
    assert ran.returncode == 2
    assert "Doctor's own" in said
    assert "Nothing was written" in said
    assert "6. write a customId" in said
    assert "write a word that is no option into Status" in said
    assert not any(call.startswith("PUT") for call in passportal.calls())
    assert before_image.open_images(passportal.settings()) == []


def test_the_command_shows_the_way_back_first_and_the_outcome_last(passportal: Service) -> None:
    ran = run(passportal, "--write", str(ASSET), "--yes")

    said = " ".join(ran.stdout.split())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert said.index("is saved in") < said.index("doctor --restore") < said.index("PP-KEEPS")
    assert "restored, identical" in said.split("PP-KEEPS")[1]


def test_json_holds_the_same(passportal: Service) -> None:
    shown = json.loads(run(passportal, "--write", str(ASSET), "--yes", "--json").stdout)

    assert shown["exit_code"] == 0
    assert shown["restored"]["identical"] is True
    assert {finding["code"]: finding["value"] for finding in shown["findings"]} == USUAL


def test_restore_without_an_image_has_nothing_to_do(passportal: Service) -> None:
    ran = run(passportal, "--restore")

    assert ran.returncode == 0
    assert "nothing to restore" in ran.stdout


@pytest.mark.parametrize("arguments", [("--yes",), ("--restore", "--write", "1")])
def test_options_that_contradict_each_other_are_refused(passportal: Service, arguments: tuple[str, ...]) -> None:
    assert run(passportal, *arguments).returncode == 1


# What was proved is used


def changed_by_a_sync(service: Service, **settings: Any) -> tuple[Outcome, dict[str, int]]:
    """Change a document as a load does, with the facts that are stored; its outcome and the calls."""
    own = service.settings(**settings)
    with Warehouse(own.warehouse_file).open() as connection:
        habits = habits_in(read_facts(connection))
    service.calls()
    with closing(service.target(**settings)) as target:
        target.learn(habits)
        write = Write(7, str(ACME), str(ASSET), {"model": "new"}, {"model": None})
        (written,) = target.update(ASSETS, [write])
    return written.outcome, service.calls()


@pytest.mark.parametrize(
    ("switches", "calls"),
    [
        ({"template_uids": "capitals"}, {"PUT /api/v2/documents/{id}": 1}),
        ({"template_uids": "bare"}, {"PUT /api/v2/documents/{id}": 1}),
        ({"values": "element"}, {"PUT /api/v2/documents/{id}": 1}),
        ({"update": "batch"}, {"PUT /api/v2/documents": 1}),
        ({"update": "batch", "body": "object"}, {"PUT /api/v2/documents": 1}),
    ],
    ids=str,
)
def test_a_load_writes_in_the_forms_that_the_trial_proved(
    passportal: Service, switches: dict[str, Any], calls: dict[str, int]
) -> None:
    passportal.behave(**switches)
    tried(passportal)

    outcome, made = changed_by_a_sync(passportal)

    assert outcome is Outcome.DONE
    assert {call: number for call, number in made.items() if call.startswith("PUT")} == calls
    assert passportal.store.records[ASSET].values["Model"] == "new"


def test_a_setting_that_a_person_made_counts_more_and_the_contradiction_is_said(passportal: Service) -> None:
    passportal.behave(values="element")

    report = tried(passportal, passportal_values="text")

    (finding,) = [finding for finding in report.findings if finding.code == "PP-SENT-VALUES"]
    assert (finding.verdict, finding.value) == (Verdict.DECIDE, "element")
    assert "PASSPORTAL_VALUES=element" in finding.next_step
    outcome, _ = changed_by_a_sync(passportal, passportal_values="text")
    assert outcome is Outcome.REFUSED


def test_a_customid_that_was_seen_to_be_dropped_is_not_tried_by_a_load(passportal: Service) -> None:
    tried(passportal)

    with pytest.raises(SettingsError, match="seen not to keep the customId"):
        changed_by_a_sync(passportal, passportal_marker="custom_id")

    assert not any(call.startswith("PUT") for call in passportal.calls())


def test_doctor_recalls_what_the_trial_showed_and_names_a_document_left_changed(
    passportal: Service, tmp_path: Path
) -> None:
    tried(passportal)
    with killed_at(30, after=True), pytest.raises(Killed):
        tried(passportal)
    dead = {"bms_url": "http://127.0.0.1:9", "bms_tenant": "t", "bms_username": "u", "bms_password": SecretStr("p")}

    report = examine(passportal.settings(**dead))

    found = {finding.code: finding for finding in report.findings}
    assert found["PP-TRIAL"].verdict is Verdict.DECIDE
    assert "--restore" in found["PP-TRIAL"].next_step
    assert (found["PP-SENT-VALUES"].verdict, found["PP-SENT-VALUES"].value) == (Verdict.READY, "text")
    assert found["PP-SENT-VALUES"].since is not None
    assert "PP-WRITES" not in found, "it is known by now"
