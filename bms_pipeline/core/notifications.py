"""Notifications to people outside of Dagster about waiting decisions and failures.

They go by webhook, by e-mail, or not at all.

A notification holds counts, ids, hashes and links, but no client names. Its addresses and passwords are secrets. Errors
here name only a setting, a host and a status, and hold no more in their context.
"""

from __future__ import annotations

import contextlib
import email.utils
import smtplib
import socket
import ssl
import threading
import time
from dataclasses import dataclass, replace
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

from bms_pipeline.core.errors import NoticeError, PipelineError, ServiceUnreachable, SettingsError
from bms_pipeline.core.http import Service, check_host, is_loopback, tls_context
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.text import printable

DEADLINE_SECONDS = 30.0
"""Longest time for one channel, from connecting to the answer."""
LONGEST_TITLE = 200
LONGEST_TEXT = 4000
"""In characters. Chat services refuse long messages, and nobody reads them."""


@dataclass(frozen=True)
class Notice:
    """A notification: one title line, further lines of text, and a link to look at (an address, or empty)."""

    title: str
    text: str
    link: str = ""


def send(settings: Settings, notice: Notice, *, deadline_seconds: float = DEADLINE_SECONDS) -> list[str]:
    """Send ``notice`` once by every configured channel; return the channels used.

    The title begins with the tenant's name, where it has one. ``deadline_seconds`` bounds each channel. Tries all
    channels, then raises ``NoticeError`` with the failed ones.
    """
    if settings.bms_pipeline_name:
        notice = replace(notice, title=f"{settings.bms_pipeline_name}: {notice.title}")
    went, failures = [], []
    for way, is_set, tell in (
        ("webhook", settings.notice_webhook_url.get_secret_value(), _post),
        ("e-mail", settings.notice_email_to, _mail),
    ):
        if is_set:
            failure = tell(settings, notice, deadline_seconds)
            if failure is None:
                went.append(way)
            else:
                failures.append(failure)
    if failures:
        also = f" It went by {' and '.join(went)}." if went else ""
        raise NoticeError(
            " ".join(failure.message for failure in failures) + also,
            " ".join(dict.fromkeys(failure.next_step for failure in failures)),
        )
    return went


# The channels return their failure instead of raising it. A library's exception may hold an address or a server's
# message, and would come along as the context.


def _post(settings: Settings, notice: Notice, deadline_seconds: float) -> NoticeError | None:
    """POST the notification as ``{"text": ...}``, which Slack, Mattermost and Teams workflows understand."""
    mend = "Check NOTICE_WEBHOOK_URL, then try `bms-pipeline test-notification`."
    try:
        base, target = _webhook(settings.notice_webhook_url.get_secret_value())
        service = Service(
            base,
            name="NOTICE_WEBHOOK",
            ca_file=settings.notice_webhook_ca_file,
            private_host=settings.notice_webhook_private_host,
            connections=1,
            deadline_seconds=deadline_seconds,
        )
        with contextlib.closing(service):
            # Once: a second try could notify people twice, and a watching sensor tries again anyway.
            status = service.post_json(target, {"text": _marked_up(notice)}).status
    except ServiceUnreachable as error:
        if error.status is None:
            return NoticeError(error.message, mend)
        status = error.status  # its own message names the path
    except PipelineError as error:
        return NoticeError(error.message, error.next_step)
    if 200 <= status < 300:
        return None
    return NoticeError(f"The webhook answered {status} to a notice.", mend)


