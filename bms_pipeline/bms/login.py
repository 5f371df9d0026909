"""Sign in to BMS and stay signed in.

Facts: ``POST /v2/security/authenticate`` takes a form [C]; the vendor's document shows multipart [S], which we send if
BMS refuses a form with 415; ``refreshtoken`` replaces **both** tokens [C]. Lifetimes are undocumented, so we use the
answer's own ``accessTokenExpireOn``. We compare it with the same answer's ``Date`` header because the two clocks may
differ. A bad password may be 401, 400 or 200 with ``success: false`` [G]. Whether a stamp without a zone is UTC is
unknown [G]. An implausible stamp (already expired, or years away) is ignored: the 401 after expiry then triggers a new
sign-in.
"""

from __future__ import annotations

import base64
import email.utils
import hmac
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock

import msgspec

from bms_pipeline.bms.envelope import NOT_JSON, EnvelopeRefused, fields, open_envelope, reason_in, unreadable
from bms_pipeline.core.errors import AnswerUnreadable, BudgetExhausted, LoginRefused, ServiceError, SettingsError
from bms_pipeline.core.http import Answer, Service
from bms_pipeline.core.settings import BMS_NEEDS, Settings, check_given

AUTHENTICATE = "/v2/security/authenticate"
REFRESH = "/v2/security/refreshtoken"
MARGIN_SECONDS = 60.0
"""Renew a token this long before it expires (or a quarter of its life, if that is less)."""
LONGEST_LIFE_SECONDS = 30 * 86400.0
TOTP_SECONDS = 30
UNSUPPORTED_MEDIA_TYPE = 415

_HINTS = (
    (
        re.compile(r"mfa|two.?factor|2fa|authenticat(or|ion) code|one.?time|totp", re.I),
        "BMS_MFA_SECRET",
        "the MFA code",
    ),
    (re.compile(r"tenant|company", re.I), "BMS_TENANT", "the tenant (company name as shown under My Settings)"),
    (re.compile(r"locked|disabled|inactive|suspended", re.I), "the user in BMS", "the user is locked or inactive"),
    (re.compile(r"password|user ?name|credential|user", re.I), "BMS_USERNAME and BMS_PASSWORD", "user or password"),
)


@dataclass(frozen=True)
class SignIn:
    """The form that BMS took, the stated end of its token as it came, and the seconds until then, if plausible."""

    is_multipart: bool
    expires: str
    seconds: float | None


@dataclass(frozen=True)
class _Tokens:
    """``life``: seconds until the stated expiry; ``renew_at``: seconds since the epoch by our clock. ``None``: unknown.

    ``expires``: the stated expiry as it came.
    """

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires: str
    life: float | None
    renew_at: float | None


