"""Where a BMS portal's REST API answers, worked out from the portal address that the user knows.

The Passportal page asks for the *portal* URL (cloud) or FQDN (on-prem); the API is at another host. Cloud hosts are
documented [D]; for on-prem no public page says where v2 sits, so there are candidates, probed in order [G].
"""

from __future__ import annotations

from bms_pipeline.errors import SettingsError
from bms_pipeline.http import checked_address, is_loopback

CLOUD_API_HOSTS = {
    "bms.kaseya.com": "api.bms.kaseya.com",
    "bmsemea.kaseya.com": "api.bmsemea.kaseya.com",
    "bmsapac.kaseya.com": "api.bmsapac.kaseya.com",
    "vorexlogin.com": "api.vorexlogin.com",
    "psa.pulseway.com": "api.psa.pulseway.com",
}
"""Portal host → API host [D]. All follow ``api.`` + portal host, which is therefore also tried elsewhere [G]."""


def api_base_candidates(portal: str, api_url: str = "") -> list[str]:
    """Return the addresses below which ``/v2/...`` may answer, best first, without a trailing slash.

    ``portal``: portal URL or bare host name, with or without ``www.``, path or trailing slash. ``api_url`` (explicit)
    wins over it. A loopback address (the sandbox) is its own API. Raises ``SettingsError`` for anything that is not an
    address, is not https, or carries a user name.
    """
    if api_url.strip():
        text = api_url.strip().rstrip("/")
        checked_address(text, name="bms_api")
        return [text.removesuffix("/v2")]  # with or without the version: both are what people copy
    text = portal.strip()
    if not text:
        raise SettingsError("BMS_URL is not set.", "Set BMS_URL to the address of your BMS portal.")
    if "://" not in text:
        text = f"http://{text}" if _is_loopback_text(text) else f"https://{text}"
    # A portal address is copied from a browser, so its path and query are whatever page was open: only the host counts.
    parts = checked_address(text.partition("?")[0].partition("#")[0], name="bms")
    host = (parts.hostname or "").rstrip(".")
    shown = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    if is_loopback(host):
        return [f"{parts.scheme}://{shown}{port}"]
    known = host.removeprefix("www.")
    if known in CLOUD_API_HOSTS:
        return [f"https://{CLOUD_API_HOSTS[known]}", f"https://{known}/api2"]
    if host in CLOUD_API_HOSTS.values():
        return [f"https://{host}"]
    return [f"https://api.{shown}{port}", f"https://{shown}{port}/api2"]


def _is_loopback_text(text: str) -> bool:
    """Whether a bare ``host[:port][/path]`` names this machine."""
    authority = text.partition("/")[0]
    host = authority[1:].partition("]")[0] if authority.startswith("[") else authority.partition(":")[0]
    return is_loopback(host)
