"""``doctor --write`` on the second Passportal: its habits of writing, faults of its own, and a real kill."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from pydantic import SecretStr

from bms_pipeline.core.settings import Settings
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor import before_image, document_writer, one_write
from bms_pipeline.doctor.one_write import Tried
from bms_pipeline_tests.doctor.examining import new_home
from bms_pipeline_tests.running import called
from bms_pipeline_tests.stranger import passportal as target
from bms_pipeline_tests.stranger.passportal import Document, Passportal, PassportalHabits
from bms_pipeline_tests.stranger.serving import Answer, Request, serving

BY_LABEL = PassportalHabits(details_form="labels", template_uid="any")


@pytest.fixture(autouse=True)
def _short_pauses() -> Iterator[None]:
    with mock.patch.object(document_writer, "LOOK_AGAIN_AFTER", (0.0, 0.01)):
        yield


def a_document(passportal: Passportal) -> Document:
    client = passportal.add_client("Test client")
    hq = passportal.add_document("location", client, "HQ", Name="HQ", City="Graz")
    link = {"text": "HQ", "id": hq.id, "type": "locations"}
    document = passportal.add_document(
        "asset", client, "Doctor's own", **{"Serial Number": "SN & 1", "Hostname": "own", "Location": link}
    )
    document.tags = ["one", "two"]
    document.modified -= 60
    return document


@contextmanager
def served(
    passportal: Passportal, folder: Path, answer: Callable[[Request], Answer] | None = None
) -> Iterator[Settings]:
    with serving(answer or passportal.answer) as url:
        yield Settings(
            _env_file=None,  # type: ignore[call-arg]
            passportal_target="documents_api",
            passportal_url=url,
            passportal_key_id=target.KEY_ID,
            passportal_secret=SecretStr(target.SECRET),
            passportal_unknown_seconds=0.05,
            bms_pipeline_home=new_home(folder / "home"),
        )


def tried(settings: Settings, document: Document, form: str = "element") -> Tried:
    given = settings.model_copy(update={"passportal_values": form})
    return one_write.try_document(given, str(document.id), lambda *_: None)


def values(report: Tried) -> dict[str, str]:
    return {finding.code: finding.value for finding in report.findings if finding.value is not None}


def content(document: Document) -> tuple[Any, ...]:
    elements = {label: value for label, value in document.elements.items() if value not in (None, "", "Please Select")}
    return document.title, elements, document.tags


USUAL = {
    "PP-KEEPS": "keeps everything",
    "PP-UPDATE": "one",
    "PP-SENT-VALUES": "element",
    "PP-TEMPLATE-PREFIX": "tpl-",
    "PP-NOTES": "plain text",
    "PP-SIGNS": "kept",
    "PP-STAMP-MOVES": "moves",
    "PP-NOTES-LENGTH": "keeps 5000",
    "PP-TEXT-LENGTH": "keeps 5000",
    "PP-LINKS": "by their id",
    "PP-SENT-CUSTOM-ID": "ignored",
}


class Odd(Passportal):
    """A Passportal with habits of writing that no switch has. ``spoil`` changes what is kept of a change."""

    spoil: Callable[[dict[str, Any]], dict[str, Any]] = staticmethod(lambda elements: elements)
    refuses: Callable[[dict[str, Any]], str] = staticmethod(lambda _: "")
    keeps_tags = True

    def _elements(self, kind: str, item: dict[str, Any]) -> tuple[dict[str, Any], str]:
        elements, problem = super()._elements(kind, item)
        problem = problem or self.refuses(elements)
        if not self.keeps_tags:
            item["details"] = {**item["details"], "tags": []}
        return self.spoil(elements), problem


def cut(elements: dict[str, Any]) -> dict[str, Any]:
    return {label: value[:255] if isinstance(value, str) else value for label, value in elements.items()}


def html_encoded(elements: dict[str, Any]) -> dict[str, Any]:
    return {
        label: value.replace("&", "&amp;").replace("&amp;amp;", "&amp;") if isinstance(value, str) else value
        for label, value in elements.items()
    }


def joined(elements: dict[str, Any]) -> dict[str, Any]:
    return {label: " ".join(value.split()) if isinstance(value, str) else value for label, value in elements.items()}


def without_links(elements: dict[str, Any]) -> dict[str, Any]:
    return {label: value["text"] if isinstance(value, dict) else value for label, value in elements.items()}


@pytest.mark.parametrize(
    ("spoil", "changed"),
    [
        (cut, {"PP-NOTES-LENGTH": "cuts to 255", "PP-TEXT-LENGTH": "cuts to 255"}),
        (joined, {"PP-SIGNS": "lines joined"}),
    ],
)
def test_what_a_service_does_to_texts_is_seen(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], dict[str, Any]], changed: dict[str, str]
) -> None:
    passportal = Odd(BY_LABEL)
    passportal.spoil = spoil
    document = a_document(passportal)
    document.elements["Serial Number"] = "SN 1"
    before = content(document)
    with served(passportal, tmp_path) as settings:
        report = tried(settings, document)

    assert {code: it for code, it in values(report).items() if USUAL.get(code) != it} == changed
    assert report.restored.is_identical
    assert content(document) == before


def test_a_service_that_refuses_long_texts_is_seen(tmp_path: Path) -> None:
    passportal = Odd(BY_LABEL)
    passportal.refuses = lambda elements: (
        "too long" if any(isinstance(value, str) and len(value) > 255 for value in elements.values()) else ""
    )
    document = a_document(passportal)
    with served(passportal, tmp_path) as settings:
        report = tried(settings, document)

    assert values(report)["PP-NOTES-LENGTH"] == "refuses 5000"
    assert values(report)["PP-TEXT-LENGTH"] == "refuses 300"
    assert report.restored.is_identical


def test_a_link_that_texts_lose_stops_the_trial_and_elements_bring_it_back(tmp_path: Path) -> None:
    passportal = Passportal(BY_LABEL)
    document = a_document(passportal)
    before = content(document)

    with served(passportal, tmp_path) as settings:
        report = tried(settings, document, "text")

    # This service takes a link sent as a text for a text, and an element for what it is.
    assert values(report)["PP-KEEPS"] == "loses Location"
    assert "PP-NOTES" not in values(report), "each step only after the one before was clean"
    assert values(report)["PP-SENT-VALUES"] == "element"
    assert any(finding.verdict is Verdict.DECIDE for finding in report.findings)
    assert report.restored.is_identical
    assert content(document) == before


def test_what_the_restore_proved_is_used_by_the_next_trial(tmp_path: Path) -> None:
    passportal = Passportal(BY_LABEL)
    document = a_document(passportal)
    with served(passportal, tmp_path) as settings:
        first = one_write.try_document(settings, str(document.id), lambda *_: None)
        document.modified -= 5  # its stamp has whole seconds, and nobody tries again within the same one
        again = one_write.try_document(settings, str(document.id), lambda *_: None)

    assert first.stopped
    assert again.stopped == ""
    assert values(again) == USUAL


def test_tags_that_a_change_loses_stop_the_trial_and_are_named_at_the_end(tmp_path: Path) -> None:
    passportal = Odd(BY_LABEL)
    passportal.keeps_tags = False
    document = a_document(passportal)
    with served(passportal, tmp_path) as settings:
        report = tried(settings, document)

    assert values(report)["PP-KEEPS"] == "loses tags"
    assert report.restored.differing == ("tags",)
    assert not report.restored.is_identical
    assert len(before_image.open_images(settings)) == 1


def test_a_service_that_refuses_every_change_is_said_and_nothing_is_changed(tmp_path: Path) -> None:
    passportal = Odd(BY_LABEL)
    passportal.refuses = lambda _: "no right to edit"
    document = a_document(passportal)
    before = content(document)
    with served(passportal, tmp_path) as settings:
        report = tried(settings, document)

    (finding,) = [finding for finding in report.findings if finding.verdict is Verdict.BLOCKED]
    assert "no right to edit" in finding.text
    assert content(document) == before
    assert report.restored.is_identical, "nothing differs"


def test_a_refused_restore_names_what_differs_and_a_later_one_puts_it_back(tmp_path: Path) -> None:
    passportal = Odd(BY_LABEL)
    document = a_document(passportal)
    before = content(document)
    changes = 0

    def after_two(_: dict[str, Any]) -> str:
        nonlocal changes
        changes += 1
        return "the right to edit was taken away" if changes > 2 else ""

    passportal.refuses = after_two
    with served(passportal, tmp_path) as settings:
        report = tried(settings, document)

        assert report.restored.differing == ("Notes",)
        assert report.restored.refusal == "Passportal refused the change of document {}: {} (400).".format(
            document.id, "the right to edit was taken away"
        )
        assert content(document) != before
        assert len(before_image.open_images(settings)) == 1
        passportal.refuses = lambda _: ""
        (restored,) = one_write.restore_all(settings)

    assert restored.is_identical
    assert content(document) == before


NO_NOTES: dict[str, str | None] = dict.fromkeys(("PP-NOTES", "PP-SIGNS", "PP-NOTES-LENGTH", "PP-STAMP-MOVES"))
# Habits → the facts that they change; None: not proved any more.
HABITS: list[tuple[dict[str, Any], dict[str, str | None]]] = [
    ({"template_uid": "bare"}, {}),  # only a new document has to name its template
    ({"template_uid": "upper"}, {}),
    ({"strict_keys": True}, {}),
    ({"details_at": "results list"}, {}),
    ({"titles": "url and html"}, {}),
    ({"success": "text"}, {}),
    ({"ids": "text"}, {}),
    ({"rich_notes": True}, {"PP-NOTES": "formatted text"}),
    ({"please_select": True}, {"PP-CHOICES": "taken"}),
    ({"values": "bare"}, {}),
    ({"coding": "gzip"}, {}),
    ({"body": "array"}, {}),
    ({"paths": "all"}, {}),
    ({"token": "form"}, {}),
    ({"required": (("asset", "Serial Number"),)}, {}),
    ({"lacks": (("asset", "Notes"),)}, NO_NOTES),
    ({"details_form": "positions"}, NO_NOTES),  # an empty field has no name there
    ({"nulls": "omitted"}, {}),
]


@pytest.mark.parametrize(("habits", "changed"), HABITS, ids=lambda it: str(it)[:50])
def test_each_habit_changes_exactly_its_facts_and_the_document_is_what_it_was(
    tmp_path: Path, habits: dict[str, Any], changed: dict[str, str | None]
) -> None:
    passportal = Passportal(PassportalHabits(**{"details_form": "labels", "template_uid": "any", **habits}), 3)
    document = a_document(passportal)
    before = content(document)
    others = {number: copy.deepcopy(content(it)) for number, it in passportal.documents.items() if it is not document}
    with served(passportal, tmp_path) as settings:
        report = tried(settings, document)

    found = values(report)
    assert {code: found.get(code) for code in {*USUAL, *found} if found.get(code) != USUAL.get(code)} == changed
    assert report.restored.is_identical
    assert content(document) == before
    assert {number: content(it) for number, it in passportal.documents.items() if it is not document} == others


def test_reads_that_fail_now_and_then_change_nothing_of_that(tmp_path: Path) -> None:
    passportal = Passportal(PassportalHabits(details_form="labels", faults="500", fault_share=0.2), 3)
    document = a_document(passportal)
    before = content(document)
    with served(passportal, tmp_path) as settings:
        report = tried(settings, document)

    assert report.restored.is_identical
    assert content(document) == before


@pytest.mark.parametrize("number", [1, 2, 4, 7])
def test_killed_for_real_at_a_change_the_next_restore_makes_it_identical(tmp_path: Path, number: int) -> None:
    passportal = Passportal(BY_LABEL)
    document = a_document(passportal)
    before = content(document)
    process: list[subprocess.Popen[bytes]] = []
    puts = 0

    def answer(request: Request) -> Answer:
        nonlocal puts
        puts += request.method == "PUT"
        done = passportal.answer(request)
        if request.method == "PUT" and puts == number and process:
            os.kill(process[0].pid, signal.SIGKILL)
        return done

    with served(passportal, tmp_path, answer) as settings:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "BMS_PIPELINE_HOME": str(settings.bms_pipeline_home),
            "PASSPORTAL_TARGET": "documents_api",
            "PASSPORTAL_URL": settings.passportal_url,
            "PASSPORTAL_KEY_ID": target.KEY_ID,
            "PASSPORTAL_SECRET": target.SECRET,
            "PASSPORTAL_VALUES": "element",
            "PASSPORTAL_UNKNOWN_SECONDS": "0.01",
        }
        command = [sys.executable, "-m", "bms_pipeline.cli", "doctor", "--write", str(document.id), "--yes"]
        process.append(subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE))
        output, _ = process[0].communicate(timeout=120)
        assert process[0].returncode == -signal.SIGKILL
        assert b"--restore" in output, "the way back is printed before the first change"
        process.clear()

        ran = called("doctor", "--restore", environment=environment, folder=tmp_path)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "restored, identical" in " ".join(ran.stdout.split())
    assert content(document) == before
