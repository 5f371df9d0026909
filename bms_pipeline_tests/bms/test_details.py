"""Reading details: each is asked for once, what came is kept whatever happens, and one bad record stops nobody."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from werkzeug import Request, Response

from bms_pipeline.bms import asset_detail
from bms_pipeline.bms.asset_detail import DetailAnswer, Patience
from bms_pipeline.bms.client import BmsClient
from bms_pipeline.bms.sweep import page_files
from bms_pipeline.core.entities import SCALAR, DetailCall
from bms_pipeline.core.errors import AccessRefused, AnswerUnreadable, PipelineError, ServiceUnreachable
from bms_pipeline_tests.bms.conftest import FakeBms, answer, refusal, text

CALL = DetailCall("/v2/servicedesk/hardwareasset/{id}", {"brand": "VARCHAR", "state": "VARCHAR"})
Connect = Callable[..., BmsClient]
Special = dict[int, Response | Callable[[], Response]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "landing" / "asset_details"


def gives(bms: FakeBms, ids: range, special: Special | None = None) -> None:
    """Every asset has a detail, but for ``special`` ones."""

    def respond(bms_id: int) -> Callable[[Request], Response]:
        found = (special or {}).get(bms_id, answer({"id": bms_id, "brand": f"B{bms_id}", "state": None, "more": [1]}))
        return lambda _: found() if callable(found) and not isinstance(found, Response) else found

    bms.before |= {CALL.path.format(id=each): respond(each) for each in ids}


def read(
    client: BmsClient, ids: range, folder: Path, bms: FakeBms, *, connections: int = 4, patience: float = 0
) -> asset_detail.DetailProgress:
    """Read details on the test's clock."""

    def sleep(seconds: float) -> None:
        bms.now += seconds

    waits = Patience(patience, lambda: bms.now, sleep)
    return asset_detail.read_all(client, CALL, ids, folder, connections=connections, patience=waits)


def answers(folder: Path) -> dict[int, DetailAnswer]:
    """What the finished files hold, by id."""
    found: dict[int, DetailAnswer] = {}
    for file in asset_detail.finished(folder):
        lines = zstandard.ZstdDecompressor().decompress(file.read_bytes()).splitlines()
        found |= {each["bms_id"]: DetailAnswer(**each) for each in map(json.loads, lines)}
    return found


def test_each_is_asked_once_and_its_declared_values_are_kept(bms: FakeBms, connect: Connect, folder: Path) -> None:
    gives(bms, range(1, 31))
    assert read(connect(), range(1, 31), folder, bms) == asset_detail.DetailProgress(30, 0)
    assert answers(folder)[7].detail == {"brand": "B7", "state": None}
    assert bms.count("hardwareasset/7") == 1
    assert asset_detail.unlanded(folder) == 30
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize("spelled", [str.capitalize, str.lower, str.upper])
def test_keys_in_any_case_and_absent_ones_are_no_null(
    spelled: Callable[[str], str], bms: FakeBms, connect: Connect, folder: Path
) -> None:
    gives(bms, range(1, 3), {1: answer({spelled("id"): 1, spelled("brand"): "HP"})})
    bms.before[CALL.path.format(id=2)] = lambda _: answer({spelled("id"): 2, spelled("state"): None})
    read(connect(), range(1, 3), folder, bms, connections=1)
    assert (answers(folder)[1].detail, answers(folder)[2].detail) == ({"brand": "HP"}, {"state": None})


def test_a_key_that_a_mapping_names_may_have_any_single_value_and_the_answer_says_that_it_was_asked_for(
    bms: FakeBms, connect: Connect, folder: Path
) -> None:
    call = replace(CALL, wire={"locationInfo": SCALAR, **CALL.wire})
    gives(bms, range(1, 4), {1: answer({"id": 1, "LocationInfo": 4.5}), 2: answer({"id": 2, "locationInfo": True})})
    asset_detail.read_all(connect(), call, range(1, 4), folder, connections=1, patience=Patience(0))
    found = answers(folder)
    assert (found[1].detail, found[2].detail) == ({"locationInfo": 4.5}, {"locationInfo": True})
    assert [tuple(found[number].keys) for number in (1, 2, 3)] == [("locationInfo",)] * 3


