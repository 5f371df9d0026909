"""What ``Service`` promises about answers, times, sizes, retries and secrets."""

from __future__ import annotations

import gzip
import socket
import traceback
import zlib
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import zstandard

from bms_pipeline.core import http
from bms_pipeline.core.errors import AnswerUnreadable, PipelineError, RedirectRefused, ServiceUnreachable, SettingsError
from bms_pipeline.core.http import Answer, Retries, Service, seconds_asked
from bms_pipeline_tests.http.raw_server import (
    RawServer,
    http_answer,
    in_turn,
    nobody_listening,
    raw_server,
    says,
    until_released,
)

CANARY = "canary-5eC2et-value"


class Pauses(list[float]):
    """Stands in for sleeping."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


def service(server: RawServer, pauses: Pauses, *, deadline: float = 60.0) -> Service:
    return Service(server.url, name="BMS", deadline_seconds=deadline, retries=Retries(sleep=pauses))


def get(server: RawServer, pauses: Pauses, *, deadline: float = 60.0, **options: object) -> Answer:
    one = service(server, pauses, deadline=deadline)
    try:
        return one.get("/v2/things", **options)  # type: ignore[arg-type]
    finally:
        one.close()


def test_an_answer_is_status_headers_in_any_case_and_body(pauses: Pauses) -> None:
    with raw_server(says(http_answer(b'{"a":1}', X_Kind="good"))) as server:
        answer = get(server, pauses, params={"Filter.Name": "A & B"}, headers={"Authorization": "Bearer t"})
    assert (answer.status, answer.body, answer.headers["x-kind"]) == (200, b'{"a":1}', "good")
    assert server.requests[0].startswith(b"GET /v2/things?Filter.Name=A+%26+B HTTP/1.1\r\n")
    assert b"Authorization: Bearer t\r\n" in server.requests[0]


def test_a_connection_is_used_again(pauses: Pauses) -> None:
    def two(connection: socket.socket, server: RawServer) -> None:
        connection.sendall(http_answer(b"1", connection="keep-alive"))
        server.requests.append(connection.recv(65536))
        connection.sendall(http_answer(b"2"))

    with raw_server(two) as server:
        one = service(server, pauses)
        assert [one.get("/a").body, one.get("/b").body] == [b"1", b"2"]
        one.close()
    assert len(server.requests) == 2


def test_a_form_and_a_json_body_are_sent_as_such(pauses: Pauses) -> None:
    with raw_server(says(http_answer())) as server:
        one = service(server, pauses)
        one.post_form("/form", {"Password": "a b&c"})
        one.post_json("/json", {"name": "Żółć"})
        one.close()
    form, payload = server.requests
    assert b"Content-Type: application/x-www-form-urlencoded" in form
    assert form.endswith(b"\r\n\r\nPassword=a+b%26c")
    assert b"Content-Type: application/json" in payload
    assert payload.endswith('{"name": "Żółć"}'.encode())


def test_a_compressed_body_is_unpacked(pauses: Pauses) -> None:
    with raw_server(says(http_answer(gzip.compress(b'{"a":1}'), Content_Encoding="gzip"))) as server:
        assert get(server, pauses).body == b'{"a":1}'


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


PACKED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "members": ("gzip", lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:20]) + gzip.compress(body[20:])),
    "a padded member": ("gzip", lambda body: gzip.compress(body) + b"\0" * 7),
    "x-gzip": ("x-gzip", gzip.compress),
    "in capitals": (" GZip ", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "zstd": ("zstd", zstandard.compress),
    "twice": ("deflate, gzip", lambda body: gzip.compress(zlib.compress(body))),
    "a charset": ("utf-8", bytes),
    "identity": ("identity", bytes),
}


@pytest.mark.parametrize(("coding", "pack"), PACKED.values(), ids=PACKED)
def test_whatever_a_body_is_packed_in_is_unpacked(coding: str, pack: Callable[[bytes], bytes], pauses: Pauses) -> None:
    body = b'{"a":"' + b"x" * 99 + b'"}'
    with raw_server(says(http_answer(pack(body), Content_Encoding=coding))) as server:
        assert get(server, pauses).body == body


def test_a_packing_that_cannot_be_read_is_named(pauses: Pauses) -> None:
    with (
        raw_server(says(http_answer(b"\x0b\x02\x80{}\x03", Content_Encoding="br"))) as server,
        pytest.raises(AnswerUnreadable, match="compressed its answer as br, which was not asked for"),
    ):
        get(server, pauses)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_a_refusal_is_an_answer_and_not_repeated(status: int, pauses: Pauses) -> None:
    with raw_server(says(http_answer(b"no", status=status))) as server:
        assert get(server, pauses).status == status
    assert (len(server.requests), pauses) == (1, [])


# --- retries ------------------------------------------------------------------------------------------------------


# 520 to 530: Cloudflare's, and 529 or 530 of others who are overloaded.
@pytest.mark.parametrize("status", [408, 425, 429, 499, 500, 502, 503, 504, 507, 520, 522, 524, 529, 530, 599])
def test_a_passing_fault_is_tried_again(status: int, pauses: Pauses) -> None:
    with raw_server(in_turn(says(http_answer(b"no", status=status)), says(http_answer(b"{}")))) as server:
        answer = get(server, pauses)
    assert (answer.status, answer.tries, len(pauses)) == (200, 2, 1)


def test_a_web_page_in_place_of_an_answer_is_asked_for_again_and_then_given_back(pauses: Pauses) -> None:
    page = says(http_answer(b"<html>busy</html>", Content_Type="text/html; charset=utf-8"))
    with raw_server(in_turn(page, says(http_answer(b"{}")))) as server:
        assert (get(server, pauses).body, len(pauses)) == (b"{}", 1)
    with raw_server(page) as server:
        answer = get(server, pauses)
    assert (answer.status, answer.body, len(server.requests)) == (200, b"<html>busy</html>", 4)


@pytest.mark.parametrize("status", [501, 505])
def test_a_fault_that_stays_is_not_tried_again(status: int, pauses: Pauses) -> None:
    with raw_server(says(http_answer(status=status))) as server, pytest.raises(ServiceUnreachable):
        get(server, pauses)
    assert len(server.requests) == 1


def test_waits_grow_and_end(pauses: Pauses) -> None:
    with raw_server(says(http_answer(status=503))) as server, pytest.raises(ServiceUnreachable) as caught:
        get(server, pauses)
    assert len(server.requests) == 4
    assert [low <= each <= 2 * low for low, each in zip([0.5, 1.0, 2.0], pauses, strict=True)] == [True] * 3
    assert caught.value.status == 503
    assert "503" in str(caught.value)
    assert "4 times" in str(caught.value)


def test_too_many_requests_is_given_back_after_every_try(pauses: Pauses) -> None:
    with raw_server(says(http_answer(status=429))) as server:
        assert get(server, pauses).status == 429
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("7", 7, 7.5),
        ("0", 0, 0.3),
        ("21600", 60, 60),
        ("9" * 400, 60, 60),
        ("soon", 0.5, 1),
        ("-5", 0.5, 1),
        ("", 0.5, 1),
    ],
)
def test_retry_after_is_obeyed_within_reason(header: str, low: float, high: float, pauses: Pauses) -> None:
    with raw_server(in_turn(says(http_answer(status=429, Retry_After=header)), says(http_answer()))) as server:
        get(server, pauses)
    assert low <= pauses[0] <= high


def test_retry_after_may_be_a_date() -> None:
    now = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    header = format_datetime(now + timedelta(seconds=40), usegmt=True)
    assert seconds_asked(header, now.timestamp()) == 40
    assert seconds_asked(format_datetime(now - timedelta(days=1), usegmt=True), now.timestamp()) == 0
    assert seconds_asked("Mon, 99 Foo 2026 00:00:00 GMT", now.timestamp()) is None
    assert seconds_asked(None, 0) is None


def test_every_try_costs_budget_before_it_is_sent(pauses: Pauses) -> None:
    with raw_server(
        in_turn(says(http_answer(status=500)), says(http_answer(status=500)), says(http_answer()))
    ) as server:
        counted: list[int] = []
        get(server, pauses, before_send=lambda: counted.append(len(server.requests)))
    assert counted == [0, 1, 2]


def test_a_post_is_never_repeated(pauses: Pauses) -> None:
    with raw_server(says(http_answer(status=503))) as server:
        one = service(server, pauses)
        with pytest.raises(ServiceUnreachable):
            one.post_form("/v2/x", {"a": "b"})
        one.close()
    assert (len(server.requests), pauses) == (1, [])


def test_a_get_is_not_repeated_when_told_so(pauses: Pauses) -> None:
    with raw_server(says(http_answer(status=503))) as server, pytest.raises(ServiceUnreachable):
        get(server, pauses, retry=False)
    assert len(server.requests) == 1


# --- cut, slow and oversized --------------------------------------------------------------------------------------

CUT = {
    "shorter than announced": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    "cut chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    "cut gzip": http_answer(gzip.compress(b"x" * 999)[:-9], Content_Encoding="gzip"),
    "no gzip": http_answer(b"{}", Content_Encoding="gzip"),
    "unknown encoding": http_answer(b"{}", Content_Encoding="br"),
    "ends in the middle": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{",
}


@pytest.mark.parametrize("answer", CUT.values(), ids=CUT.keys())
def test_a_cut_body_is_tried_again_and_never_an_answer(answer: bytes, pauses: Pauses) -> None:
    def whole(body: bytes) -> bool:
        return body.endswith(b"}")

    with raw_server(in_turn(says(answer), says(http_answer(b"{}")))) as server:
        assert get(server, pauses, whole=whole).body == b"{}"
    with raw_server(says(answer)) as server, pytest.raises(AnswerUnreadable):
        get(server, pauses, whole=whole)
    assert len(server.requests) == 4


@pytest.mark.parametrize("answer", [b"", b"\x00\x01nonsense\r\n\r\n", b"HTTP/1.1 2"])
def test_a_connection_that_closes_or_is_not_http_is_unreachable(answer: bytes, pauses: Pauses) -> None:
    with raw_server(says(answer)) as server, pytest.raises(ServiceUnreachable, match=r"127\.0\.0\.1"):
        get(server, pauses)
    assert len(server.requests) == 4


def test_a_silent_server_is_left_at_the_deadline(pauses: Pauses) -> None:
    with (
        raw_server(until_released) as server,
        pytest.raises(ServiceUnreachable, match=r"no whole answer within 0\.3 seconds"),
    ):
        get(server, pauses, deadline=0.3, retry=False)


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "])
def test_a_trickling_server_does_not_run_past_the_deadline(start: bytes, pauses: Pauses) -> None:
    def trickle(connection: socket.socket, server: RawServer) -> None:
        connection.sendall(start)
        while not server.released.wait(0.02):
            connection.sendall(b"x")

    with raw_server(trickle) as server, pytest.raises(ServiceUnreachable, match="no whole answer"):
        get(server, pauses, deadline=0.5, retry=False)


def test_an_oversized_body_is_refused(pauses: Pauses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_BYTES", 1000)
    for answer in (http_answer(b"x" * 1001), http_answer(gzip.compress(b"x" * 1001), Content_Encoding="gzip")):
        with raw_server(says(answer)) as server, pytest.raises(AnswerUnreadable, match="in one answer"):
            get(server, pauses)
        assert len(server.requests) == 1
    with raw_server(says(http_answer(b"x" * 1000))) as server:
        assert len(get(server, pauses).body) == 1000


# --- other hosts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_nothing_is_sent_there(status: int, pauses: Pauses) -> None:
    with raw_server(says(http_answer())) as other:
        location = f"http://localhost:{other.port}/login?session={CANARY}"
        with raw_server(says(http_answer(status=status, Location=location))) as server:
            one = service(server, pauses)
            sends: tuple[Callable[[], object], ...] = (
                lambda: one.get("/a", headers={"Authorization": CANARY}),
                lambda: one.post_form("/a", {"Password": CANARY}),
            )
            for send in sends:
                with pytest.raises(RedirectRefused, match="http://localhost") as caught:
                    send()
                assert CANARY not in str(caught.value)
            one.close()
        assert other.requests == []


def test_nobody_there_names_the_host(pauses: Pauses) -> None:
    with (
        nobody_listening() as port,
        closing(Service(f"http://127.0.0.1:{port}", name="BMS", retries=Retries(sleep=pauses))) as one,
    ):
        with pytest.raises(ServiceUnreachable, match=r"127\.0\.0\.1 cannot be reached: connection refused"):
            one.get("/")
        assert len(pauses) == 3


def test_a_name_that_does_not_exist_is_said_so(pauses: Pauses, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    one = Service("https://api.psa.example", name="BMS", retries=Retries(sleep=pauses))
    with pytest.raises(ServiceUnreachable, match=r"api\.psa\.example cannot be reached: its name cannot be resolved"):
        one.get("/")
    one.close()


def test_a_public_name_that_leads_to_a_private_address_is_refused(
    pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more))
    with raw_server(says(http_answer())) as server:
        one = Service(f"https://psa.corp.example:{server.port}", name="BMS", retries=Retries(sleep=pauses))
        with pytest.raises(SettingsError, match=r"private address 127\.0\.0\.1") as caught:
            one.get("/", headers={"Authorization": CANARY})
        one.close()
        assert "BMS_PRIVATE_HOST=psa.corp.example" in caught.value.next_step
    assert b"".join(server.requests) == b""


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://bms.kaseya.com", "not https"),
        ("ftp://bms.kaseya.com", "not https"),
        ("https://me:secret@bms.kaseya.com", "user name"),
        ("https://me@bms.kaseya.com", "user name"),
        ("https://10.1.2.3", "private address"),
        ("https://192.168.0.9:8443", "private address"),
        ("https://169.254.169.254", "private address"),
        ("https://[fe80::1]", "private address"),
        ("https://[::ffff:10.0.0.1]", "private address"),
        ("https://100.64.0.1", "private address"),
        ("https://", "not a web address"),
        ("bms.kaseya.com", "not a web address"),
        ("https://host:port", "not a web address"),
        ("https://ho st", "not a web address"),
        ("https://host\r\nX: y", "not a web address"),
        ("https://host.example/?x=1", "query"),
    ],
)
def test_an_unsafe_address_is_refused_before_anything_is_sent(url: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as caught:
        Service(url, name="BMS")
    assert "secret" not in str(caught.value)


def test_a_private_address_may_be_named() -> None:
    Service("https://10.1.2.3", name="BMS", private_host="10.1.2.3").close()


# --- environment and secrets --------------------------------------------------------------------------------------


def test_netrc_and_proxies_are_ignored(pauses: Pauses, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {CANARY}")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with raw_server(says(http_answer())) as server:
        get(server, pauses, headers={"Authorization": "Bearer ours"})
    assert server.requests[0].count(b"Authorization") == 1
    assert b"Bearer ours" in server.requests[0]


FAILURES = {
    "refused": b"",
    "cut": CUT["shorter than announced"],
    "down": http_answer(CANARY.encode(), status=503),
    "redirect": http_answer(status=302, Location=f"https://x.example/{CANARY}"),
    "big": http_answer(CANARY.encode() * 100),
}


@pytest.mark.parametrize("answer", FAILURES.values(), ids=FAILURES.keys())
def test_no_error_holds_a_secret(answer: bytes, pauses: Pauses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_BYTES", 1000)
    with raw_server(says(answer)) as server:
        one = service(server, pauses)
        sends: tuple[Callable[[], object], ...] = (
            lambda: one.get("/v2/x", params={"secret": CANARY}, headers={"Authorization": f"Bearer {CANARY}"}),
            lambda: one.post_form("/v2/x", {"Password": CANARY}),
            lambda: one.post_json("/v2/x", {"password": CANARY}),
        )
        for send in sends:
            with pytest.raises(PipelineError) as caught:
                send()
            error = caught.value
            assert CANARY not in "".join(traceback.format_exception(error)) + repr(error)
            assert error.__context__ is None, "a context would carry the request along"
        assert CANARY not in repr(one)
        one.close()


def test_an_answer_does_not_show_its_body() -> None:
    assert CANARY not in repr(Answer(200, {"X": CANARY}, CANARY.encode()))
