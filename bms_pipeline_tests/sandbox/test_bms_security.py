"""Logging in, tokens and who may call what."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pyotp
import pytest

from bms_pipeline_tests.sandbox.calling import LOGIN, Caller, caller
from bms_sandbox.security import MFA_SECRET, MFA_USER
from bms_sandbox.tenant import Tenant

AUTHENTICATE, REFRESH, WHO = "/v2/security/authenticate", "/v2/security/refreshtoken", "/v2/security/userinfo"


@pytest.fixture
def bms(small: Tenant) -> Caller:
    return caller(small)


@pytest.mark.parametrize("prefix", ["", "/api2"])
def test_the_form_may_be_urlencoded_or_multipart(bms: Caller, prefix: str) -> None:
    urlencoded = bms.post(prefix + AUTHENTICATE, data=LOGIN)
    multipart = bms.post(prefix + AUTHENTICATE, files={name: (None, value) for name, value in LOGIN.items()})
    for answer in (urlencoded, multipart):
        assert answer.json()["success"] is True
        assert set(answer.json()["result"]) == {
            "accessToken",
            "refreshToken",
            "accessTokenExpireOn",
            "refreshTokenExpireOn",
        }


def test_tokens_and_dates_go_by_the_clock_that_was_set(bms: Caller) -> None:
    assert bms.get(WHO).status_code == 200
    later = bms.clock.now + 901
    bms.post("/sandbox/clock", json={"now": later})
    answer = bms.get(WHO)
    assert answer.status_code == 401
    assert parsedate_to_datetime(answer.headers["date"]).timestamp() == int(later)


def test_form_fields_bind_whatever_their_case(bms: Caller) -> None:
    assert bms.post(AUTHENTICATE, data={name.upper(): value for name, value in LOGIN.items()}).status_code == 200


@pytest.mark.parametrize("status", ["401", "400", "200"])
def test_a_wrong_password_is_refused_in_the_way_that_is_switched_on(small: Tenant, status: str) -> None:
    answer = caller(small, wrong_password=status).post(AUTHENTICATE, data={**LOGIN, "Password": "wrong"})
    assert answer.status_code == int(status)
    assert answer.json()["success"] is False
    assert set(answer.json()["error"]) == {"code", "message", "details", "stackStrace", "subErrors"}


@pytest.mark.parametrize("field", ["UserName", "Password", "Tenant", "GrantType"])
def test_each_field_of_the_login_counts(bms: Caller, field: str) -> None:
    assert bms.post(AUTHENTICATE, data={**LOGIN, field: "other"}).status_code == 401


def test_the_second_user_needs_the_current_mfa_code(bms: Caller) -> None:
    code = pyotp.TOTP(MFA_SECRET).at(datetime.fromtimestamp(bms.clock.now, UTC))
    assert bms.log_in(UserName=MFA_USER).status_code == 401
    assert bms.log_in(UserName=MFA_USER, MFACode="000000" if code != "000000" else "111111").status_code == 401
    assert bms.log_in(UserName=MFA_USER, MFACode=code).status_code == 200
    assert bms.get(WHO).json()["result"]["fullName"] == "Root User"


def test_refreshing_replaces_both_tokens_and_kills_the_old_ones(bms: Caller) -> None:
    old = bms.log_in().json()["result"]
    form = {"AccessToken": old["accessToken"], "RefreshToken": old["refreshToken"]}
    new = bms.post(REFRESH, data=form).json()["result"]
    assert {new["accessToken"], new["refreshToken"]}.isdisjoint(old.values())
    assert bms.get(WHO).status_code == 401
    assert bms.post(REFRESH, data=form).status_code == 401
    bms.headers["Authorization"] = f"Bearer {new['accessToken']}"
    assert bms.get(WHO).status_code == 200


def test_an_expired_token_says_that_it_is_expired(small: Tenant) -> None:
    bms = caller(small, token_lifetime_seconds=60)
    assert bms.get(WHO).status_code == 200
    bms.clock.now += 61
    answer = bms.get(WHO)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, 978001)
    assert answer.json()["error"]["message"] == "Security Error"
    assert answer.headers["token-expired"] == "true"


@pytest.mark.parametrize("header", [None, "Bearer nonsense", "Basic abc"])
def test_no_token_no_answer(bms: Caller, header: str | None) -> None:
    bms.headers = {"Authorization": header} if header else {}
    answer = bms.get("/v2/crm/accounts/summary")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, 978001)
    assert "token-expired" not in answer.headers


@pytest.mark.parametrize(("zoned", "ending"), [(True, "Z"), (False, "0")])
def test_expiry_times_come_with_or_without_a_zone(small: Tenant, zoned: bool, ending: str) -> None:
    result = caller(small, zoned_expiry=zoned).log_in().json()["result"]
    assert result["accessTokenExpireOn"].endswith(ending)
