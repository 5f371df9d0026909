"""The console is for people who signed in with a one-time code, and obeys no other page."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlencode

import pytest

from bms_pipeline.console.context import Console
from bms_pipeline.reports import figures
from bms_pipeline_tests.building import World, opened_world
from bms_pipeline_tests.console.serving import Person, served

PAGES = (
    "/",
    "/setup",
    "/setup/examination",
    "/review/users",
    "/review/clients",
    "/review/clients/twins",
    "/review/clients/accept",
    "/review/clients/create-unmatched",
    "/preview",
    "/runs",
    "/orphans",
    "/hand-overs",
    "/duplicates",
    "/records/clients/10",
)
CHANGING = (
    "/name",
    "/setup/connection",
    "/setup/users-file",
    "/preview/discard",
    "/setup/toggles",
    "/setup/authenticate",
    "/setup/examine",
    "/setup/read",
    "/review/clients/decide",
    "/review/clients/auto-match",
    "/review/clients/create-unmatched",
    "/review/clients/undo",
    "/review/clients/accept",
    "/review/clients/twins",
    "/preview/make",
    "/preview/finish",
    "/preview/client/10",
    "/runs/sync",
    "/runs/undo",
    "/hand-overs/again",
    "/duplicates/keep",
)


@pytest.fixture(scope="module")
def world(prepared: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all: nothing that is tried here may change it."""
    with opened_world(tmp_path_factory.mktemp("attacked") / "home", like=prepared) as found:
        found.let_go_of_the_warehouse()
        yield found


@pytest.fixture(scope="module")
def console(world: World) -> Iterator[Console]:
    with served(world.settings) as found:
        yield found


@pytest.fixture(scope="module")
def alex(console: Console) -> Person:
    return Person(console)


def ask(console: Console, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, str]:
    """A request as nobody's browser sends it: only these headers."""
    with closing(http.client.HTTPConnection("127.0.0.1", console.port, timeout=30)) as connection:
        return _ask(connection, console, method, path, body, headers)


def _ask(
    connection: http.client.HTTPConnection,
    console: Console,
    method: str,
    path: str,
    body: str | None,
    headers: dict[str, str],
) -> tuple[int, str]:
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    sent = {"Host": f"127.0.0.1:{console.port}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        sent = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))} | sent
    for name, value in sent.items():
        if value:
            connection.putheader(name, value)
    connection.endheaders(body.encode() if body else None)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def cookie(person: Person) -> str:
    return "; ".join(f"{each.name}={each.value}" for each in person.session.cookies)


def test_without_a_code_there_is_nothing_to_see(console: Console) -> None:
    for page in PAGES:
        status, text = ask(console, "GET", page)
        assert status == 403
        assert "Acme" not in text


@pytest.mark.parametrize("code", ["", "x", "é" * 24, "../key", "\0"])
def test_a_wrong_code_opens_nothing(console: Console, code: str) -> None:
    status, text = ask(console, "GET", f"/enter?{urlencode({'code': code})}")
    assert status == 403
    assert "bms-pipeline sign-in" in text


def test_a_code_opens_one_browser_once_and_the_cookie_is_out_of_scripts_reach(console: Console) -> None:
    address = console.new_address().removeprefix(console.origin)
    assert ask(console, "HEAD", address)[0] >= 400, "looking ahead uses nothing up"
    with closing(http.client.HTTPConnection("127.0.0.1", console.port, timeout=30)) as connection:
        connection.request("GET", address)
        answer = connection.getresponse()
        said = answer.read().decode()
    assert answer.status == 200
    assert 'content="0;url=/"' in said
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    status, said = ask(console, "GET", address)
    assert status == 403
    assert "used already" in said


def test_a_browser_that_is_signed_in_uses_up_no_code(console: Console, alex: Person) -> None:
    address = console.new_address()
    alex.get(address)
    assert alex.status == 200
    blake = Person(console, "Blake")
    blake.get("/runs")
    assert blake.status == 200
    assert ask(console, "GET", address.removeprefix(console.origin))[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "[::1]:{port}"]
)
def test_another_host_name_is_refused_whoever_asks(console: Console, alex: Person, host: str) -> None:
    status, text = ask(console, "GET", "/review/clients", Host=host.format(port=console.port), Cookie=cookie(alex))
    assert status == 400
    assert "Acme" not in text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "null"},
        {},
        {"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null", "Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_a_form_from_another_page_is_refused_also_with_the_cookie_and_a_right_csrf_token(
    console: Console, alex: Person, world: World, headers: dict[str, str]
) -> None:
    alex.get("/review/clients/create-unmatched")
    sent = {each.format(port=console.port): value.format(port=console.port) for each, value in headers.items()}
    body = urlencode(alex.form("/review/clients/create-unmatched"), doseq=True)
    status, _ = ask(console, "POST", "/review/clients/create-unmatched", body, Cookie=cookie(alex), **sent)
    assert status == 403
    assert world.query("SELECT count(*) FROM sync.decisions") == [(0,)]