def test_another_record_in_another_spelling_is_no_detail(bms: FakeBms, connect: Connect, folder: Path) -> None:
    gives(bms, range(7, 8), {7: answer({"Id": 8, "Brand": "HP"})})
    assert read(connect(), range(7, 8), folder, bms) == asset_detail.DetailProgress(0, 1)


def test_a_full_file_is_finished_and_another_begun(
    bms: FakeBms, connect: Connect, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asset_detail, "FULL", 4)
    gives(bms, range(1, 11))
    read(connect(), range(1, 11), folder, bms)
    assert sorted(len(each) for each in asset_detail.finished(folder).values()) == [2, 4, 4]


BAD = {
    "it is gone": (refusal("The asset does not exist.", 404), "does not exist"),
    "no success": (refusal("Internal id", 200), "Internal id"),
    "a server error for this one": (text("", 500), "answered 500"),
    "a value of another type": (answer({"id": 2, "brand": {"name": "Dell"}}), r"Expected `str \| null`, got `object`"),
    "another record's": (answer({"id": 9, "brand": "Dell"}), "detail of record 9"),
    "without an id": (answer({"brand": "Dell"}), "it has no id"),
    "nothing at all": (answer({}), "it has no id"),
    "no field that is read": (answer({"id": 2, "make": "Dell"}), "none of the fields that are read"),
    "no object": (answer(["Dell"]), "not valid JSON"),
    "not a number": (text('{"success": true, "result": {"id": 2, "brand": NaN}}'), "not valid JSON"),
    "a lone surrogate": (text(r'{"success": true, "result": {"id": 2, "brand": "\ud800"}}'), "not valid JSON"),
    "an endless number as id": (
        text('{"success": true, "result": {"id": 1' + "0" * 5000 + "}}"),
        "out of range|Expected",
    ),
    "a key twice": (text('{"success": true, "result": {"id": 2, "brand": "a", "brand": "b"}}'), "a key comes twice"),
    "too deep": (text('{"success": true, "result": {"id": 2, "x": ' + "[" * 9999 + "]" * 9999 + "}}"), "JSON|deep"),
    "too large": (answer({"id": 2, "x": "x" * (asset_detail.DETAIL_BYTES + 1)}), "larger than 1 MB"),
}


@pytest.mark.parametrize(("response", "why"), BAD.values(), ids=BAD)
def test_what_is_wrong_with_one_record_is_noted_and_the_rest_goes_on(
    bms: FakeBms, connect: Connect, folder: Path, response: Response, why: str
) -> None:
    gives(bms, range(1, 4), {2: response})
    assert read(connect(), range(1, 4), folder, bms, connections=1) == asset_detail.DetailProgress(2, 1)
    found = answers(folder)[2]
    assert found.detail is None
    assert re.search(why, found.problem or "")


def test_odd_but_harmless_text_is_kept_as_it_is(bms: FakeBms, connect: Connect, folder: Path) -> None:
    odd = "\x00\u202e<b>' \"\n" + "😀"
    detail = json.dumps({"id": 1, "brand": odd}, indent=1)
    gives(bms, range(1, 2), {1: text('\ufeff{"success": true,\n "result": \n' + detail + "}")})
    read(connect(), range(1, 2), folder, bms)
    assert answers(folder)[1].detail == {"brand": odd}


STOPS = {
    "the right is missing": (refusal("no right", 403), AccessRefused),
    "the service is down": (text("", 503), ServiceUnreachable),
}


@pytest.mark.parametrize(("response", "kind"), STOPS.values(), ids=STOPS)
def test_what_concerns_all_stops_the_run_and_what_was_read_is_kept(
    bms: FakeBms, connect: Connect, folder: Path, response: Response, kind: type[PipelineError]
) -> None:
    gives(bms, range(1, 100), dict.fromkeys(range(6, 100), response))
    with pytest.raises(kind):
        read(connect(), range(1, 100), folder, bms)
    assert set(answers(folder)) == set(range(1, 6))
    assert len({path for path, _, _ in bms.asked}) < 20


