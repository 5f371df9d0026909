"""All HTTP calls: TLS, addresses, redirects, deadlines, sizes, retries, redaction.

``Service`` is one remote service at one base address. It guarantees for every call:

* TLS 1.2 or newer, with a certificate trusted by certifi (or the configured CA file). Plain ``http`` goes only to this
  machine. Neither ``REQUESTS_CA_BUNDLE`` nor ``.netrc`` nor a proxy variable changes this.
* The connection goes to the named host at a public address. Private and link-local addresses are refused unless a
  setting names the host. The check is on the socket itself, so DNS cannot change between check and use.
* A redirect is an error and names the other host: a login body or a token is never sent there.
* The call ends in time: the deadline covers the whole try, connect to last byte, however slowly the bytes trickle.
* The call ends in bounded memory: body and decompressed body have a cap.
* A body cut short is an error and never a shorter answer.
* No error text contains a header, a request body or a query string, and no error holds one in its context.

Speed: ``requests.Session.request`` costs about 0.8 ms of CPU a call (merging settings, cookies, hooks), most of the
cost of a page. So we use the session's own connection pool directly, at about 0.3 ms.
"""

from __future__ import annotations

import email.utils
import http.client
import io
import ipaddress
import json
import logging
import random
import re
import socket
import ssl
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

import certifi
import idna
import requests
import zstandard
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, Timeout
from urllib3 import exceptions as urllib3_errors
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.filepost import encode_multipart_formdata

from bms_pipeline.core.errors import (
    AnswerUnreadable,
    CertificateRefused,
    RedirectRefused,
    ServiceError,
    ServiceUnreachable,
    SettingsError,
)
from bms_pipeline.core.text import printable

