"""Each fault as a caller meets it, over a real socket."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from bms_pipeline_tests.sandbox.calling import logged_in
from bms_sandbox.behaviour import FAULT_KINDS, PASSING, FaultsDue
from bms_sandbox.process import Sandbox, SandboxFailed

ASSETS = "/v2/servicedesk/hardwareasset/searchselect"


class Faulty:
    """A list of assets that a test spoils."""

    def __init__(self, sandbox: Sandbox, session: requests.Session) -> None:
        self._sandbox = sandbox
        self._session = session

    def strike(self, kind: str, **details: Any) -> None:
        self._sandbox.reset_calls()
        self._sandbox.behave(faults=[{"route": "hardwareasset/searchselect", "kind": kind, **details}])

    def get(self, page: int = 1, **how: Any) -> requests.Response:
        query: dict[str, int | str] = {"PageSize": 10, "PageNumber": page, "Sort": "Id"}
        return self._session.get(
            self._sandbox.url + ASSETS, params=query, timeout=how.pop("timeout", 60), allow_redirects=False, **how
        )

    def ids(self, page: int = 1) -> list[int]:
        return [each["id"] for each in self.get(page).json()["result"]]


@pytest.fixture
def assets(sandbox: Sandbox) -> Iterator[Faulty]:
    sandbox.behave(faults=[])
    with logged_in(sandbox) as session:
        yield Faulty(sandbox, session)
    sandbox.behave(faults=[])


@pytest.mark.parametrize("status", [403, 429, 500, 502, 503])
def test_status_answers_with_the_shape_of_an_error(assets: Faulty, status: int) -> None:
    assets.strike("status", status=status, on_call=1)
    answer = assets.get()
    assert (answer.status_code, answer.json()["success"]) == (status, False)
    assert assets.get().status_code == 200


def test_status_503_can_say_when_to_come_again(assets: Faulty, sandbox: Sandbox) -> None:
    assets.strike("status", status=503)
    sandbox.behave(retry_after="seconds")
    assert assets.get().headers["retry-after"] == "61"
    sandbox.behave(retry_after=None)


def test_html_is_a_login_page_with_status_200(assets: Faulty) -> None:
    assets.strike("html")
    answer = assets.get()
    assert (answer.status_code, answer.text[:15]) == (200, "<!DOCTYPE html>")


def test_truncated_json_has_the_right_length(assets: Faulty) -> None:
    assets.strike("truncated")
    answer = assets.get()
    assert int(answer.headers["content-length"]) == len(answer.content)
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        json.loads(answer.content)


def test_cut_closes_the_connection_in_the_middle_of_the_body(assets: Faulty) -> None:
    assets.strike("cut")
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
        assets.get()


def test_hang_says_nothing(assets: Faulty) -> None:
    assets.strike("hang")
    with pytest.raises(requests.exceptions.ReadTimeout):
        assets.get(timeout=(60, 0.3))


def test_trickle_sends_a_byte_at_a_time_and_rests_after_each(assets: Faulty) -> None:
    """So no read takes long, and the whole answer does."""
    assets.strike("trickle")
    started = time.monotonic()
    with assets.get(stream=True) as answer:
        body = answer.iter_content(1)
        read = [next(body) for _ in range(4)]
    assert b"".join(read) == b'{"su'
    assert time.monotonic() - started >= 3 * 0.2


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("result_null", {"success": True, "error": None, "result": None}),
        ("empty_body", None),
    ],
)
def test_nothing_where_there_should_be_something(assets: Faulty, kind: str, expected: Any) -> None:
    assets.strike(kind)
    answer = assets.get()
    assert answer.status_code == 200
    assert (answer.json() if answer.content else None) == expected


@pytest.mark.parametrize(("kind", "success"), [("success_false", False), ("success_text", "false")])
def test_a_failure_can_come_with_status_200(assets: Faulty, kind: str, success: Any) -> None:
    assets.strike(kind)
    answer = assets.get()
    assert (answer.status_code, answer.json()["success"], answer.json()["error"]["code"]) == (200, success, 1000)


def test_redirect_points_elsewhere(assets: Faulty) -> None:
    assets.strike("redirect", target="https://elsewhere.invalid/v2")
    answer = assets.get()
    assert (answer.status_code, answer.headers["location"]) == (307, "https://elsewhere.invalid/v2")


def test_huge_sends_as_much_as_it_is_told_to(assets: Faulty) -> None:
    assets.strike("huge", amount=3_000_000)
    assert len(assets.get().content) == 3_000_000


def test_shift_takes_rows_away_before_the_page_that_is_read(assets: Faulty) -> None:
    ids = assets.ids(1) + assets.ids(2) + assets.ids(3)
    assets.strike("shift", on_call=2, amount=-3)
    assert assets.ids(1) == ids[:10]
    assert assets.ids(2) == ids[13:23]


def test_shift_inserts_rows_before_the_page_that_is_read(assets: Faulty) -> None:
    ids = assets.ids(1) + assets.ids(2)
    assets.strike("shift", on_call=2, amount=2)
    assert assets.ids(1) == ids[:10]
    assert assets.ids(2) == ids[8:18]
    assert assets.ids(1)[2:] == ids[:8]


def test_duplicate_repeats_the_row_at_the_edge_of_the_page(assets: Faulty) -> None:
    first, second = assets.ids(1), assets.ids(2)
    assets.strike("duplicate")
    assert assets.ids(2) == [first[-1], *second]


def test_missing_row_leaves_one_out(assets: Faulty) -> None:
    ids = assets.ids(2)
    assets.strike("missing_row", row=9)
    assert assets.ids(2) == ids[:9]


def first_row(assets: Faulty) -> dict[str, Any]:
    return dict(assets.get().json()["result"][0])


@pytest.mark.parametrize(("field", "kind"), [("assetName", float), ("id", list), ("isActive", float)])
def test_retyped_gives_one_record_another_type(assets: Faulty, field: str, kind: type) -> None:
    assets.strike("retyped", field=field)
    assert isinstance(first_row(assets)[field], kind)


def test_missing_field_and_unknown_field_change_the_shape_of_one_record(assets: Faulty) -> None:
    assets.strike("missing_field", field="serialNumber", row=1)
    rows = assets.get().json()["result"]
    assert [("serialNumber" in each) for each in rows[:3]] == [True, False, True]
    assets.strike("unknown_field")
    assert first_row(assets)["newVendorField"] == "new"


def _text(assets: Faulty) -> str:
    return assets.get().text


@pytest.mark.parametrize(
    ("kind", "details", "shown"),
    [
        ("nan", {"field": "contactId"}, lambda text: '"contactId":NaN' in text),
        ("deep", {"amount": 5000}, lambda text: "[" * 5000 in text),
        ("lone_surrogate", {}, lambda text: "\\ud83d of a pair" in text),
        ("duplicate_keys", {"field": "id"}, lambda text: text.count('"id":-1') == 1 and text.count('"id":') == 11),
    ],
)
def test_hostile_json_in_one_record(
    assets: Faulty, kind: str, details: dict[str, Any], shown: Callable[[str], bool]
) -> None:
    assets.strike(kind, **details)
    assert shown(_text(assets))


def test_faults_strike_from_until_and_so_many_times(assets: Faulty) -> None:
    assets.strike("status", from_call=2, until_call=4, times=2)
    assert [assets.get().status_code for _ in range(5)] == [200, 503, 503, 200, 200]


def test_a_switch_that_does_not_exist_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxFailed, match="unknown switches: colour"):
        sandbox.behave(colour="blue")
    with pytest.raises(SandboxFailed, match="kind"):
        sandbox.behave(faults=[{"route": "x", "kind": "explodes"}])


def test_latency_delays_each_answer(assets: Faulty, sandbox: Sandbox) -> None:
    sandbox.behave(latency_seconds=0.15)
    started = time.monotonic()
    assert assets.get().status_code == 200
    assert time.monotonic() - started >= 0.15
    sandbox.behave(latency_seconds=0)


def test_every_kind_of_fault_is_shown_here() -> None:
    source = Path(__file__).read_text("utf-8")
    assert [kind for kind in FAULT_KINDS if f'"{kind}"' not in source] == []


def test_a_share_of_all_calls_fails_in_ways_that_pass_and_the_same_ones_by_the_same_seed(
    assets: Faulty, sandbox: Sandbox
) -> None:
    def failing(seed: int, share: float) -> list[int]:
        due = FaultsDue((), share, seed)
        found = [(call, due.at("GET /v2/a", call)) for call in range(1, 2001)]
        assert {(fault.kind, fault.status) for _, fault in found if fault} <= {(e.kind, e.status) for e in PASSING}
        return [call for call, fault in found if fault]

    assert 60 < len(failing(1, 0.05)) < 140
    assert failing(1, 0.05) == failing(1, 0.05) != failing(2, 0.05)
    assert failing(1, 0) == []
    assert len(failing(1, 1)) == 2000
    before = sandbox.figures()["failed"]
    sandbox.behave(failing_share=1)
    with suppress(requests.RequestException):  # one of the ways is to hang up
        assets.get()
    sandbox.behave(failing_share=0)
    assets.get()
    assert sandbox.figures()["failed"] == before + 1
