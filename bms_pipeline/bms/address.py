"""The address of a BMS portal's REST API, derived from the portal address known to the user.

The Passportal page asks for the *portal* URL (cloud) or FQDN (on-prem). The API is at another host. Cloud hosts are
documented [D]. No public page documents the place of v2 for on-prem, so the candidates are probed in order [G].
"""

from __future__ import annotations

from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.http import checked_address, is_loopback

CLOUD_API_HOSTS = {
    "bms.kaseya.com": "api.bms.kaseya.com",
    "bmsemea.kaseya.com": "api.bmsemea.kaseya.com",
    "bmsapac.kaseya.com": "api.bmsapac.kaseya.com",
    "vorexlogin.com": "api.vorexlogin.com",
    "psa.pulseway.com": "api.psa.pulseway.com",
}
"""Portal host → API host [D].

Each API host is ``api.`` + portal host, so this pattern is tried for other hosts too [G].
"""


def api_base_candidates(portal: str, api_url: str = "") -> list[str]:
    """Return the addresses below which ``/v2/...`` may answer, best first, without a trailing slash.

    ``portal``: portal URL or bare host name, with or without ``www.``, path or trailing slash. An explicit ``api_url``
    takes precedence. A loopback address (the sandbox) is its own API. Raises ``SettingsError`` if the value is no
    address, is not https or contains a user name.
    """
    if api_url.strip():
        text = api_url.strip().rstrip("/")
        checked_address(text, name="bms_api")
        return [text.removesuffix("/v2")]  # people copy both forms: with and without the version
    text = portal.strip()
    if not text:
        raise SettingsError("BMS_URL is not set.", "Set BMS_URL to the address of your BMS portal.")
    if "://" not in text:
        text = f"http://{text}" if _is_loopback_text(text) else f"https://{text}"
    # People copy a portal address from a browser, with the path and query of any open page: only the host counts.
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
    """Return whether a bare ``host[:port][/path]`` names this machine."""
    authority = text.partition("/")[0]
    host = authority[1:].partition("]")[0] if authority.startswith("[") else authority.partition(":")[0]
    return is_loopback(host)
