"""What BMS and Passportal send is hostile: it is text on every page, and hides nothing."""

from __future__ import annotations

import re
from pathlib import Path

from bms_pipeline_tests.building import account, contact, in_passportal, opened_world
from bms_pipeline_tests.console.serving import Person, served

HOSTILE = [
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onmouseover='alert(1)", "{{ 7 * 7 }}{% x %}",
    "\u202egpj.exe",
    "zero\u200bwidth", "javascript:alert(1)", "&lt;b&gt;", "'; DROP TABLE x; --", "\x00NUL", "x" * 5000,
]  # fmt: skip


def test_hostile_names_in_every_field_are_text_on_every_page(tmp_path: Path) -> None:
    with opened_world(tmp_path / "hostile") as world:
        world.accounts = [account(10, "Home"), *(account(20 + n, each) for n, each in enumerate(HOSTILE))]
        world.contacts = [
            contact(100 + n, 10, each, each, each, jobTitle=each, locationName=each) for n, each in enumerate(HOSTILE)
        ]
        clients = [
            in_passportal("P1", "Home"),
            *(in_passportal(f"P<b>{n}", f"{each}.") for n, each in enumerate(HOSTILE)),
        ]
        world.passportal_holds(
            clients=clients, contacts=[in_passportal(f"C{n}", each, "P1", email=each) for n, each in enumerate(HOSTILE)]
        )
        plan = world.plan()
        world.let_go_of_the_warehouse()
        with served(world.settings) as console:
            alex = Person(console, "<script>alert('me')</script>\u202e")
            pages = ["/", "/setup", "/review/clients", "/review/contacts?client=10", "/preview", "/preview/records",
                     "/preview/records?what=needs+a+decision", "/runs"]  # fmt: skip
            pages += [f"/preview/finish?hash={plan.hash}", "/records/clients/20", "/review/contacts/100/match?q=a"]
            for number, _ in enumerate(HOSTILE):
                pages += [f"/records/contacts/{100 + number}", f"/review/clients/{20 + number}/match?q=x"]
            for page in pages:
                text = alex.get(page)
                assert alex.status == 200, page
                _is_only_text(text)
            alex.get("/review/clients")
            _is_only_text(alex.send("/review/clients/decide", act="exclude:20", why=HOSTILE[0]))
            _is_only_text(alex.get("/records/clients/20"))
            _is_only_text(alex.get("/preview"))
            assert "exclude" in alex.text, "the stale plan names what was decided"


def _is_only_text(text: str) -> None:
    body = text.split("<body>")[1]
    for each in ("<script>", "<img", "\u202e", "\u200b", "\x00", "x" * 400):
        assert each not in body
    # No value ended the attribute that it stood in.
    assert not re.search(r"<[^>]* (onerror|onmouseover)", re.sub(r'"[^"]*"', '""', body))