CONNECT_SECONDS = 10.0
"""Longest wait for a connection; a running host answers at once."""
BODY_BYTES = 64 * 1024 * 1024
"""Largest body, compressed or not. A page of 100 BMS records is about 80 KB; ten records of 5 MB still fit."""
LOST = frozenset({408, 444, 460, 463, 499})
"""Statuses of a gateway whose upstream answer did not arrive. All from 500 on mean the same."""
_TOO_SOON = frozenset({425, 429})
_NEVER = frozenset({501, 505})
"""Permanent statuses from 500 on: not implemented, and HTTP version not supported."""
# urllib3 logs each call's path and query at DEBUG, and a webhook's path is its secret.
logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
_LABEL = re.compile("[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Answer:
    """A service's answer: status, headers (looked up in any case), the whole body unpacked, and the number of tries."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    tries: int = 1

    def __repr__(self) -> str:
        return f"Answer({self.status}, {len(self.body)} bytes)"  # a login's answer holds tokens


@dataclass(frozen=True)
class Retries:
    """The retry policy of a GET after a temporary failure. Values in seconds; ``sleep`` and ``clock`` are for tests."""

    tries: int = 4
    first_wait: float = 0.5
    longest_wait: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.time

    def wait(self, tried: int, retry_after: str | None) -> float:
        """Return the seconds to wait after ``tried`` tries: as asked, else doubling; jittered and capped.

        The jitter never shortens the requested wait. It keeps threads from coming back all at once.
        """
        asked = seconds_asked(retry_after, self.clock())
        jitter = random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, hides nothing
        if asked is None:
            return min(self.first_wait * float(2**tried) * jitter, self.longest_wait)
        return min(asked + self.first_wait * (jitter - 0.5), self.longest_wait)


def seconds_asked(retry_after: str | None, now: float) -> float | None:
    """Return the seconds (0 or more) in a ``Retry-After`` number or HTTP date; ``None`` if it is neither."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])  # nine digits are 30 years; more would only make us count
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


_calls_made: Counter[str] = Counter()
_counting = Lock()


def calls_made() -> dict[str, int]:
    """Return the calls sent by this process, by the name of the service; each try counts."""
    with _counting:
        return dict(_calls_made)


class Service:
    """One remote service at one base address, safe to share between ``connections`` threads.

    ``name`` is the service's name in errors (``BMS``) and the prefix of its settings (``BMS_CA_FILE``,
    ``BMS_PRIVATE_HOST``). ``deadline_seconds`` bounds each single try. Raises ``SettingsError`` for an address that may
    not be used.

    Every call raises ``ServiceUnreachable`` (no connection, no whole answer in time, 5xx), ``CertificateRefused``,
    ``RedirectRefused``, ``AnswerUnreadable`` (cut or oversized body) or ``SettingsError`` (private address). It returns
    any other status as an ``Answer``. ``before_send`` is called before every try, retries included.
    """

    def __init__(
        self,
        base_url: str,
        *,
        name: str,
        ca_file: Path | None = None,
        private_host: str = "",
        connections: int = 8,
        deadline_seconds: float = 60.0,
        retries: Retries | None = None,
    ) -> None:
        parts = checked_address(base_url, name=name, private_host=private_host)
        self.name = name
        self.host = parts.hostname or ""
        self.base_url = base_url.rstrip("/")
        self._base_path = parts.path.rstrip("/")
        self._deadline = deadline_seconds
        self._retries = retries or Retries()
        self._session = requests.Session()
        self._session.trust_env = False
        adapter = _Transport(tls_context(ca_file, name) if parts.scheme == "https" else None, connections)
        self._session.mount(self.base_url, adapter)
        self._pool = adapter.pool_for(parts, private_host, name)

    def __repr__(self) -> str:
        return f"Service({self.name}, {self.base_url})"

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()
        self._session.close()

    def get(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        retry: bool = True,
        whole: Callable[[bytes], bool] | None = None,
        before_send: Callable[[], None] | None = None,
    ) -> Answer:
        """GET ``path`` below the base address. Retry temporary failures.

        ``whole`` returns whether a 200 body is complete, for formats that show it. Nothing else can detect a server
        closing the connection early without a length.
        """
        target = f"{path}?{urlencode(params)}" if params else path
        call = _Call("GET", target, {**_HEADERS, **(headers or {})}, None, whole)
        return self._send(call, self._retries.tries if retry else 1, before_send)

    def post_form(
        self,
        path: str,
        fields: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        before_send: Callable[[], None] | None = None,
    ) -> Answer:
        """POST ``fields`` as a form, once: after a failed POST, nobody here can know whether it took effect."""
        body = urlencode(fields).encode()
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._send(_Call("POST", path, {**_HEADERS, **form, **(headers or {})}, body), 1, before_send)

    def post_multipart(
        self,
        path: str,
        fields: Mapping[str, str],
        *,
        before_send: Callable[[], None] | None = None,
    ) -> Answer:
        """POST ``fields`` as ``multipart/form-data``, once (as ``post_form``)."""
        body, kind = encode_multipart_formdata(dict(fields))
        return self._send(_Call("POST", path, {**_HEADERS, "Content-Type": kind}, body), 1, before_send)

    def post_json(
        self,
        path: str,
        payload: object,
        *,
        headers: Mapping[str, str] | None = None,
        before_send: Callable[[], None] | None = None,
    ) -> Answer:
        """POST ``payload`` as JSON, once (as ``post_form``)."""
        return self._send_json("POST", path, payload, headers, before_send)

    def put_json(
        self,
        path: str,
        payload: object,
        *,
        headers: Mapping[str, str] | None = None,
        before_send: Callable[[], None] | None = None,
    ) -> Answer:
        """PUT ``payload`` as JSON, once (as ``post_form``)."""
        return self._send_json("PUT", path, payload, headers, before_send)

    def _send_json(
        self,
        method: str,
        path: str,
        payload: object,
        headers: Mapping[str, str] | None,
        before_send: Callable[[], None] | None,
    ) -> Answer:
        try:
            body = json.dumps(payload, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # half a surrogate pair, which is sent on as it was read
            body = json.dumps(payload).encode()
        kind = {"Content-Type": "application/json"}
        return self._send(_Call(method, path, {**_HEADERS, **kind, **(headers or {})}, body), 1, before_send)

    def _send(self, call: _Call, tries: int, before_send: Callable[[], None] | None) -> Answer:
        """Return the answer to ``call``, after up to ``tries`` tries."""
        for tried in range(1, tries + 1):
            if before_send is not None:
                before_send()
            with _counting:
                _calls_made[self.name] += 1
            result = self._try(call, tried)
            passing = result.passing if isinstance(result, _Failure) else _is_passing(result)
            if not passing or tried == tries:
                break
            retry_after = result.headers.get("Retry-After") if isinstance(result, Answer) else None
            self._retries.sleep(self._retries.wait(tried, retry_after))
        if isinstance(result, _Failure):
            raise result.error
        if result.status in LOST or result.status >= 500:
            raise self._failed(call, result)
        return result

    def _try(self, call: _Call, tried: int) -> Answer | _Failure:
        """Try once. Failures are returned and not raised here, so that no exception contains the call's secrets."""
        try:
            response = self._pool.urlopen(
                call.method,
                self._base_path + call.target,
                body=call.body,
                headers=call.headers,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
                timeout=Timeout(connect=min(CONNECT_SECONDS, self._deadline), total=self._deadline),
            )
            body = _whole_body(response)
        except _Refusal as refusal:
            return _Failure(refusal.error, passing=False)
        except (urllib3_errors.HTTPError, http.client.HTTPException, OSError) as error:
            return self._explained(error)
        if response.status in _REDIRECTS:
            return self._redirected(response.headers.get("Location", ""))
        return self._unpacked(call, response, body, tried)

    def _unpacked(self, call: _Call, response: BaseHTTPResponse, body: bytes, tried: int) -> Answer | _Failure:
        """Return the answer with its body decompressed, or the failure if it is unusable."""
        if len(body) > BODY_BYTES:
            return self._oversized()
        for coding in reversed(_codings(response.headers.get("Content-Encoding", ""))):
            if coding not in _UNPACK:
                return self._packed_otherwise(coding)
            unpacked = _UNPACK[coding](body)
            if unpacked is None:
                return self._cut(f"its body is marked as {coding} and does not unpack")
            if len(unpacked) > BODY_BYTES:
                return self._oversized()
            body = unpacked
        if response.status == 200 and call.whole is not None and not call.whole(body):
            return self._cut("its body ends in the middle")
        return Answer(response.status, response.headers, body, tried)

    def _explained(self, error: BaseException) -> _Failure:
        """Describe a connection error in words, without any part of the request."""
        certificate = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLCertVerificationError)), None)
        if certificate is not None:
            why = certificate.verify_message or "it does not verify"
            return _Failure(
                CertificateRefused(
                    f"{self.name} at {self.host} shows a TLS certificate that is not trusted: {why}.",
                    "A self-signed certificate is refused. Have the server use one from a trusted authority, or name "
                    f"the one private CA in {self.name.upper()}_CA_FILE.",
                ),
                passing=False,
            )
        if any(isinstance(cause, http.client.IncompleteRead) for cause in _causes(error)):
            return self._cut("the connection closed in the middle of its body")
        return _Failure(self._unreachable(_why(error, self._deadline)), passing=True)

    def _unreachable(self, why: str) -> ServiceUnreachable:
        return ServiceUnreachable(
            f"{self.name} at {self.host} cannot be reached: {why}.",
            f"Check the network and {self.name.upper()}_URL, then run again; it continues where it stopped.",
        )

    def _failed(self, call: _Call, answer: Answer) -> ServiceUnreachable:
        """Return the error for a 5xx after the last try."""
        tries = f" {answer.tries} times" if answer.tries > 1 else ""
        error = ServiceUnreachable(
            f"{self.name} at {self.host} answered {answer.status} to {call.route}{tries}.",
            "The service has a fault of its own. Run again later; it continues where it stopped.",
        )
        error.status = answer.status
        return error

    def _redirected(self, location: str) -> _Failure:
        """Name only the other host, not the rest of the address: a path or query may hold a session."""
        try:
            target = urlsplit(location)
            host = (
                f"{target.scheme or 'https'}://{target.hostname}"
                if target.hostname
                else "another path of the same host"
            )
        except ValueError:
            host = "an unreadable address"
        return _Failure(
            RedirectRefused(
                f"{self.name} at {self.host} redirects to {printable(host, 200)}; it is not followed.",
                f"If that is the right address, set {self.name.upper()}_URL to it.",
            ),
            passing=False,
        )

    def _cut(self, why: str) -> _Failure:
        return _Failure(
            AnswerUnreadable(
                f"{self.name} at {self.host} sent a cut answer: {why}.",
                "Run again; it continues where it stopped. If it stays, look at proxies in between.",
            ),
            passing=True,
        )

    def _packed_otherwise(self, coding: str) -> _Failure:
        return _Failure(
            AnswerUnreadable(
                f"{self.name} at {self.host} compressed its answer as {coding}, which was not asked for.",
                "Have the service, or the proxy in between, send gzip or no compression.",
            ),
            passing=True,
        )

    def _oversized(self) -> _Failure:
        return _Failure(
            AnswerUnreadable(
                f"{self.name} at {self.host} sent more than {BODY_BYTES // 2**20} MB in one answer.",
                "No answer of the API is that large. Check that the address is the API's.",
            ),
            passing=False,
        )