def _webhook(url: str) -> tuple[str, str]:
    """Return the service's address, and the path with its query, which is the secret. Raises ``SettingsError``."""
    if not url.isascii() or any(character.isspace() or not character.isprintable() for character in url):
        raise SettingsError("NOTICE_WEBHOOK_URL is not a web address.", "Copy it once more from the chat service.")
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""  # not an address: ``Service`` reports it
    return f"{parts.scheme}://{parts.netloc}", (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _marked_up(notice: Notice) -> str:
    """Return the notification as one text, without angle brackets, which Slack reads as links and mentions."""
    lines = (printable(notice.title, LONGEST_TITLE), *_lines(notice.text), *_lines(notice.link))
    return "\n".join(lines).replace("<", "‹").replace(">", "›")


def _lines(text: str) -> list[str]:
    """Return the lines of the text without misleading characters: control characters, half surrogates."""
    return [printable(line, LONGEST_TEXT) for line in text[:LONGEST_TEXT].splitlines()]


def _mail(settings: Settings, notice: Notice, deadline_seconds: float) -> NoticeError | None:
    """Send the notification as plain text over STARTTLS; without it only to a mail server on this machine."""
    mend = "Check the NOTICE_SMTP_ and NOTICE_EMAIL_ settings, then try `bms-pipeline test-notification`."
    missing = [setting for setting in ("notice_email_from", "notice_smtp_host") if not getattr(settings, setting)]
    if missing:
        names = " and ".join(setting.upper() for setting in missing)
        return NoticeError(f"NOTICE_EMAIL_TO is set, {names} is not.", f"Set {names} too, or unset NOTICE_EMAIL_TO.")
    started = time.monotonic()
    try:
        check_host(settings.notice_smtp_host, "NOTICE_SMTP_HOST")
        why = _handed_over(settings, _message(settings, notice), deadline_seconds)
    except smtplib.SMTPRecipientsRefused:
        why = "it refused the recipients"
    except smtplib.SMTPResponseException as error:
        why = f"it answered {error.smtp_code}"  # without its message, which may quote ours
    except PipelineError as error:
        return NoticeError(error.message, error.next_step)
    except (OSError, ValueError) as error:
        is_late = time.monotonic() - started >= deadline_seconds
        why = f"no whole answer within {deadline_seconds:g} seconds" if is_late else _why(error)
    if not why:
        return None
    return NoticeError(f"The mail server {printable(settings.notice_smtp_host, 200)} took no notice: {why}.", mend)


def _message(settings: Settings, notice: Notice) -> EmailMessage:
    """Return the e-mail. Raises ``SettingsError`` for an invalid address, such as one with a line break."""
    message = EmailMessage()
    message["Subject"] = printable(notice.title, LONGEST_TITLE)
    for header, setting in (("From", settings.notice_email_from), ("To", settings.notice_email_to)):
        with contextlib.suppress(ValueError):
            message[header] = setting
        found = message[header].addresses if header in message else ()
        if not found or not all(address.username and address.domain for address in found):
            raise SettingsError(f"NOTICE_EMAIL_{header.upper()} is not an e-mail address.", "Correct it in .env.")
    message["Date"] = email.utils.localtime()
    message["Message-ID"] = email.utils.make_msgid(domain=message["From"].addresses[0].domain)
    message.set_content("\n".join([*_lines(notice.text), *_lines(notice.link)]))
    return message


class _Conversation(smtplib.SMTP):
    """An SMTP session that ends in time; smtplib's own limit is for each read."""

    def __init__(self, host: str, port: int, seconds: float) -> None:
        self._watchdog = threading.Timer(seconds, self._hang_up)
        self._watchdog.daemon = True
        super().__init__(host, port, local_hostname="[127.0.0.1]", timeout=seconds)  # no look-up of our own name

    def connect(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:  # noqa: ANN401  # smtplib's own
        """Connect. smtplib calls this once it knows the name of the host."""
        self._watchdog.start()
        try:
            return super().connect(*args, **kwargs)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection and stop the watchdog."""
        self._watchdog.cancel()
        super().close()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_RDWR)


def _handed_over(settings: Settings, message: EmailMessage, deadline_seconds: float) -> str:
    """Return why the mail server refused the message, else an empty string. Raises errors of smtplib and the socket."""
    host, ca_file = settings.notice_smtp_host, settings.notice_smtp_ca_file
    with contextlib.closing(_Conversation(host, settings.notice_smtp_port, deadline_seconds)) as server:
        server.ehlo()
        if ca_file or not is_loopback(host):
            if not server.has_extn("starttls"):
                return "it offers no STARTTLS, and nothing is sent to another machine in clear"
            server.starttls(context=tls_context(ca_file, "NOTICE_SMTP"))
            server.ehlo()
        if settings.notice_smtp_username:
            server.login(settings.notice_smtp_username, settings.notice_smtp_password.get_secret_value())
        refused = server.send_message(message)
        with contextlib.suppress(OSError):  # it has the message by now
            server.quit()
    return f"it refused {len(refused)} of the recipients" if refused else ""


def _why(error: Exception) -> str:
    """Return the cause in words, without anything that was sent."""
    match error:
        case socket.gaierror():
            return "its name cannot be resolved"
        case ConnectionRefusedError():
            return "no connection"
        case ssl.SSLCertVerificationError():
            return (
                f"its TLS certificate is not trusted: {error.verify_message} (NOTICE_SMTP_CA_FILE names a private CA)"
            )
        case ssl.SSLError():
            return "no TLS 1.2 connection"
        case smtplib.SMTPNotSupportedError():
            return "it does not support what is needed (a log-in, or an address that is not ASCII)"
        case _:
            return "the connection was closed"
