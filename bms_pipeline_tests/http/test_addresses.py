"""Which addresses anything is sent to: one rule for all services, and one message instead of a library's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.bms.address import api_base_candidates
from bms_pipeline.core.errors import PipelineError, SettingsError
from bms_pipeline.core.http import Service
from bms_pipeline.core.notifications import Notice, send
from bms_pipeline.core.settings import Settings
from bms_pipeline.passportal.documents.client import base_address

NOT_HERE = 0.5
"""Seconds: what is not refused at once is not there either."""


def made(**values: str) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[call-arg, arg-type]


def webhook(address: str) -> None:
    send(made(notice_webhook_url=address), Notice("a", "b"), deadline_seconds=NOT_HERE)


def mail(host: str) -> None:
    values = made(notice_email_to="a@b.example", notice_email_from="a@b.example", notice_smtp_host=host)
    send(values, Notice("a", "b"), deadline_seconds=NOT_HERE)


USERS: dict[str, Callable[[str], object]] = {
    "BMS_URL": api_base_candidates,
    "BMS_API_URL": lambda address: api_base_candidates("", address),
    "PASSPORTAL_URL": lambda address: base_address(made(passportal_url=address)),
    "NOTICE_WEBHOOK_URL": webhook,
}
LOOK_ALIKE = "b\u043cs.kaseya.com"  # a Cyrillic letter
NO_HOSTS = ("a..example", f"{'a' * 64}.example", "-a.example", "a%41.example", "a_.b!.example", f"{'a.' * 130}example")


@pytest.mark.parametrize("setting", USERS)
def test_a_user_name_in_an_address_is_refused_everywhere(setting: str) -> None:
    for address in ("https://me@host.example", "https://me:canary@host.example/x", "https://:@host.example"):
        with pytest.raises(PipelineError, match="user name or password") as refused:
            USERS[setting](address)
        assert "canary" not in str(refused.value)


@pytest.mark.parametrize("setting", ["BMS_URL", "BMS_API_URL", "PASSPORTAL_URL"])
def test_a_host_that_looks_like_another_is_shown_as_the_network_knows_it(setting: str) -> None:
    with pytest.raises(SettingsError, match=r"xn--bs-8lc\.kaseya\.com") as refused:
        USERS[setting](f"https://{LOOK_ALIKE}")
    assert LOOK_ALIKE not in str(refused.value)
    USERS[setting]("https://xn--bs-8lc.kaseya.com")


@pytest.mark.parametrize("setting", ["BMS_URL", "BMS_API_URL", "PASSPORTAL_URL"])
@pytest.mark.parametrize(
    "host", [*NO_HOSTS, "bms\u3002kaseya.example", "a\u200d.example", "\ufffd.example", "☃\u0301.x"]
)
def test_a_host_that_is_none_gives_one_message(setting: str, host: str) -> None:
    with pytest.raises(SettingsError, match=setting):
        USERS[setting](f"https://{host}")


@pytest.mark.parametrize("host", ["me@mail.example", "mail.example/x", "mail..example", LOOK_ALIKE, "mail.example:25"])
def test_a_mail_server_is_a_host_and_nothing_else(host: str) -> None:
    with pytest.raises(PipelineError, match="NOTICE_SMTP_HOST"):
        mail(host)


@pytest.mark.parametrize("rest", ["?tenant=1", "#top", "/path?x"])
def test_passportals_address_has_no_query(rest: str) -> None:
    with pytest.raises(SettingsError, match="contains a query"):
        base_address(made(passportal_url=f"https://p.example{rest}"))


@given(st.text(max_size=30))
def test_whatever_stands_there_is_an_address_or_a_setting_to_correct(host: str) -> None:
    with contextlib.suppress(SettingsError):
        Service(f"https://{host}", name="BMS").close()
