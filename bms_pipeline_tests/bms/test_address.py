"""Where the API is, given what the user knows."""

from __future__ import annotations

import pytest

from bms_pipeline.bms.address import api_base_candidates
from bms_pipeline.core.errors import SettingsError

KASEYA = ["https://api.bms.kaseya.com", "https://bms.kaseya.com/api2"]
OWN = ["https://api.psa.msp.example", "https://psa.msp.example/api2"]


@pytest.mark.parametrize(
    ("portal", "expected"),
    [
        ("https://bms.kaseya.com", KASEYA),
        ("bms.kaseya.com", KASEYA),
        (" https://www.bms.kaseya.com/ ", KASEYA),
        ("https://BMS.Kaseya.com/react/login?returnUrl=%2F#top", KASEYA),
        ("https://bmsemea.kaseya.com", ["https://api.bmsemea.kaseya.com", "https://bmsemea.kaseya.com/api2"]),
        ("https://bmsapac.kaseya.com", ["https://api.bmsapac.kaseya.com", "https://bmsapac.kaseya.com/api2"]),
        ("vorexlogin.com", ["https://api.vorexlogin.com", "https://vorexlogin.com/api2"]),
        ("psa.pulseway.com", ["https://api.psa.pulseway.com", "https://psa.pulseway.com/api2"]),
        ("https://api.bms.kaseya.com", ["https://api.bms.kaseya.com"]),
        ("psa.msp.example", OWN),
        ("https://psa.msp.example/", OWN),
        ("psa.msp.example:8443", ["https://api.psa.msp.example:8443", "https://psa.msp.example:8443/api2"]),
        ("http://127.0.0.1:8801", ["http://127.0.0.1:8801"]),
        ("127.0.0.1:8801", ["http://127.0.0.1:8801"]),
        ("localhost:8801/login", ["http://localhost:8801"]),
        ("https://localhost:8801", ["https://localhost:8801"]),
        ("http://[::1]:8801", ["http://[::1]:8801"]),
    ],
)
def test_candidates(portal: str, expected: list[str]) -> None:
    assert api_base_candidates(portal) == expected


@pytest.mark.parametrize(
    "api_url", ["https://psa.example/rest", "https://psa.example/rest/", "https://psa.example/rest/v2"]
)
def test_an_explicit_api_address_wins(api_url: str) -> None:
    assert api_base_candidates("bms.kaseya.com", api_url) == ["https://psa.example/rest"]


@pytest.mark.parametrize(
    ("portal", "problem"),
    [
        ("", "not set"),
        ("   ", "not set"),
        ("http://bms.kaseya.com", "not https"),
        ("https://me:pw@bms.kaseya.com", "user name"),
        ("me@bms.kaseya.com", "user name"),
        ("ftp://bms.kaseya.com", "not https"),
        ("bms kaseya com", "not a web address"),
        ("https://", "not a web address"),
    ],
)
def test_malformed_addresses(portal: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as caught:
        api_base_candidates(portal)
    assert caught.value.next_step
    assert "pw" not in str(caught.value)


def test_an_unsafe_explicit_address_names_its_setting() -> None:
    with pytest.raises(SettingsError, match="BMS_API_URL"):
        api_base_candidates("bms.kaseya.com", "http://psa.example")