def _is_passing(answer: Answer) -> bool:
    """Return whether another try may get a different answer.

    A proxy or portal in trouble may briefly show a web page with status 200. If the page stays, its reader reports it.
    """
    is_page = answer.headers.get("Content-Type", "").startswith("text/html")
    if answer.status == 200:
        return is_page
    return answer.status in LOST | _TOO_SOON or (answer.status >= 500 and answer.status not in _NEVER)


def checked_address(url: str, *, name: str, private_host: str = "") -> SplitResult:
    """Return the parts of a valid service address; raise ``SettingsError`` with the problem of an invalid one.

    ``name`` prefixes the settings in the error. Connecting checks a host name again, by its address.
    """
    setting = f"{name.upper()}_URL"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or any(character.isspace() or not character.isprintable() for character in url):
        raise SettingsError(
            f"{setting} is not a web address.", f"Set {setting} to something like https://host.example."
        )
    if parts.username is not None or parts.password is not None:
        raise SettingsError(f"{setting} contains a user name or password.", "Remove what stands before the @.")
    check_host(host, setting)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise SettingsError(f"{setting} is not https, but {host} is not this machine.", "Use an https:// address.")
    if parts.query or parts.fragment:
        raise SettingsError(f"{setting} contains a query.", "Remove what stands after the host and path.")
    if (address := _ip(host)) is not None and not is_loopback(host) and host != private_host.lower():
        _refuse_private(address, host, name)
    return parts


