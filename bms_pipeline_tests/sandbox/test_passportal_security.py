"""Signing in to the stand-in for Passportal, and what an access key opens."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from bms_pipeline_tests.sandbox.passportal_calling import DOCUMENTS, KEY, TOKEN, Stranger, signed, stranger


@pytest.fixture
def passportal(passportal_file: Path) -> Stranger:
    return stranger(passportal_file)


def test_a_key_is_exchanged_for_a_token_that_opens_documents(passportal: Stranger) -> None:
    answer = passportal.ask_for_token().json()
    assert set(answer) == {"success", "access_token", "refresh_token", "expiry_time"}
    assert answer["success"] is True
    assert answer["expiry_time"] == passportal.clock.now + 3300
    passportal.headers["x-access-token"] = answer["access_token"]
    assert passportal.page(resultsPerPage=1)


def test_the_hash_must_be_in_lower_case(passportal: Stranger) -> None:
    headers = {"x-key": KEY, "x-hash": signed("text").upper()}
    answer = passportal.post(TOKEN, json={"scope": "docs_api", "content": "text"}, headers=headers)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "body", [None, [], {}, {"content": "x"}, {"scope": "other", "content": "x"}, {"scope": "docs_api"}]
)
def test_a_request_for_a_token_needs_scope_and_content(passportal: Stranger, body: object) -> None:
    headers = {"x-key": KEY, "x-hash": signed("x")}
    assert passportal.post(TOKEN, json=body, headers=headers).status_code == 400


def test_an_unknown_key_and_a_wrong_secret_are_told_apart_unless_switched_off(passportal: Stranger) -> None:
    def refusals() -> list[tuple[int, int]]:
        answers = [passportal.ask_for_token(key="another"), passportal.ask_for_token(secret="another")]
        return [(each.status_code, each.json()["code"]) for each in answers]

    assert refusals() == [(401, 1000), (401, 1001)]
    passportal.behave(same_login_error=True)
    assert refusals() == [(401, 1000), (401, 1000)]


def test_the_expiry_is_a_number_or_a_text(passportal: Stranger) -> None:
    assert isinstance(passportal.ask_for_token().json()["expiry_time"], int)
    passportal.behave(expiry_text=True)
    assert passportal.ask_for_token().json()["expiry_time"] == str(int(passportal.clock.now) + 3300)


@pytest.mark.parametrize("token", [None, "", "made up"])
def test_without_a_good_token_every_call_is_refused(passportal: Stranger, token: str | None) -> None:
    passportal.headers = {} if token is None else {"x-access-token": token}
    for method, path in (
        ("GET", DOCUMENTS),
        ("GET", f"{DOCUMENTS}/all"),
        ("GET", f"{DOCUMENTS}/clients"),
        ("GET", f"{DOCUMENTS}/50000001"),
        ("POST", DOCUMENTS),
        ("PUT", DOCUMENTS),
        ("PUT", f"{DOCUMENTS}/50000001"),
    ):
        answer = passportal.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (401, 1006), (method, path)


def test_a_token_and_dates_go_by_the_clock_that_is_set(passportal: Stranger) -> None:
    passportal.post("/sandbox/clock", json={"now": passportal.clock.now + 3299})
    assert passportal.get(DOCUMENTS).status_code == 200
    later = passportal.clock.now + 3301
    passportal.post("/sandbox/clock", json={"now": later})
    answer = passportal.get(DOCUMENTS)
    assert (answer.status_code, answer.json()["code"]) == (401, 1006)
    assert parsedate_to_datetime(answer.headers["date"]).timestamp() == int(later)


def test_a_token_lives_as_long_as_is_switched(passportal: Stranger) -> None:
    passportal.behave(token_lifetime_seconds=10)
    passportal.sign_in()
    passportal.clock.now += 9
    assert passportal.get(DOCUMENTS).status_code == 200
    passportal.clock.now += 1
    assert passportal.get(DOCUMENTS).status_code == 401


def test_a_user_without_documentation_manager_gets_a_token_that_opens_nothing(passportal: Stranger) -> None:
    passportal.behave(documentation_manager=False)
    passportal.sign_in()
    for path in (DOCUMENTS, f"{DOCUMENTS}/clients", f"{DOCUMENTS}/50000001"):
        answer = passportal.get(path)
        assert (answer.status_code, answer.json()["message"]) == (
            403,
            "This user has no access to Documentation Manager.",
        )


def test_a_client_that_the_user_has_no_access_to_is_not_there_for_it(passportal: Stranger) -> None:
    inside = passportal.page(type="asset", resultsPerPage=1)[0]
    client, asset = inside["client_id"], inside["id"]
    passportal.behave(hidden_clients=[client])
    assert client not in {each["id"] for each in passportal.all_pages(f"{DOCUMENTS}/clients")}
    assert client not in {each["client_id"] for each in passportal.all_pages()}
    answer = passportal.get(f"{DOCUMENTS}/{asset}")
    assert (answer.status_code, answer.json()["message"]) == (403, "not found.")
    new = {"templateUid": "tpl-79", "clientId": client, "title": "New"}
    assert passportal.post(DOCUMENTS, json=[new]).status_code == 400
    assert passportal.put(asset, {"clientId": client, "title": "New"}).status_code == 403
    passportal.behave(hidden_clients=[])
    assert passportal.document(asset)["label"] == inside["label"]
    assert not [each for each in passportal.records() if each["title"] == "New"]


def test_refusals_come_with_their_status_or_with_200(passportal: Stranger) -> None:
    for switched, status in ((False, 401), (True, 200)):
        passportal.behave(refused_with_200=switched)
        answer = passportal.ask_for_token(key="another")
        assert answer.status_code == status
        assert answer.json() == {"success": False, "message": "Key verification failed.", "code": 1000, "status": 401}


def test_success_is_a_boolean_or_a_text(passportal: Stranger) -> None:
    def said() -> list[object]:
        answers = [passportal.get(DOCUMENTS), passportal.get(f"{DOCUMENTS}/1"), passportal.ask_for_token()]
        return [each.json()["success"] for each in answers]

    assert said() == [True, False, True]
    passportal.behave(success_text=True)
    assert said() == ["true", "false", "true"]
