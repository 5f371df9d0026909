"""Set-up of the connection: what is stored and where, and what is never shown."""

from __future__ import annotations

import contextlib
import re
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.console.context import Console
from bms_pipeline.console.pages import setup
from bms_pipeline.console.security import MOST_UPLOADED
from bms_pipeline.core.settings import read_settings
from bms_pipeline.sync import services
from bms_pipeline_tests.building import World, opened_world
from bms_pipeline_tests.console.serving import Person, served

SECRET, SEED = "canary-pass-7f3a'\"\\ #$", "CANARYSEEDJBSWY3DP"


@pytest.fixture(scope="module")
def console(prepared: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """One for all: what is tried here is in its ``.env``, and not in its databases."""
    with opened_world(tmp_path_factory.mktemp("set_up") / "home", like=prepared) as world:
        world.let_go_of_the_warehouse()
        with served(world.settings) as found:
            yield found


@pytest.fixture(scope="module")
def alex(console: Console) -> Person:
    return Person(console)


@pytest.fixture(autouse=True)
def _nothing_is_set(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    console.env_file.unlink(missing_ok=True)
    for name in setup.FIELDS:
        monkeypatch.delenv(name, raising=False)


def test_the_connection_is_written_for_its_owner_alone_and_other_lines_stay(console: Console, alex: Person) -> None:
    console.env_file.write_text("# ours\nBMS_CALLS_PER_HOUR=900\nBMS_URL=https://old.example\n")
    console.env_file.chmod(0o600)
    alex.get("/setup")
    alex.send(
        "/setup/connection", BMS_URL="https://bms.example", BMS_TENANT="Us", BMS_USERNAME="api", BMS_PASSWORD=SECRET,
        BMS_MFA_SECRET=SEED,
    )  # fmt: skip
    assert "The connection is saved." in alex.text
    assert stat.S_IMODE(console.env_file.stat().st_mode) == 0o600
    assert console.env_file.read_text().startswith("# ours\nBMS_CALLS_PER_HOUR=900\n")
    stored = read_settings(console.env_file)
    assert (stored.bms_url, stored.bms_tenant, stored.bms_calls_per_hour) == ("https://bms.example", "Us", 900)
    assert stored.bms_password.get_secret_value() == SECRET


@pytest.mark.parametrize(
    "secret", ["a${HOME}b", "$$ #x", " blanks ", "'", '"', "back\\", "%41+&=é😀", "a${x:-y}", "\\'"]
)
def test_what_is_typed_is_what_is_used(console: Console, alex: Person, secret: str) -> None:
    alex.get("/setup")
    alex.send("/setup/connection", BMS_URL="https://bms.example", BMS_TENANT="${HOME} & Co #1", BMS_PASSWORD=secret)
    stored = read_settings(console.env_file)
    assert (stored.bms_password.get_secret_value(), stored.bms_tenant) == (secret, "${HOME} & Co #1")


def test_a_secret_in_a_file_that_the_environment_names_cannot_be_changed_here(
    console: Console, alex: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("canary-pass\n")
    monkeypatch.setenv("BMS_PASSWORD_FILE", str(tmp_path / "secret"))
    alex.get("/setup")
    alex.send("/setup/connection", BMS_URL="https://elsewhere.example", BMS_PASSWORD="typed")
    assert "BMS_PASSWORD comes from the environment" in alex.text
    assert "This field belongs to BMS_PASSWORD, which is set elsewhere." in alex.text
    assert not console.env_file.exists()


def test_a_secret_is_never_sent_to_the_browser_and_stays_when_its_field_is_left_empty(
    console: Console, alex: Person
) -> None:
    alex.get("/setup")
    pages = [alex.send("/setup/connection", BMS_URL="https://bms.example", BMS_PASSWORD=SECRET, BMS_MFA_SECRET=SEED)]
    pages += [alex.get(page) for page in ("/setup", "/", "/runs")]
    alex.get("/setup")
    pages.append(alex.send("/setup/connection", BMS_TENANT="Them"))
    alex.get("/setup")
    pages.append(alex.send("/setup/connection", PASSPORTAL_TARGET="nowhere", BMS_PASSWORD=SECRET))
    for page in pages:
        assert "canary-pass" not in page
        assert SEED not in page
    stored = read_settings(console.env_file)
    assert stored.bms_password.get_secret_value() == SECRET
    assert stored.bms_tenant == "Them"
    assert "entered, not shown Leave it empty to use it." in alex.text
    alex.get("/setup?stored=1")
    assert "set Leave it empty to keep it." in alex.text


def test_a_secret_is_forgotten_when_that_is_said(console: Console, alex: Person) -> None:
    alex.get("/setup")
    alex.send("/setup/connection", BMS_MFA_SECRET=SEED)
    alex.get("/setup")
    alex.send("/setup/connection", **{"forget.BMS_MFA_SECRET": "on"})
    assert read_settings(console.env_file).bms_mfa_secret.get_secret_value() == ""


def test_a_mistake_is_shown_at_its_field_nothing_is_stored_and_what_was_entered_stays(
    console: Console, alex: Person
) -> None:
    alex.get("/setup")
    alex.send("/setup/connection", PASSPORTAL_TARGET="nowhere", BMS_TENANT="Typed", BMS_PASSWORD=SECRET)
    assert alex.page is not None
    assert alex.page.history, "the answer to the form leads to the page: to reload that sends nothing again"
    assert alex.page.request.method == "GET"
    text = alex.get("/setup")
    assert "Not saved." in alex.text
    assert re.search(r'<select id="PASSPORTAL_TARGET"[^>]* aria-invalid="true"', text)
    [about] = re.findall(r'id="PASSPORTAL_TARGET-about">(.*?)</div>', text, re.DOTALL)
    assert "This field" in about
    assert 'value="Typed"' in text
    assert "canary-pass" not in text
    assert not console.env_file.exists()
    alex.send("/setup/connection", PASSPORTAL_TARGET="embedded")
    stored = read_settings(console.env_file)
    assert (stored.bms_tenant, stored.bms_password.get_secret_value()) == ("Typed", SECRET)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("BMS_URL", "https://x\nBMS_PASSWORD=other"),
        ("BMS_URL", "no address at all"),
        ("BMS_URL", "http://bms.example"),
        ("BMS_URL", "https://me:secret@bms.example"),
        ("BMS_TENANT", "x" * 3000),
        ("BMS_USERNAME", "\x00"),
        ("PASSPORTAL_URL", "ftp://p.example"),
        ("PASSPORTAL_USERS_FILE", "not_there.csv"),
        ("PASSPORTAL_USERS_FILE", "~nobody-of-this-name/users.csv"),
    ],
)
def test_every_field_that_cannot_be_stored_says_so(console: Console, alex: Person, field: str, text: str) -> None:
    alex.get("/setup")
    page = alex.send("/setup/connection", **{"PASSPORTAL_TARGET": "documents_api", field: text})
    assert re.search(rf'<input id="{field}"[^>]* aria-invalid="true"', page)
    assert not console.env_file.exists()
    alex.get("/setup?stored=1")
    assert "Not saved" not in alex.text


def test_a_secret_entered_with_a_mistake_is_not_used_for_an_address_entered_later(
    console: Console, alex: Person
) -> None:
    alex.get("/setup")
    alex.send("/setup/connection", BMS_URL="https://a.example", BMS_PASSWORD=SECRET, PASSPORTAL_TARGET="nowhere")
    alex.send("/setup/connection", BMS_URL="https://b.example", PASSPORTAL_TARGET="embedded")
    assert read_settings(console.env_file).bms_password.get_secret_value() == ""


@pytest.mark.parametrize("target", ["embedded", "documents_api"])
def test_each_missing_setting_is_named_at_its_field_when_the_log_in_is_tried(
    console: Console, alex: Person, target: str
) -> None:
    alex.get("/setup?stored=1")
    alex.send("/setup/connection", PASSPORTAL_TARGET=target, BMS_TENANT="Us")
    page = alex.send("/setup/authenticate")
    assert "Could not sign in." in alex.text
    invalid = re.findall(r'id="(\w+)"[^>]* aria-invalid="true"', page)
    of_passportal = ["PASSPORTAL_URL", "PASSPORTAL_KEY_ID", "PASSPORTAL_SECRET"] if target == "documents_api" else []
    assert invalid == ["BMS_URL", "BMS_USERNAME", "BMS_PASSWORD", *of_passportal]
    assert "Could not sign in" in alex.get("/setup"), "a reload shows the same and sends nothing"


@pytest.mark.parametrize("missing", ["BMS_URL", "BMS_USERNAME"])
def test_next_starts_no_run_while_a_needed_setting_is_missing(console: Console, alex: Person, missing: str) -> None:
    given = {"BMS_URL": "https://bms.example", "BMS_TENANT": "Us", "BMS_USERNAME": "api", "BMS_PASSWORD": "x"}
    alex.get("/setup?stored=1")
    alex.send("/setup/connection", **{**given, missing: ""})
    page = alex.send("/setup/read")
    assert re.search(rf'id="{missing}"[^>]* aria-invalid="true"', page)
    assert console.runs.current() is None


USERS = "Passportal ID,First Name,Last Name,Email\nU1,Ada,Lovelace,ada@us.example\n"


@pytest.mark.parametrize(
    "content",
    [USERS.encode(), b"\xef\xbb\xbf" + USERS.replace("\n", "\r\n").encode(), USERS.encode() + b"U2,\xc3\x89a,B,\n"],
)
def test_the_uploaded_file_of_users_is_stored_as_it_is_for_its_owner_alone(
    console: Console, alex: Person, content: bytes
) -> None:
    alex.get("/setup?stored=1")
    alex.upload("/setup/users-file", "../../users.csv", content)
    stored = console.started_with.bms_pipeline_home / setup.USERS_FILE
    assert stored.read_bytes() == content
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert read_settings(console.env_file).passportal_users_file == stored.absolute()
    assert "users is saved." in alex.text


@pytest.mark.parametrize(
    "content", [b"", b"Name\nAda\n", USERS.encode() + b"U1,Twice,Twice,\n", b"\xff\xfe" + USERS.encode("utf-16-le")]
)
def test_a_file_that_cannot_be_read_leaves_the_former_one(console: Console, alex: Person, content: bytes) -> None:
    alex.get("/setup?stored=1")
    alex.upload("/setup/users-file", "users.csv", USERS.encode())
    alex.upload("/setup/users-file", "users.csv", content)
    assert "Not saved." in alex.text
    home = console.started_with.bms_pipeline_home
    assert (home / setup.USERS_FILE).read_bytes() == USERS.encode()
    assert [file.name for file in home.glob("*users*")] == [setup.USERS_FILE]


def test_a_file_larger_than_the_limit_is_refused_before_it_is_read(console: Console, alex: Person) -> None:
    alex.get("/setup?stored=1")
    alex.upload("/setup/users-file", "users.csv", b"x" * (MOST_UPLOADED + 1))
    assert (alex.status, "Too large" in alex.text) == (413, True)


def test_what_the_environment_says_is_shown_and_cannot_be_changed_here(
    console: Console, alex: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BMS_URL", "https://from.environment")
    text = alex.get("/setup")
    [field] = re.findall(r'<input id="BMS_URL"[^>]*>', text)
    assert 'value="https://from.environment"' in field
    assert " disabled" in field
    assert "The environment says so; change it there." in alex.text
    alex.send("/setup/connection", BMS_URL="https://other.example", BMS_TENANT="Us")
    assert "BMS_URL" not in console.env_file.read_text()


def test_a_service_that_does_not_answer_is_waited_for_with_a_bound(
    alex: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    monkeypatch.setattr(setup, "AUTHENTICATE_SECONDS", 0.1)
    monkeypatch.setattr(services, "authenticate", lambda _: answer.wait())
    alex.get("/setup")
    try:
        alex.send("/setup/authenticate")
    finally:
        answer.set()
    assert "There was no answer for 0 s." in alex.text


@pytest.mark.parametrize("way", ["stored", "environment"])
@pytest.mark.parametrize(
    ("address", "secret"),
    [("BMS_URL", "BMS_PASSWORD"), ("BMS_URL", "BMS_MFA_SECRET"), ("PASSPORTAL_URL", "PASSPORTAL_SECRET")],
)
def test_a_stored_secret_is_never_sent_to_another_address(
    console: Console, alex: Person, monkeypatch: pytest.MonkeyPatch, way: str, address: str, secret: str
) -> None:
    canary = "CANARY7F3AJBSWY3DP"
    lines = {"BMS_URL": "https://bms.example", "BMS_TENANT": "us", "BMS_USERNAME": "api", "BMS_PASSWORD": "a",
        "PASSPORTAL_URL": "https://p.example", "PASSPORTAL_KEY_ID": "k", "PASSPORTAL_SECRET": "b"}  # fmt: skip
    if way == "environment":
        monkeypatch.setenv(secret, canary)
        lines.pop(secret, None)
    else:
        lines[secret] = canary
    console.env_file.write_text("".join(f"{name}={text}\n" for name, text in lines.items()))
    console.env_file.chmod(0o600)
    with listening() as (port, heard):
        alex.get("/setup")
        alex.send("/setup/connection", **{address: f"http://127.0.0.1:{port}", "PASSPORTAL_TARGET": "documents_api"})
        if way == "environment":
            assert "Not saved." in alex.text
            assert f"{secret} comes from the environment" in alex.text
            assert getattr(read_settings(console.env_file), address.lower()) == lines[address]
        else:
            assert f"{secret} belonged to the former address" in alex.text
            assert canary not in console.env_file.read_text()
            alex.get("/setup")
            alex.send("/setup/authenticate")
        alex.get("/setup")
        alex.send("/setup/connection", **{address: f"http://127.0.0.1:{port}/", secret: "entered-again"})
    if way == "stored":
        assert getattr(read_settings(console.env_file), secret.lower()).get_secret_value() == "entered-again"
    assert canary.encode() not in b"".join(heard)


@contextlib.contextmanager
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """Somebody who takes down all that is sent to a port."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(1)
                        heard.append(connection.recv(65536))
                        connection.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1], heard
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("BMS_URL", "bms.example"),
        ("BMS_URL", "https://www.bms.kaseya.com/react/home?tab=1"),
        ("PASSPORTAL_URL", "p.example"),
        ("PASSPORTAL_URL", "https://p.example/app/page"),
    ],
)
def test_an_address_as_people_copy_it_is_taken(console: Console, alex: Person, field: str, text: str) -> None:
    alex.get("/setup?stored=1")
    alex.send("/setup/connection", **{"PASSPORTAL_TARGET": "documents_api", field: text})
    assert "The connection is saved." in alex.text
    assert getattr(read_settings(console.env_file), field.lower()) == text


def test_a_field_that_the_target_does_not_use_is_not_in_the_way(console: Console, alex: Person) -> None:
    alex.get("/setup?stored=1")
    alex.send("/setup/connection", PASSPORTAL_TARGET="embedded", PASSPORTAL_URL="ftp://p.example")
    assert "The connection is saved." in alex.text