def check_host(host: str, setting: str) -> None:
    """Raise ``SettingsError`` if ``host`` is neither a host name in ASCII letters nor an address.

    A name with other letters can look like a different host. So you have to write it in the network's ASCII form.
    """
    if not host.isascii():
        try:
            known_as = idna.encode(host, uts46=True).decode()
        except (idna.IDNAError, UnicodeError):
            raise SettingsError(f"{setting} has a host that is none: {host!a}.", "Type it again.") from None
        raise SettingsError(
            f"{setting} has a host with letters that can look like others; the network knows it as {known_as}.",
            f"If you mean that one, set {setting} to it in that spelling.",
        )
    is_name = len(host) <= 253 and all(map(_LABEL.fullmatch, host.removesuffix(".").split(".")))
    if not is_name and _ip(host) is None:
        raise SettingsError(f"{setting} has a host that is none: {ascii(host)[:80]}.", "Type it again.")


def is_loopback(host: str) -> bool:
    """Return whether ``host`` itself names this machine: ``localhost`` or a loopback address."""
    address = _ip(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "bms-pipeline"}


@dataclass(frozen=True, repr=False)  # no repr: headers and body hold secrets
class _Call:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    whole: Callable[[bytes], bool] | None = None

    @property
    def route(self) -> str:
        """Method and path, without the query."""
        return f"{self.method} {self.target.partition('?')[0]}"


@dataclass(frozen=True)
class _Failure:
    """A try without an answer. ``passing``: another try may succeed."""

    error: ServiceError | SettingsError
    passing: bool


class _Refusal(Exception):
    """Carries a finished error out of urllib3's call stack."""

    def __init__(self, error: SettingsError) -> None:
        super().__init__(error.message)
        self.error = error


class _Transport(HTTPAdapter):
    """requests' adapter with our TLS context; its connections check their peer's address."""

    def __init__(self, context: ssl.SSLContext | None, connections: int) -> None:
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # requests' own signature
        """Give every pool our TLS context. Called by requests."""
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def pool_for(self, parts: SplitResult, private_host: str, name: str) -> HTTPConnectionPool:
        """Return the pool of connections to one host, with our own connection class."""
        host = parts.hostname or ""
        pool: HTTPConnectionPool = self.poolmanager.connection_from_host(host, port=parts.port, scheme=parts.scheme)
        kind: type[_Connection] = _TlsConnection if parts.scheme == "https" else _Connection
        may_be_private = is_loopback(host) or host == private_host.lower()
        pool.ConnectionCls = type("Connection", (kind,), {"may_be_private": may_be_private, "service": name})
        return pool


class _TimedRaw(io.RawIOBase):
    """The bytes of a socket until a deadline: each read may take only the time left for the whole answer.

    Otherwise the time limit would apply to each read. A server sending a byte a second would never hit it.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, seconds: float | None) -> None:
        self._raw = raw
        self._sock = sock
        self._end = time.monotonic() + (CONNECT_SECONDS if seconds is None else seconds)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401  # a writable buffer
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """A response with one time limit for status line, headers and body: the socket's timeout at its start."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # http.client's own
        super().__init__(sock, *args, **kwargs)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_TimedRaw(raw, sock, sock.gettimeout()), 131072)


class _Connection(HTTPConnection):
    """A connection that refuses private addresses and counts time per answer."""

    may_be_private = False
    service = ""
    response_class = _TimedResponse  # http.client's hook

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        if not self.may_be_private:
            try:
                _refuse_private(ipaddress.ip_address(sock.getpeername()[0].partition("%")[0]), self.host, self.service)
            except SettingsError as error:
                sock.close()
                raise _Refusal(error) from None
        return sock


