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
    assert "The connection is stored." in alex.text
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
    assert "set Leave it empty to keep it." in " ".join(alex.text.split())


def test_a_secret_is_forgotten_when_that_is_said(console: Console, alex: Person) -> None:
    alex.get("/setup")
    alex.send("/setup/connection", BMS_MFA_SECRET=SEED)
    alex.get("/setup")
    alex.send("/setup/connection", **{"forget.BMS_MFA_SECRET": "on"})
    assert read_settings(console.env_file).bms_mfa_secret.get_secret_value() == ""


def test_what_does_not_fit_is_told_at_its_field_and_nothing_is_stored(console: Console, alex: Person) -> None:
    alex.get("/setup")
    text = alex.send("/setup/connection", PASSPORTAL_TARGET="nowhere", BMS_TENANT="Typed")
    assert alex.status == 422
    assert "PASSPORTAL_TARGET" in alex.text
    assert 'value="Typed"' in text
    alex.get("/setup")
    alex.send("/setup/connection", BMS_URL="https://x\nBMS_PASSWORD=other")
    assert alex.status == 422
    assert not console.env_file.exists()


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


def test_authenticate_says_what_is_missing_in_the_verbs_own_words(alex: Person) -> None:
    alex.get("/setup")
    alex.send("/setup/authenticate")
    assert alex.status == 422
    assert "BMS_URL" in alex.text


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
            assert alex.status == 422
            assert f"{secret} comes from the environment" in alex.text
            assert getattr(read_settings(console.env_file), address.lower()) == lines[address]
        else:
            assert f"{secret} belonged to the address of before" in alex.text
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
