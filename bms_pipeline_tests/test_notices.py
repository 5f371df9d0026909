"""Notices: who is told, by which way, and that no address and no password is ever told with it."""

from __future__ import annotations

import email
import email.policy
import json
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

import pytest
import trustme
from pytest_httpserver import HTTPServer
from werkzeug import Response

from bms_pipeline.core.errors import NoticeError
from bms_pipeline.core.notifications import Notice, send
from bms_pipeline.core.settings import Settings
from bms_pipeline_tests.http.raw_server import RawServer, nobody_listening, raw_server, until_released
from bms_pipeline_tests.running import quick_and_soak

PATH = "/services/canary-path-51d0"
PASSWORD, QUERY = "canary-password-77ab", "sig=canary-signature-0c9e"
CANARIES = ("canary-path", PASSWORD, "canary-signature", "canary-said")
NOTICE = Notice(
    "Plan 0123456789ab waits", "12 operations wait for a finish.\nNothing was loaded.", "http://127.0.0.1:3000/assets"
)


def settings(**values: object) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[call-arg, arg-type]


@dataclass
class MailServer:
    """Enough of a mail server to be sent to: what it was told, and how it answers instead of its usual way."""

    port: int
    answers: dict[str, str]
    context: ssl.SSLContext | None
    heard: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)

    def converse(self, connection: socket.socket) -> None:
        """One conversation, line by line; a mail ends with a dot."""
        offers = "250-here\r\n250-STARTTLS\r\n250 AUTH PLAIN" if self.context else "250-here\r\n250 AUTH PLAIN"
        usual = {"EHLO": offers, "STARTTLS": "220 go", "AUTH": "235 yes", "DATA": "354 go", "QUIT": "221 bye"}
        self._say(connection, self.answers.get("", "220 hello"))
        lines, clear = connection.makefile("rb"), connection
        while line := lines.readline().decode().strip():
            verb = line.split()[0].upper()
            self.heard.append(line)
            self._say(connection, self.answers.get(verb, usual.get(verb, "250 ok")))
            if verb == "STARTTLS" and self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
                lines = connection.makefile("rb")
            if verb == "DATA" and verb not in self.answers:
                mail = b"".join(iter(lines.readline, b".\r\n"))
                self.mails.append(email.message_from_bytes(mail, EmailMessage, policy=email.policy.default))
                self._say(connection, "250 taken")
        if connection is not clear:
            connection.close()

    def _say(self, connection: socket.socket, text: str) -> None:
        if text == "trickle":
            while True:
                connection.sendall(b"250-more\r\n")
                time.sleep(0.05)
        connection.sendall(f"{text}\r\n".encode())