class _TlsConnection(_Connection, HTTPSConnection):
    """The same connection over TLS."""


def tls_context(ca_file: Path | None, name: str) -> ssl.SSLContext:
    """Return a context for TLS 1.2 or newer.

    It checks the host name, and trusts certifi's authorities or the CA in ``ca_file``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # as browsers do: only the certificate's alternative names count
    try:
        context.load_verify_locations(str(ca_file) if ca_file else certifi.where())
    except (OSError, ssl.SSLError):
        raise SettingsError(
            f"{name.upper()}_CA_FILE ({ca_file}) cannot be read as a certificate.",
            "Name a PEM file with the certificate of the authority.",
        ) from None
    return context


def _refuse_private(address: ipaddress.IPv4Address | ipaddress.IPv6Address, host: str, name: str) -> None:
    """Raise ``SettingsError`` if ``address`` is not on the public internet."""
    mapped = getattr(address, "ipv4_mapped", None)
    if not (mapped or address).is_global:
        raise SettingsError(
            f"{host} is at the private address {address}; nothing is sent there.",
            f"If this is your own on-premises server, set {name.upper()}_PRIVATE_HOST={host}.",
        )


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _whole_body(response: BaseHTTPResponse) -> bytes:
    """Return the body as it was sent, or its beginning if it is over the cap. A cut body raises ``IncompleteRead``."""
    pieces: list[bytes] = []
    size = 0
    while piece := response.read(2**20, decode_content=False):
        pieces.append(piece)
        size += len(piece)
        if size > BODY_BYTES:
            response.close()  # the rest is not worth reading
            break
    else:
        response.release_conn()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _codings(header: str) -> list[str]:
    """Return the compressions in ``Content-Encoding``, first applied first.

    Other values are left out: some services put a charset there.
    """
    named = [part.strip().lower().removeprefix("x-") for part in header.split(",")]
    return [coding for coding in named if coding in _COMPRESSIONS]


def _inflated(body: bytes, *window_bits: int) -> bytes | None:
    """Return the body unpacked, at most one byte more than the cap; ``None`` if it is broken or cut.

    ``window_bits``: zlib's value for each possible format. Consecutive members form one body.
    """
    for bits in window_bits:
        unpacked, rest = b"", body
        try:
            while rest and len(unpacked) <= BODY_BYTES:
                unpacker = zlib.decompressobj(wbits=bits)
                unpacked += unpacker.decompress(rest, BODY_BYTES + 1 - len(unpacked))
                rest = unpacker.unused_data.lstrip(b"\0")  # a member may be padded
                if not unpacker.eof and len(unpacked) <= BODY_BYTES:
                    raise zlib.error("cut")
        except zlib.error:
            continue
        if body:
            return unpacked
    return None


def _unzstd(body: bytes) -> bytes | None:
    """Return a zstd body unpacked, at most one byte more than the cap; ``None`` if it is broken or cut."""
    try:
        with zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True) as reader:
            return reader.read(BODY_BYTES + 1)
    except zstandard.ZstdError:
        return None


_COMPRESSIONS = frozenset({"gzip", "deflate", "zstd", "br", "compress", "dcb", "dcz"})
_UNPACK: Mapping[str, Callable[[bytes], bytes | None]] = {
    "gzip": lambda body: _inflated(body, 31),
    "deflate": lambda body: _inflated(body, 15, -15),  # zlib as in the standard, or bare as some services send it
    "zstd": _unzstd,
}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield ``error`` and all its wrapped errors and causes."""
    while error is not None:
        yield error
        yield from (argument for argument in error.args if isinstance(argument, BaseException))
        error = error.__cause__ or error.__context__


def _why(error: BaseException, deadline: float) -> str:
    """Return the cause in the words of the person who has to fix it."""
    if isinstance(error, urllib3_errors.NameResolutionError):
        return "its name cannot be resolved"
    if isinstance(error, urllib3_errors.NewConnectionError):
        cause = next((cause for cause in _causes(error) if isinstance(cause, OSError)), None)
        return (cause.strerror if cause is not None and cause.strerror else "no connection").lower()
    if isinstance(error, urllib3_errors.ConnectTimeoutError):
        return f"no connection within {CONNECT_SECONDS:g} seconds"
    if isinstance(error, urllib3_errors.ReadTimeoutError | TimeoutError):
        return f"no whole answer within {deadline:g} seconds"
    tls = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    if tls is not None:
        return f"no TLS 1.2 connection ({(tls.reason or 'unknown reason').replace('_', ' ').lower()})"
    return "the connection was closed or is not HTTP"
