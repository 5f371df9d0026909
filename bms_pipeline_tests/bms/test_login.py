"""Signing in, staying signed in, and saying why not."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr
from werkzeug import Request, Response

from bms_pipeline.bms.client import BmsClient
from bms_pipeline.bms.login import totp
from bms_pipeline.core.entities import ACCOUNTS
from bms_pipeline.core.errors import (
    AnswerUnreadable,
    BudgetExhausted,
    LoginRefused,
    PipelineError,
    ServiceUnreachable,
    SettingsError,
)
from bms_pipeline_tests.bms.conftest import PASSWORD, SEED, FakeBms, always, answer, refusal, text

Connect = Callable[..., BmsClient]
AUTHENTICATE = "/v2/security/authenticate"


def expiry(seconds: float, zone: str = "Z") -> str:
    """Return a moment by the server's clock, which is the machine's; ``bms.now`` is only ours."""
    return datetime.fromtimestamp(time.time() + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + zone


def test_the_connection_test_says_who_is_signed_in(bms: FakeBms, connect: Connect) -> None:
    identity = connect().authenticate()
    assert (identity.full_name, identity.business_name, identity.tenant_id) == ("Api User", "MSP", "7")
    assert (identity.time_zone, identity.api_url) == ("UTC", bms.url)
    assert bms.forms == [
        {"GrantType": "password", "UserName": "api.user", "Password": PASSWORD, "Tenant": "My Company"}
    ]


def test_one_sign_in_serves_all_calls_and_threads(bms: FakeBms, connect: Connect) -> None:
    client = connect()
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(lambda _: client.page(ACCOUNTS, 1), range(40)))) == 40
    assert bms.count("authenticate") == 1


def test_mfa_sends_the_current_code(bms: FakeBms, connect: Connect) -> None:
    connect(bms_mfa_secret=SecretStr(SEED)).authenticate()
    assert bms.forms[0]["MFACode"] == totp(SEED, int(bms.now // 30))


@pytest.mark.parametrize(("moment", "code"), [(59, "287082"), (1111111109, "081804"), (20000000000, "353130")])
def test_codes_are_those_of_rfc_6238(moment: int, code: str) -> None:
    seed = "gezd gnbv gy3t qojq gezd gnbv gy3t qojq"
    assert totp(seed, moment // 30) == code


def test_no_mfa_code_is_used_twice(bms: FakeBms, connect: Connect, pauses: list[float]) -> None:
    client = connect(bms_mfa_secret=SecretStr(SEED))
    client.authenticate()
    bms.token = "revoked"
    client.authenticate()
    assert bms.forms[0]["MFACode"] != bms.forms[1]["MFACode"]
    assert len(pauses) == 1
    assert 0 < pauses[0] <= 30


def test_an_mfa_seed_that_is_none_is_a_setting(connect: Connect) -> None:
    with pytest.raises(SettingsError, match="BMS_MFA_SECRET") as caught:
        connect(bms_mfa_secret=SecretStr("123456!")).authenticate()
    assert "123456" not in str(caught.value)


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 400, 200, 403])
def test_a_bad_password_is_refused_whatever_the_status(status: int, bms: FakeBms, connect: Connect) -> None:
    bms.before[AUTHENTICATE] = lambda _: refusal("Invalid user name or password", status)
    with pytest.raises(LoginRefused, match="Invalid user name or password") as caught:
        connect().authenticate()
    assert "BMS_USERNAME and BMS_PASSWORD first" in caught.value.next_step
    assert bms.count("authenticate") == 1, "no second try: it could lock the user out"


@pytest.mark.parametrize(
    ("message", "setting"),
    [
        ("MFA code is required", "BMS_MFA_SECRET"),
        ("Invalid two-factor code", "BMS_MFA_SECRET"),
        ("Tenant not found", "BMS_TENANT"),
        ("Unknown company name", "BMS_TENANT"),
        ("This user is locked", "locked or inactive"),
        ("Invalid credentials", "BMS_PASSWORD"),
        ("Computer says no", "BMS_TENANT"),
        ("", "BMS_TENANT"),
    ],
)
def test_a_refusal_points_to_the_setting(message: str, setting: str, bms: FakeBms, connect: Connect) -> None:
    bms.before[AUTHENTICATE] = lambda _: refusal(message, 401)
    with pytest.raises(LoginRefused) as caught:
        connect().authenticate()
    assert setting in caught.value.next_step


def test_a_refusal_without_a_body(bms: FakeBms, connect: Connect) -> None:
    bms.before[AUTHENTICATE] = lambda _: text("", 401)
    with pytest.raises(LoginRefused, match="does not say why"):
        connect().authenticate()


@pytest.mark.parametrize("missing", ["bms_tenant", "bms_username"])
def test_a_missing_setting_is_named_before_anything_is_sent(missing: str, bms: FakeBms, connect: Connect) -> None:
    with pytest.raises(SettingsError, match=missing.upper()):
        connect(**{missing: ""}).authenticate()
    assert bms.asked == []


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (text("<html><title>Sign in</title>"), AnswerUnreadable),
        (text("", 200), AnswerUnreadable),
        (answer(None), AnswerUnreadable),
        (answer({"refreshToken": "x"}), AnswerUnreadable),
        (answer({"accessToken": 5}), AnswerUnreadable),
        (answer({"accessToken": "two\r\nlines"}), AnswerUnreadable),
        (text("no such page", 404), AnswerUnreadable),
        (text("", 429), BudgetExhausted),
        (text("", 503), ServiceUnreachable),
    ],
)
def test_a_sign_in_that_is_none(response: Response, error: type[PipelineError], bms: FakeBms, connect: Connect) -> None:
    bms.before[AUTHENTICATE] = lambda _: response
    with pytest.raises(error):
        connect().authenticate()


# --- staying signed in --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["Z", "", "+00:00"])
def test_tokens_are_renewed_before_they_expire_and_both_rotate(zone: str, bms: FakeBms, connect: Connect) -> None:
    bms.lifetime = expiry(900, zone)
    client = connect()
    client.page(ACCOUNTS, 1)
    bms.now += 700
    client.page(ACCOUNTS, 1)
    assert bms.tokens_given == 1
    bms.now += 150  # a minute before the end
    bms.lifetime = expiry(900, zone)
    client.page(ACCOUNTS, 1)
    bms.now += 850
    client.page(ACCOUNTS, 1)
    assert (bms.count("refreshtoken"), bms.count("authenticate")) == (2, 1)
    assert [token for path, _, token in bms.asked if path.endswith("refreshtoken")] == ["", ""]


def test_the_server_clock_decides_the_lifetime(bms: FakeBms, connect: Connect) -> None:
    bms.lifetime = expiry(900)
    bms.now += 7200  # our clock is two hours ahead of the server's
    client = connect()
    client.page(ACCOUNTS, 1)
    client.page(ACCOUNTS, 1)
    assert bms.tokens_given == 1


@pytest.mark.parametrize("stamp", ["", "soon", "2001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2020-01-15T03:00:00"])
def test_an_expiry_that_makes_no_sense_is_ignored(stamp: str, bms: FakeBms, connect: Connect) -> None:
    bms.lifetime = stamp
    client = connect()
    for _ in range(3):
        client.page(ACCOUNTS, 1)
    assert bms.tokens_given == 1


def test_a_refused_refresh_signs_in_anew(bms: FakeBms, connect: Connect) -> None:
    bms.lifetime = expiry(900)
    bms.before["/v2/security/refreshtoken"] = lambda _: refusal("Security Error", 401, 978001)
    client = connect()
    client.page(ACCOUNTS, 1)
    bms.now += 890
    client.page(ACCOUNTS, 1)
    assert bms.count("authenticate") == 2


@pytest.mark.parametrize("status", [401, 200])
def test_an_expired_token_signs_in_once_and_repeats_the_call(status: int, bms: FakeBms, connect: Connect) -> None:
    client = connect()
    client.page(ACCOUNTS, 1)
    old = f"Bearer {bms.token}"
    bms.before[ACCOUNTS.path] = lambda request: (
        refusal("Security Error", status, 978001) if request.headers["Authorization"] == old else None
    )
    page = client.page(ACCOUNTS, 1)
    assert (page.ids, page.calls) == ([3, 9], 2)
    assert bms.count("authenticate") == 2


def test_threads_that_all_lose_their_token_sign_in_once(bms: FakeBms, connect: Connect) -> None:
    client = connect()
    client.page(ACCOUNTS, 1)
    bms.token = "revoked"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: client.page(ACCOUNTS, 1), range(16)))
    assert bms.count("authenticate") == 2


def test_a_token_that_is_refused_at_once_is_a_refused_sign_in(bms: FakeBms, connect: Connect) -> None:
    bms.before[ACCOUNTS.path] = lambda _: refusal("Security Error", 401, 978001)
    with pytest.raises(LoginRefused, match=r"own new token .* page 1 of accounts: Security") as caught:
        connect().page(ACCOUNTS, 1)
    assert "Has API Access" in caught.value.next_step
    assert bms.count("authenticate") == 2


def test_no_refusal_shows_a_secret(bms: FakeBms, connect: Connect) -> None:
    seed = SecretStr(SEED)
    for response in (
        refusal(f"Wrong password {PASSWORD} or seed {SEED}", 401),
        refusal(f"Wrong password {PASSWORD}", 200),
        text(PASSWORD, 503),
        text(f"<title>{bms.url}</title>", 200),
        answer({"accessToken": "canary-token\n"}),
    ):
        bms.before[AUTHENTICATE] = always(response)
        client = connect(bms_mfa_secret=seed)
        with pytest.raises(PipelineError) as caught:
            client.authenticate()
        shown = (
            "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(client) + repr(client._login)
        )
        assert PASSWORD not in shown
        assert SEED not in shown
        assert "canary-token" not in shown


def test_where_a_form_is_refused_the_sign_in_is_multipart(bms: FakeBms, connect: Connect) -> None:
    def multipart(request: Request) -> Response | None:
        if request.mimetype != "multipart/form-data":
            return text("", 415)
        assert request.form["Password"] == PASSWORD
        assert request.form["Tenant"] == "My Company"
        return bms._tokens()

    bms.before[AUTHENTICATE] = multipart
    client = connect()
    assert client.page(ACCOUNTS, 1).ids == [3, 9]
    bms.token = "revoked"
    assert client.page(ACCOUNTS, 1).ids == [3, 9]
    assert bms.count("authenticate") == 3, "it is remembered"