@contextmanager
def mail_server(
    context: ssl.SSLContext | None = None, answers: Mapping[str, str] | None = None
) -> Iterator[MailServer]:
    """A mail server on this machine that answers ``answers`` (verb → line; ``greeting``) instead of its usual lines."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        said = {"" if verb == "greeting" else verb: line for verb, line in (answers or {}).items()}
        server = MailServer(listener.getsockname()[1], said, context)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        server.converse(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def mailing(server: MailServer, **values: object) -> Settings:
    return settings(
        **{
            "notice_email_to": "ops@msp.example, Night Shift <night@msp.example>",
            "notice_email_from": "sync@msp.example",
            "notice_smtp_host": "127.0.0.1",
            "notice_smtp_port": server.port,
            **values,
        }
    )


def posting(server: HTTPServer | RawServer, url: str = f"{PATH}?{QUERY}") -> Settings:
    return settings(notice_webhook_url=f"http://127.0.0.1:{server.port}{url}")


def refused(setting: Settings, *words: str, deadline_seconds: float = 60) -> NoticeError:
    """The error of a notice that did not go, which holds no secret, also not by its context."""
    with pytest.raises(NoticeError) as caught:
        send(setting, NOTICE, deadline_seconds=deadline_seconds)
    error = caught.value
    for word in words:
        assert word in str(error), str(error)
    assert error.next_step
    assert error.__context__ is None
    assert not [each for each in CANARIES if each in repr(error) + repr(setting)]
    return error


def test_nobody_is_told_anything_unless_a_way_is_set() -> None:
    assert send(settings(), NOTICE) == []


# By webhook


def test_a_webhook_gets_one_text_at_its_whole_address(httpserver: HTTPServer, caplog: pytest.LogCaptureFixture) -> None:
    httpserver.expect_request(PATH, method="POST", query_string=QUERY).respond_with_data("ok", 202)
    with caplog.at_level(logging.DEBUG):
        assert send(posting(httpserver), NOTICE) == ["webhook"]
    ((request, _),) = httpserver.log
    assert json.loads(request.data) == {
        "text": "Plan 0123456789ab waits\n12 operations wait for a finish.\nNothing was loaded.\nhttp://127.0.0.1:3000/assets"
    }
    assert request.headers["Content-Type"] == "application/json"
    logged = [each.getMessage() for each in caplog.records if each.name.startswith(("urllib3", "bms_pipeline"))]
    assert not [each for each in CANARIES if each in "".join(logged)], "its path is its secret"


def test_what_names_contain_is_text_and_no_markup_and_no_second_line_of_a_title(httpserver: HTTPServer) -> None:
    httpserver.expect_request(PATH).respond_with_data("ok")
    send(posting(httpserver), Notice("one\r\ntwo\ud83d", "<!channel> <http://x.example|click>\x1b[2J"))
    ((request, _),) = httpserver.log
    assert json.loads(request.data) == {"text": "one two\n‹!channel› ‹http://x.example|click› [2J"}


def test_a_named_tenant_is_named_in_the_title(httpserver: HTTPServer) -> None:
    httpserver.expect_request(PATH).respond_with_data("ok")
    send(posting(httpserver).model_copy(update={"bms_pipeline_name": "acme"}), NOTICE)
    ((request, _),) = httpserver.log
    assert json.loads(request.data)["text"].splitlines()[0] == "acme: Plan 0123456789ab waits"


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_a_webhook_that_refuses_is_asked_once_and_told_by_its_status(httpserver: HTTPServer, status: int) -> None:
    httpserver.expect_request(PATH).respond_with_data("canary-said", status)
    refused(posting(httpserver), f"answered {status}", "NOTICE_WEBHOOK_URL")
    assert len(httpserver.log) == 1


def test_a_redirect_is_not_followed(httpserver: HTTPServer) -> None:
    moved = Response(status=307, headers={"Location": f"https://elsewhere.example{PATH}?{QUERY}"})
    httpserver.expect_request(PATH).respond_with_response(moved)
    refused(posting(httpserver), "redirects to https://elsewhere.example", "not followed")


def test_a_webhook_that_answers_too_late_is_not_waited_for() -> None:
    """On a server of its own: the others share one, and what it answers late it would note in another test's log."""
    with raw_server(until_released) as server:
        refused(posting(server), "no whole answer within 0.3 seconds", deadline_seconds=0.3)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"http://chat.example{PATH}", "not https"),
        (f"https://somebody:{PASSWORD}@chat.example/", "user name or password"),
        (f"https://10.1.2.3{PATH}", "NOTICE_WEBHOOK_PRIVATE_HOST=10.1.2.3"),
        (f"{PATH}", "not a web address"),
        (f"https://chat.example{PATH}\r\nHost: other", "not a web address"),
        (f"https://[chat{PATH}", "not a web address"),
        (f"http://127.0.0.1:9{PATH}", "cannot be reached"),
    ],
)
def test_an_address_that_may_not_be_used_is_refused_without_being_told(url: str, words: str) -> None:
    refused(settings(notice_webhook_url=url), words)


# By e-mail


def test_an_e_mail_goes_to_all_who_are_named() -> None:
    with mail_server() as server:
        assert send(mailing(server), NOTICE) == ["e-mail"]
    (mail,) = server.mails
    assert mail["Subject"] == "Plan 0123456789ab waits"
    assert mail["To"] == "ops@msp.example, Night Shift <night@msp.example>"
    assert mail["Message-ID"].endswith("@msp.example>")
    assert mail["Date"]
    assert mail.get_content().splitlines() == [*NOTICE.text.splitlines(), NOTICE.link]
    # A verb may be written in any case, and Python's versions differ.
    assert [line.lower() for line in server.heard if line.lower().startswith("rcpt")] == [
        "rcpt to:<ops@msp.example>",
        "rcpt to:<night@msp.example>",
    ]


def test_a_name_with_a_line_break_makes_no_header() -> None:
    with mail_server() as server:
        send(mailing(server), Notice("Client\r\nBcc: x@evil.example\n\nhello", "a\r\n.\r\nMAIL FROM:<x@evil.example>"))
    (mail,) = server.mails
    assert mail["Bcc"] is None
    assert mail["Subject"] == "Client Bcc: x@evil.example hello"
    assert mail.get_content().splitlines()[-1] == "MAIL FROM:<x@evil.example>"
    assert len([each for each in server.heard if each.casefold().startswith("mail from")]) == 1