def test_a_maintenance_page_is_no_fault_of_the_records(bms: FakeBms, connect: Connect, folder: Path) -> None:
    """Noted as their problem, it would keep them unread for a month."""
    gives(bms, range(1, 100), dict.fromkeys(range(6, 100), text("<title>We are back soon</title>")))
    with pytest.raises(AnswerUnreadable, match=r"2[0-9] details in a row could not be read.*We are back soon"):
        read(connect(), range(1, 100), folder, bms)
    assert set(answers(folder)) == set(range(1, 6))


def test_records_that_bms_says_are_gone_are_noted_however_many(bms: FakeBms, connect: Connect, folder: Path) -> None:
    """Else the next run would begin with the same ones and never come further."""
    gives(bms, range(1, 100), dict.fromkeys(range(1, 31), refusal("The asset does not exist.", 404)))
    with pytest.raises(AnswerUnreadable, match="in a row"):
        read(connect(), range(1, 100), folder, bms, connections=1)
    assert read(connect(), range(21, 100), folder, bms, connections=1) == asset_detail.DetailProgress(69, 10)
    assert set(answers(folder)) == set(range(1, 100))


def test_a_used_up_hour_is_a_clean_end_and_no_call_is_refused(bms: FakeBms, connect: Connect, folder: Path) -> None:
    gives(bms, range(1, 31))
    client = connect(bms_details_calls_per_hour=12)
    assert read(client, range(1, 31), folder, bms) == asset_detail.DetailProgress(12, 0)
    assert set(answers(folder)) == set(range(1, 13)), "the most urgent ones"
    bms.now += 3605
    assert read(client, range(13, 31), folder, bms) == asset_detail.DetailProgress(12, 0)


def test_a_call_that_becomes_free_soon_is_waited_for(bms: FakeBms, connect: Connect, folder: Path) -> None:
    gives(bms, range(1, 31))
    client = connect(bms_details_calls_per_hour=12)
    read(client, range(1, 7), folder, bms)
    bms.now += 60
    read(client, range(7, 13), folder, bms)
    bms.now += 3480  # the first six are free in a minute, the others a minute later
    assert read(client, range(13, 31), folder, bms, patience=120) == asset_detail.DetailProgress(12, 0)


def test_bms_says_that_its_hour_is_used_up_although_ours_is_not(bms: FakeBms, connect: Connect, folder: Path) -> None:
    gives(bms, range(1, 31), dict.fromkeys(range(5, 31), refusal("quota", 429)))
    assert read(connect(), range(1, 31), folder, bms, connections=1, patience=120) == asset_detail.DetailProgress(4, 0)
    assert set(answers(folder)) == {1, 2, 3, 4}


def test_what_a_killed_run_left_is_finished_without_its_cut_end(folder: Path) -> None:
    folder.mkdir(parents=True)
    for bms_id in (1, 2):
        page_files.append_page(folder, "killed.part", DetailAnswer(bms_id, "2026-01-01T00:00:00", {"brand": "Dell"}))
    with (folder / "killed.part").open("ab") as file:
        file.write(b'\n{"bms_id": 3, "read_a')
    assert asset_detail.unlanded(folder) == 0
    asset_detail.finish_parts(folder)
    assert asset_detail.unlanded(folder) == 2
    assert set(answers(folder)) == {1, 2}
    assert [each.name for each in folder.iterdir()] == ["killed.2.ndjson.zst"]


def test_a_damaged_file_is_as_if_it_had_never_been_read(folder: Path) -> None:
    folder.mkdir(parents=True)
    page_files.append_page(folder, "whole.part", DetailAnswer(1, "2026-01-01T00:00:00", {"brand": "Dell"}))
    asset_detail.finish_parts(folder)
    (folder / "empty.500.ndjson.zst").touch()
    (folder / "cut.500.ndjson.zst").write_bytes((folder / "whole.1.ndjson.zst").read_bytes()[:-5])
    assert list(asset_detail.finished(folder).values()) == [[1]]
    assert asset_detail.unlanded(folder) == 1
