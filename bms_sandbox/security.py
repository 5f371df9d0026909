"""Logins and tokens of the stand-in for BMS. The credentials are public: they open nothing but the sandbox."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import pyotp

from bms_sandbox.population.draft import TENANT_NAME
from bms_sandbox.records import Tokens

TENANT = TENANT_NAME
USER = "api.employee"
PASSWORD = "sandbox-password"  # noqa: S105  # public, see above
MFA_USER = "root.user"
MFA_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"  # noqa: S105  # public, see above

_REFRESH_LIFETIME_SECONDS = 86_400.0


@dataclass(frozen=True)
class Session:
    """A logged-in user, the pair of tokens, and the time they expire."""

    user: str
    access_token: str
    refresh_token: str
    expires: float
    refresh_expires: float


class Sessions:
    """Hands out pairs of tokens and checks them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_access: dict[str, Session] = {}

    def log_in(self, form: Mapping[str, str], lifetime: float) -> Session | str:
        """Return a new session for these form fields (names in lower case), or why there is none."""
        if form.get("granttype", "").casefold() != "password":
            return "Unsupported grant type."
        user = form.get("username", "")
        known = user in {USER, MFA_USER} and form.get("password") == PASSWORD
        if not known or form.get("tenant", "").casefold() != TENANT.casefold():
            return "Invalid user name, password or company name."
        code = form.get("mfacode", "")
        if user == MFA_USER and not pyotp.TOTP(MFA_SECRET).verify(
            code, for_time=datetime.fromtimestamp(self._clock(), UTC), valid_window=1
        ):
            return "MFA code is missing or not valid."
        return self._open(user, lifetime)

    def refresh(self, form: Mapping[str, str], lifetime: float) -> Session | str:
        """Replace the session with these tokens, which expire; return the new session, or why there is none."""
        session = self._by_access.get(form.get("accesstoken", ""))
        if session is None or form.get("refreshtoken") != session.refresh_token:
            return "Invalid token."
        if session.refresh_expires <= self._clock():
            return "Refresh token has expired."
        del self._by_access[session.access_token]
        return self._open(session.user, lifetime)

    def state(self, authorization: str) -> Session | None:
        """Return the session of an Authorization header, expired or not; None if there is none."""
        scheme, _, token = authorization.partition(" ")
        return self._by_access.get(token) if scheme.casefold() == "bearer" else None

    def expired(self, session: Session) -> bool:
        """Return whether its access token is too old."""
        return session.expires <= self._clock()

    def _open(self, user: str, lifetime: float) -> Session:
        now = self._clock()
        session = Session(
            user, secrets.token_urlsafe(32), secrets.token_urlsafe(32), now + lifetime, now + _REFRESH_LIFETIME_SECONDS
        )
        self._by_access[session.access_token] = session
        return session


def tokens(session: Session, *, zoned: bool) -> Tokens:
    """Return the session as the answer of BMS."""
    return Tokens(
        access_token=session.access_token,
        refresh_token=session.refresh_token,
        access_token_expire_on=iso(session.expires, zoned=zoned),
        refresh_token_expire_on=iso(session.refresh_expires, zoned=zoned),
    )


def iso(moment: float, *, zoned: bool) -> str:
    """Return ``moment`` in UTC, with or without the zone."""
    text = datetime.fromtimestamp(moment, UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
    return f"{text}Z" if zoned else text