@pytest.mark.parametrize("address", ["a@msp.example\r\nBcc: x@evil.example", "nobody", "@", "a@msp.example, "])
@pytest.mark.parametrize("which", ["to", "from"])
def test_an_address_that_is_none_is_refused(which: str, address: str) -> None:
    with mail_server() as server:
        wrong = mailing(server, **{f"notice_email_{which}": address})
        if address.startswith("a@msp.example, "):
            assert send(wrong, NOTICE) == ["e-mail"]
        else:
            refused(wrong, f"NOTICE_EMAIL_{which.upper()}")
            assert server.heard == []


def test_with_a_certificate_authority_it_speaks_tls_and_logs_in() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    login = {"notice_smtp_host": "localhost", "notice_smtp_username": "sync", "notice_smtp_password": PASSWORD}
    with (
        mail_server(context) as server,
        authority.cert_pem.tempfile() as ca_file,
        trustme.CA().cert_pem.tempfile() as other,
    ):
        assert send(mailing(server, notice_smtp_ca_file=ca_file, **login), NOTICE) == ["e-mail"]
        (tls,) = [each for each in server.heard if each == "STARTTLS"]
        assert server.heard.index(tls) < next(n for n, each in enumerate(server.heard) if each.startswith("AUTH"))
        server.heard.clear()
        refused(mailing(server, notice_smtp_ca_file=other, **login), "TLS certificate is not trusted")
        refused(
            mailing(server, notice_smtp_ca_file=ca_file, **login | {"notice_smtp_host": "127.0.0.1"}), "not trusted"
        )
        assert not [each for each in server.heard if each.startswith("AUTH")]


def test_nothing_is_sent_in_clear_to_another_machine() -> None:
    with mail_server() as server:
        # This machine under a name that is not a loopback one.
        other = {"notice_smtp_host": "0.0.0.0", "notice_smtp_username": "sync", "notice_smtp_password": PASSWORD}
        refused(mailing(server, **other), "no STARTTLS", "in clear")
    assert [each.split()[0] for each in server.heard] == ["ehlo"]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"greeting": "554 canary-said"}, "answered 554"),
        ({"AUTH": f"535 {PASSWORD} is wrong"}, "answered 535"),
        ({"MAIL": "550 canary-said"}, "answered 550"),
        ({"RCPT": "550 canary-said"}, "refused the recipients"),
        ({"DATA": "552 canary-said"}, "answered 552"),
    ],
)
def test_a_mail_server_that_refuses_is_told_by_its_code(answers: dict[str, str], words: str) -> None:
    with mail_server(answers=answers) as server:
        refused(mailing(server, notice_smtp_username="sync", notice_smtp_password=PASSWORD), words, "NOTICE_SMTP_")


@pytest.mark.parametrize("where", ["greeting", "EHLO"])
def test_a_mail_server_that_never_comes_to_an_end_is_not_waited_for(where: str) -> None:
    with mail_server(answers={where: "trickle"}) as server:
        refused(mailing(server), "no whole answer within 0.3 seconds", deadline_seconds=0.3)


def test_a_mail_server_that_is_not_there_or_half_set_is_told() -> None:
    with nobody_listening() as port:
        gone = mailing(MailServer(port, {}, None))
        refused(gone, "127.0.0.1", "no connection")
    with mail_server() as server:
        refused(mailing(server, notice_smtp_host=""), "NOTICE_EMAIL_TO is set, NOTICE_SMTP_HOST is not")


# Both


def test_one_way_that_fails_keeps_the_other_from_nothing(httpserver: HTTPServer) -> None:
    httpserver.expect_request(PATH).respond_with_data("", 500)
    with mail_server() as server:
        both = mailing(server, notice_webhook_url=posting(httpserver).notice_webhook_url)
        refused(both, "The webhook answered 500", "It went by e-mail")
    assert len(server.mails) == 1


@pytest.mark.parametrize("status", quick_and_soak([500], [0, 200]))
def test_notify_test_says_which_ways_it_went_or_how_to_switch_one_on(
    httpserver: HTTPServer, tmp_path: Path, status: int
) -> None:
    httpserver.expect_request(PATH).respond_with_data("canary-said", status or 200)
    url = {"NOTICE_WEBHOOK_URL": httpserver.url_for(PATH)} if status else {}
    result = subprocess.run(
        [sys.executable, "-m", "bms_pipeline.cli", "test-notification"],
        env={"PATH": os.environ["PATH"], **url}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = {
        0: "NOTICE_WEBHOOK_URL",
        200: "A test notice went by webhook.",
        500: "Error: The webhook answered 500 to a notice.",
    }
    assert said[status] in result.stdout + result.stderr
    assert result.returncode == (status == 500)
    assert len(httpserver.log) == (status > 0)
    assert not [each for each in CANARIES if each in result.stdout + result.stderr]