def test_without_its_own_csrf_token_no_form_changes_anything(alex: Person) -> None:
    alex.get("/setup")
    tokens = {other: alex.form(other)["csrf"][0] for other in ("/setup/toggles", "/setup/read")}
    for action in CHANGING:
        of_another_form = tokens["/setup/toggles" if action != "/setup/toggles" else "/setup/read"]
        for token in ("", "0" * 64, of_another_form):
            answer = alex.session.post(
                alex.origin + action,
                data={"csrf": token},
                headers={"Origin": alex.origin},
                allow_redirects=False,
                timeout=30,
            )
            assert answer.status_code == 403, (action, token)


def test_a_csrf_token_is_of_use_only_to_the_browser_that_it_was_given_to(console: Console, alex: Person) -> None:
    other = Person(console, "Blake")
    alex.get("/review/clients")
    stolen = alex.form("/review/clients/auto-match")["csrf"][0]
    other.get("/review/clients")
    other.send("/review/clients/auto-match", csrf=stolen)
    assert other.status == 403


def test_asking_never_changes_anything(alex: Person, world: World) -> None:
    before = world.lasting()
    for page in (*PAGES, *(f"{action}?act=create%3A11&verb=create" for action in CHANGING)):
        alex.get(page)
    assert world.lasting() == before
    assert not (world.settings.bms_pipeline_home / ".env").exists()


def test_every_answer_says_that_no_other_page_may_frame_or_read_it(console: Console, alex: Person) -> None:
    for page in (*PAGES, "/nothing", "/static/console.css", "/review/nothing"):
        answer = alex.session.get(alex.origin + page, timeout=30)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert " style=" not in answer.text
        assert "<style" not in answer.text
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(console: Console, alex: Person, method: str) -> None:
    assert ask(console, method, "/setup", Cookie=cookie(alex))[0] == 405


def test_what_is_no_form_or_too_large_is_refused(console: Console, alex: Person) -> None:
    own = {"Cookie": cookie(alex), "Origin": alex.origin}
    assert ask(console, "POST", "/setup/read", "{}", Content_Type="application/json", **own)[0] == 400
    assert ask(console, "POST", "/setup/read", "a=" + "x" * 600_000, **own)[0] == 413
    assert ask(console, "POST", "/setup/read", "a=1&" * 6_000, **own)[0] == 400
    assert ask(console, "POST", "/setup/read", "a=%ff", **own)[0] == 400
    assert ask(console, "POST", "/setup/read", "a=1", Content_Type="multipart/form-data; boundary=x", **own)[0] == 400


NAMED = 'Content-Disposition: form-data; name="csrf"'


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no part",
        "--x\r\n\r\nno name\r\n--x--",
        f"--x\r\n{NAMED}\r\n\r\nwrong\r\n--x--",
        f'--x\r\n{NAMED}; filename="f"\r\n\r\nwrong\r\n--x--',
        "--x\r\n" * 500,
    ],
)
def test_a_form_with_a_file_needs_its_csrf_token_like_every_other(console: Console, alex: Person, body: str) -> None:
    own = {"Cookie": cookie(alex), "Origin": alex.origin, "Content_Type": "multipart/form-data; boundary=x"}
    assert ask(console, "POST", "/setup/users-file", body, **own)[0] in (400, 403)


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_no_form_leads_out_of_the_console(console: Console, alex: Person, back: str) -> None:
    alex.get("/review/clients")
    fields = alex.form("/review/clients/auto-match") | {"back": [back]}
    answer = alex.session.post(
        f"{alex.origin}/review/clients/auto-match", data=fields, headers={"Origin": alex.origin}, allow_redirects=False,
        timeout=30,
    )  # fmt: skip
    assert answer.headers["location"] == "/"
    assert (
        back not in alex.get(f"/review/clients/11/match?{urlencode({'back': back})}").split("<main")[1].split("<h1>")[0]
    )


def test_a_page_that_does_not_exist_and_a_defect_are_pages_that_say_what_to_do(
    console: Console, alex: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    alex.get("/nothing")
    assert alex.status == 404
    assert "There is no such page." in alex.text
    monkeypatch.setattr(figures, "orphans", lambda _: 1 / 0)
    text = alex.get("/orphans")
    assert alex.status == 500
    assert "ZeroDivisionError" in alex.text
    assert "Traceback" not in text
