"""The address that a visitor asked for before the log-in: kept through it, and never one of another site."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from bms_pipeline.guard.door import LONGEST_ADDRESS, Door, is_local
from bms_pipeline.guard.store import Store

ORIGIN = "http://127.0.0.1:3001"
SIGNS = st.sampled_from(
    [*"/\\:@?#.%\t\r\n\0 ah", "//", "http:", "javascript:", "evil.example", "\u2028", "\uff0f", "é"]
)
ADDRESSES = st.lists(SIGNS, max_size=8).map("".join)


def as_browsers_read(address: str) -> str:
    """Where a browser goes from a page of ours: it drops some control characters and reads a backslash as ``/``."""
    text = address.strip("".join(map(chr, range(33))))
    return urljoin(f"{ORIGIN}/name", text.translate({9: "", 10: "", 13: "", 92: "/"}))


@given(ADDRESSES)
@example("//evil.example")
@example("/\\evil.example")
@example("/\t/evil.example")
@example("/\n//evil.example")
@example("https://evil.example")
@example(" //evil.example")
@example("/..//evil.example")
def test_a_local_address_stays_here_in_every_browser(address: str) -> None:
    if is_local(address):
        found = urlsplit(as_browsers_read(address))
        assert (found.scheme, found.netloc) == ("http", "127.0.0.1:3001")
        assert address.isprintable()


@given(st.text("abc/?=&-%2F", max_size=30).filter(lambda text: not text.startswith("/")))
def test_every_plain_path_is_local(rest: str) -> None:
    assert is_local(f"/{rest}")


@pytest.mark.parametrize(
    "address", ["", "x", "//x", "/\\x", "\\/x", "/a\\b", "/a\x00", "/a\u2028b", "/" + "x" * LONGEST_ADDRESS]
)
def test_everything_else_is_not(address: str) -> None:
    assert not is_local(address)


def asked(path: str, query: str = "", cookies: str = "", method: str = "GET") -> Request:
    """A request for ``path``."""
    headers = [(b"host", b"127.0.0.1:3001"), (b"cookie", cookies.encode())]
    return Request({"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": headers})


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(Store(tmp_path / "guard"), 3001)


def kept(door: Door, request: Request) -> str:
    """The cookie that the page of the log-in leaves; empty for none."""
    response = Response()
    door.remember_wanted(request, response)
    return response.headers.get("set-cookie", "").partition(";")[0]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/review/clients", "q=Ma%20x&page=2"),
        ("/records/clients/10", ""),
        ("/runs", ""),
        ("/a b\"<'>", 'q="<x>&'),
        ("/é", ""),
    ],
)
def test_the_log_in_leads_to_the_page_asked_for(door: Door, path: str, query: str) -> None:
    cookie = kept(door, asked(path, query))
    answer = door.enter(asked("/enter", f"code={door.store.new_code()}", cookie))
    assert answer is not None
    page = bytes(answer.body).decode()
    address = quote(path) + (f"?{query}" if query else "")
    for sign, escaped in (("&", "&amp;"), ('"', "&quot;"), ("<", "&lt;"), (">", "&gt;")):
        address = address.replace(sign, escaped)
    assert f'content="0;url={address}"' in page
    assert "Max-Age=0" in answer.headers.getlist("set-cookie")[0], "it leads there once"


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "/\tx", "javascript:1", ""]
)
def test_a_cookie_with_another_site_leads_to_the_front_page(door: Door, wanted: str) -> None:
    cookie = f"{door.wanted_cookie}={quote(wanted)}"
    answer = door.enter(asked("/enter", f"code={door.store.new_code()}", cookie))
    assert answer is not None
    assert b'url=/"' in bytes(answer.body)


def test_a_form_and_the_log_in_itself_are_no_page_to_lead_to(door: Door) -> None:
    assert kept(door, asked("/runs/sync", method="POST")) == ""
    assert kept(door, asked("/enter", "code=x")) == ""
    assert kept(door, asked("//evil.example/", "")) == ""