class Login:
    """The session of one BMS user, shared by all threads. Its secrets appear in no repr and no error.

    ``count`` is called with the endpoint before each call (the budget).
    """

    def __init__(
        self,
        settings: Settings,
        count: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._count = count
        self._clock = clock
        self._sleep = sleep
        self._lock = Lock()
        self._tokens: _Tokens | None = None
        self._last_code_step = -1
        self._is_multipart = False

    def __repr__(self) -> str:
        return f"Login({'signed in' if self._tokens else 'not signed in'})"

    @property
    def last(self) -> SignIn | None:
        """The last sign-in, ``None`` before the first."""
        tokens = self._tokens
        return None if tokens is None else SignIn(self._is_multipart, tokens.expires, tokens.life)

    def token(self, service: Service) -> str:
        """Return a presumably valid token; sign in or renew if needed. Raises as ``_signed_in``."""
        tokens = self._tokens
        if tokens is not None and (tokens.renew_at is None or self._clock() < tokens.renew_at):
            return tokens.access
        with self._lock:
            if self._tokens is None:
                self._tokens = self._signed_in(service)
            elif self._tokens.renew_at is not None and self._clock() >= self._tokens.renew_at:
                self._tokens = self._refreshed(service, self._tokens) or self._signed_in(service)
            return self._tokens.access

    def replaced(self, service: Service, rejected: str) -> str:
        """Return a new token in place of ``rejected``, which got a 401. Only one thread signs in for all."""
        with self._lock:
            if self._tokens is None or self._tokens.access == rejected:
                self._tokens = None
                self._tokens = self._signed_in(service)
            return self._tokens.access

    def _signed_in(self, service: Service) -> _Tokens:
        """Sign in with the password. Raises ``LoginRefused``, ``SettingsError``, or the errors of ``service``."""
        form = self._credentials()
        answer = self._posted(service, AUTHENTICATE, form)
        if answer.status in {400, 401, 403, 422}:
            raise self._refused(reason_in(answer.body)[1])
        if answer.status == 429:
            raise BudgetExhausted(
                "BMS refuses to sign in: too many calls (HTTP 429).", "Wait up to an hour and run again."
            )
        if answer.status != 200:
            raise AnswerUnreadable(
                f"{service.base_url} answered the sign-in with HTTP {answer.status}: it is not the BMS API.",
                "Check BMS_URL, or set BMS_API_URL to the API's own address.",
            )
        try:
            return self._tokens_in(answer)
        except EnvelopeRefused as refused:
            message = refused.message
        raise self._refused(message)

    def _refreshed(self, service: Service, tokens: _Tokens) -> _Tokens | None:
        """Exchange both tokens for new ones. Return ``None`` on failure: the next sign-in explains why."""
        form = {"AccessToken": tokens.access, "RefreshToken": tokens.refresh}
        try:
            answer = self._posted(service, REFRESH, form)
            return self._tokens_in(answer) if answer.status == 200 else None
        except (ServiceError, EnvelopeRefused):
            return None

    def _posted(self, service: Service, path: str, form: dict[str, str]) -> Answer:
        """POST ``form`` as clients do [C], or as multipart [S] if the service refuses a form."""

        def count() -> None:
            self._count(f"POST {path}")

        if not self._is_multipart:
            answer = service.post_form(path, form, before_send=count)
            if answer.status != UNSUPPORTED_MEDIA_TYPE:
                return answer
            self._is_multipart = True
        return service.post_multipart(path, form, before_send=count)

    def _credentials(self) -> dict[str, str]:
        """Return the sign-in form. Raises ``SettingsError`` with the names of missing settings."""
        settings = self._settings
        check_given(settings, BMS_NEEDS)
        form = {
            "GrantType": "password",
            "UserName": settings.bms_username,
            "Password": settings.bms_password.get_secret_value(),
            "Tenant": settings.bms_tenant,
        }
        if settings.bms_mfa_secret.get_secret_value():
            form["MFACode"] = self._mfa_code()
        return form

    def _mfa_code(self) -> str:
        """Return an unused TOTP code. BMS may refuse the same code twice, so wait for the next one."""
        now = self._clock()
        step = max(int(now // TOTP_SECONDS), self._last_code_step + 1)
        code = ""
        with suppress(ValueError):
            code = totp(self._settings.bms_mfa_secret.get_secret_value(), step)
        if not code:
            raise SettingsError(
                "BMS_MFA_SECRET is not a TOTP seed.",
                "Set it to the base-32 text that BMS shows beside the QR code, not to a six-digit code.",
            )
        if (wait := step * TOTP_SECONDS - now) > 0:
            self._sleep(wait)
        self._last_code_step = step
        return code

    def _tokens_in(self, answer: Answer) -> _Tokens:
        """Read the tokens in an answer. Raises ``Refused`` or ``AnswerUnreadable``; neither quotes the answer."""
        try:
            result = fields(open_envelope(answer.body, "the sign-in").result)
            access, refresh, expires = (
                msgspec.json.decode(result.get(key, b'""'), type=str | None) or ""
                for key in ("accesstoken", "refreshtoken", "accesstokenexpireon")
            )
        except NOT_JSON:
            raise unreadable(answer.body, "the sign-in") from None
        # A token goes into a header. Anything but visible ASCII would break the request, and the error would quote it.
        if not access or not all("!" <= character <= "~" for character in access):
            raise AnswerUnreadable(
                "BMS accepted the sign-in and sent no usable token.", "Run again; if it stays, its API changed."
            )
        now = self._clock()
        life = _life(expires, _server_time(answer.headers.get("Date", ""), now))
        renew_at = None if life is None else now + life - min(MARGIN_SECONDS, life / 4)
        return _Tokens(access, refresh, expires, life, renew_at)

    def _refused(self, message: str) -> LoginRefused:
        """Return the error for a refused sign-in, with the likely setting to check according to BMS's message."""
        for secret in (self._settings.bms_password, self._settings.bms_mfa_secret):
            value = secret.get_secret_value()
            message = message.replace(value, "***") if value else message
        hint = next(((setting, words) for pattern, setting, words in _HINTS if pattern.search(message)), None)
        what = f"BMS refused the sign-in: {message.rstrip('. ') or 'it does not say why'}."
        everything = "BMS_USERNAME, BMS_PASSWORD and BMS_TENANT (the company name as shown under My Settings)"
        if hint is None:
            mfa = "" if self._settings.bms_mfa_secret.get_secret_value() else "; BMS_MFA_SECRET if the user has MFA"
            return LoginRefused(what, f"Check {everything}{mfa}.")
        setting, words = hint
        return LoginRefused(what, f"Check {setting} first ({words}), then {everything}.")


def _life(expires: str, now: float) -> float | None:
    """Return the seconds from ``now``, by the server's clock, until ``expires``; ``None`` if that is implausible."""
    try:
        end = datetime.fromisoformat(expires)
        life = (end if end.tzinfo else end.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return life if 0 < life < LONGEST_LIFE_SECONDS else None


def totp(seed: str, step: int) -> str:
    """Return the six digits of RFC 6238 for a base-32 ``seed`` and the ``step``-th half minute since 1970.

    Written out because pyotp (2.12) refuses seeds of 80 bits, which many services still issue. Raises ``ValueError``
    when ``seed`` is not base 32.
    """
    text = "".join(seed.split()).rstrip("=").upper()
    key = base64.b32decode(text + "=" * (-len(text) % 8))
    if not key:
        raise ValueError("empty seed")
    digest = hmac.new(key, step.to_bytes(8, "big"), "sha1").digest()  # the algorithm that authenticator apps use
    offset = digest[-1] & 15
    return f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"


def _server_time(date: str, otherwise: float) -> float:
    """Return the server's clock from a ``Date`` header, in seconds since the epoch."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return otherwise
