"""Access keys and tokens of the stand-in for Passportal. The key is public: it opens nothing but the sandbox."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable

KEY_ID = "sandbox-access-key"
SECRET = "sandbox-secret-access-key"  # noqa: S105  # public, see above


class Tokens:
    """Gives tokens and says whether one is good."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._expiry: dict[str, float] = {}

    def give(self, lifetime: float) -> tuple[str, float]:
        """A new token, and when it expires (seconds since the epoch)."""
        token = secrets.token_urlsafe(32)
        self._expiry[token] = self._clock() + lifetime
        return token, self._expiry[token]

    def good(self, token: str) -> bool:
        """Whether it was given and has not expired."""
        return self._expiry.get(token, 0) > self._clock()


def verifies(content: str, sent_hash: str) -> bool:
    """Whether ``sent_hash`` is the lower-case hex HMAC-SHA256 of ``content`` with the secret."""
    expected = hmac.new(SECRET.encode(), content.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), sent_hash.encode())
