"""The preview of a plan: its counts add up, its files hold every change, and no name in them does any harm."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jinja2
import pytest
from playwright.sync_api import Page

from bms_pipeline.core.entities import BY_NAME, CLIENTS, ENTITIES
from bms_pipeline.core.errors import PipelineError, PlanError
from bms_pipeline.core.reasons import Reason
from bms_pipeline.core.vocabulary import Disposition
from bms_pipeline.reports.plan_preview import COUNTED, add_words, overview, visible, write_html, write_plan_csv
from bms_pipeline.warehouse import sql
from bms_pipeline_tests.building import (
    CREATE_ALL,
    World,
    account,
    asset,
    contact,
    employee,
    in_passportal,
    location,
    opened_world,
)
from bms_pipeline_tests.chromium import chromium

MARKUP = "</td></table><script>alert('x')</script><img src=https://evil.example/x onerror=alert(1)>\"'&amp;"
OVERRIDE = "\N{RIGHT-TO-LEFT OVERRIDE}fdp.exe\N{POP DIRECTIONAL FORMATTING}"
HOSTILE = f"{MARKUP}{OVERRIDE}\N{ZERO WIDTH SPACE}{{{{ 7 * 7 }}}}\x00\n"
FORMULAS = ("=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "  =1", "\u00a0=1", "\u200b=1", "＝1")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two clients that are loaded and in which something changed on both sides since, and others that wait."""
    with opened_world(tmp_path_factory.mktemp("preview") / "home") as world:
        world.accounts = [account(1, "Acme", location(1, "HQ")), account(2, "Beta"), account(3, "Left out")]
        world.employees = [employee(1, "Uma", "One", emailAddress="uma@msp.example")]
        world.contacts = [contact(n, 1, "Person", str(n), jobTitle="a") for n in range(1, 6)]
        world.assets = [asset(n, 2, f"PC-{n}", f"SERIAL{n}") for n in range(1, 4)]
        world.passportal_holds(clients=[in_passportal("C1", "acme"), in_passportal("C3", "Near")])
        world.exclude("clients", 3)
        world.cycle()
        world.contacts[0]["jobTitle"] = "b"
        world.contacts[1]["jobTitle"] = world.contacts[2]["jobTitle"] = "c"
        world.contacts.append(contact(9, 1, "New", "Person", "=cmd|'/c calc'!A1"))
        world.contacts.append(contact(10, 3, "In an", "excluded client"))
        world.edit_passportal(
            "UPDATE records SET details = json_merge_patch(details, '{\"Job Title\": \"a person''s\"}')"
            " WHERE type = 'contact' AND title = 'Person 2'"
        )
        world.accounts += [account(4, "Twin", location(4, "Blocked")), account(5, "twin"), account(6, "Near Ltd")]
        world.accounts += [account(7, "Off") | {"isActive": False}, account(8, None)]
        world.employees += [employee(2, "Una", "Two"), employee(3, "Off", "Duty", isActive=False)]
        world.plan()
        yield world


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world in which every text that BMS and Passportal sent is out to do harm."""
    with opened_world(tmp_path_factory.mktemp("hostile") / "home") as world:
        world.accounts = [account(1, HOSTILE, location(1, HOSTILE)), account(2, "W" * 5000), account(3, OVERRIDE)]
        world.employees = [employee(1, HOSTILE, "x", emailAddress=HOSTILE), employee(2, "y" * 400, None)]
        world.contacts = [contact(1, 1, HOSTILE, "", HOSTILE, jobTitle=HOSTILE, locationName=HOSTILE)]
        world.assets = [asset(1, 1, HOSTILE, HOSTILE, categoryName=HOSTILE, ipAddress=HOSTILE, contactName=HOSTILE)]
        world.assets += [asset(n, 1, f"PC {n}") for n, _ in enumerate(FORMULAS, 10)]
        world.passportal_holds(
            clients=[in_passportal(f"C{MARKUP}", HOSTILE, phone=HOSTILE), in_passportal("C2", "W" * 5000)],
            locations=[in_passportal("L1", HOSTILE, f"C{MARKUP}", city=HOSTILE)],
        )
        world.plan()
        for n, text in enumerate(FORMULAS, 10):  # so late because landing trims them
            world.query("UPDATE sync.planned_assets SET name = $1, before_type = $1 WHERE bms_id = $2", text, n)
        yield world


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines))


class Read(HTMLParser):
    """A page as a browser takes it: what is an element, what is text, and in which section."""

    VOID = ("meta", "img", "link", "br", "input")

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(file.read_text(encoding="utf-8"))
        self.close()
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.text += data if self.open and self.open[-1] != "style" else ""


# The overview


def test_the_totals_add_up_with_the_plan(world: World) -> None:
    shown = overview(world.warehouse)
    for entity in BY_NAME:
        counts = shown.totals[entity]
        (read,) = world.query("SELECT count(*) FROM sync.operations WHERE entity = ?", entity)
        assert set(counts) == set(COUNTED)
        assert sum(counts.values()) - counts["conflicts"] == read[0], entity
    operations = [counts[each] for counts in shown.totals.values() for each in ("to create", "to match", "to update")]
    assert sum(operations) == shown.operations > 0
    assert shown.totals["contacts"] == {
        "to create": 1, "to match": 0, "to update": 2, "excluded": 0, "handed over": 0, "needs a decision": 0,
        "blocked": 1, "out of scope": 0, "unchanged": 3, "conflicts": 1, "refused": 0,
    }  # fmt: skip
    assert shown.totals["clients"]["needs a decision"] == 4
    assert shown.totals["clients"]["excluded"] == 1


def test_clients_come_with_most_work_first_and_only_where_there_is_any(world: World) -> None:
    shown = overview(world.warehouse).clients
    assert [each["name"] for each in shown][:2] == ["Acme", "Twin"]
    assert {each["name"] for each in shown} == {"Acme", "Twin", "twin", "Near Ltd", None, "(users)"}
    acme, twin = shown[0], shown[1]
    assert (acme["bms_id"], acme["to create"], acme["to update"], acme["conflicts"]) == (1, 1, 2, 1)
    assert (twin["needs a decision"], twin["blocked"]) == (1, 1), "the client itself waits, and a location for it"
    assert next(each for each in shown if each["bms_id"] is None)["needs a decision"] == 1, "a user"


def test_all_clients_are_listed_and_their_counts_add_up_with_the_totals(hostile: World) -> None:
    shown = overview(hostile.warehouse, examples=1)
    for each in ("to create", "to match", "to update", "needs a decision", "conflicts"):
        in_clients = sum(client[each] for client in shown.clients)
        assert in_clients == sum(counts[each] for counts in shown.totals.values()), each


# The spreadsheet


def test_the_spreadsheet_has_a_row_for_each_change_and_each_conflict(world: World, tmp_path: Path) -> None:
    file = tmp_path / "plan.csv"
    written = write_plan_csv(world.warehouse, file)
    rows = rows_of(file)
    assert written == len(rows)
    for entity in ("clients", "users", "locations", "contacts"):
        for bms_id, operation in world.operations(entity).items():
            of_it = [row for row in rows if (row["entity"], row["bms_id"]) == (entity, str(bms_id))]
            changes = {row["field"]: (row["before"], row["after"]) for row in of_it if row["after"]}
            kept = {
                row["field"]: (row["not_written"], row["kept_in_passportal"]) for row in of_it if row["not_written"]
            }
            expected = {name: (before or "", after) for name, (before, after) in operation.changes.items()}
            assert changes == expected | ({"email": ("", "'=cmd|'/c calc'!A1")} if "email" in expected else {})
            assert kept == operation.kept
            assert {(row["operation"], row["reason"]) for row in of_it} <= {(operation.operation, operation.reason)}
    blocked = [row for row in rows if row["disposition"] == "blocked" and row["entity"] == "locations"]
    assert [(row["client"], row["client_bms_id"], row["name"], row["field"]) for row in blocked] == [
        ("Twin", "4", "Blocked", "")
    ]


def test_what_is_unchanged_or_out_of_scope_is_in_the_spreadsheet_only_on_demand(world: World, tmp_path: Path) -> None:
    write_plan_csv(world.warehouse, tmp_path / "some.csv")
    write_plan_csv(world.warehouse, tmp_path / "all.csv", everything=True)
    some, everything = rows_of(tmp_path / "some.csv"), rows_of(tmp_path / "all.csv")
    assert {"out_of_scope", "matched"} & {row["disposition"] for row in some} == {"matched"}
    assert "unchanged" not in {row["reason"] for row in some}
    (records,) = world.query("SELECT count(*) FROM sync.operations")
    assert len({(row["entity"], row["bms_id"]) for row in everything}) == records[0]
    assert [row for row in everything if row in some] == some, "in the same order"


def test_no_value_in_the_spreadsheet_is_a_formula(hostile: World, tmp_path: Path) -> None:
    write_plan_csv(hostile.warehouse, tmp_path / "plan.csv")
    rows = rows_of(tmp_path / "plan.csv")
    values = [value for row in rows for value in row.values()]
    assert not [value for value in values if re.match(r"[\s\u200b]*[-=+@＝\t\r]", value)]
    for formula in FORMULAS:
        assert {f"'{formula}"} <= {row["name"] for row in rows} & {row["before"] for row in rows}, repr(formula)
    assert any(row["passportal_id"] == f"C{MARKUP}" for row in rows), "everything else comes as it is"


def test_the_files_are_the_owners_alone_and_whole_or_not_there(world: World, tmp_path: Path) -> None:
    for write, file in ((write_plan_csv, tmp_path / "plan.csv"), (write_html, tmp_path / "plan.html")):
        file.write_text("from before")
        file.chmod(0o644)
        assert write(world.warehouse, file) > 0
        assert file.stat().st_mode & 0o777 == 0o600
        with pytest.raises(PipelineError, match="cannot be written"):
            write(world.warehouse, tmp_path / "missing" / "file")
        with pytest.raises(PipelineError, match="cannot be written"):
            write(world.warehouse, tmp_path)
    assert (tmp_path / "plan.csv").read_bytes().startswith(b"\xef\xbb\xbfentity,bms_id,")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["plan.csv", "plan.html"]
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}*"))


def test_without_a_plan_nothing_is_written(tmp_path: Path) -> None:
    with opened_world(tmp_path / "home") as empty:
        for write in (write_plan_csv, write_html):
            with pytest.raises(PlanError, match="no plan yet"):
                write(empty.warehouse, tmp_path / "file")
        with pytest.raises(PlanError):
            overview(empty.warehouse)
    assert [each.name for each in tmp_path.iterdir()] == ["home"]


# The page


def test_the_page_needs_nothing_else_and_says_how_to_go_on(world: World, tmp_path: Path) -> None:
    file = tmp_path / "plan.html"
    write_html(world.warehouse, file)
    source, page = file.read_text(encoding="utf-8"), Read(file)
    for forbidden in ("<script", "http:", "https:", "src=", "url(", "@import", "javascript:"):
        assert forbidden not in source, forbidden
    assert "default-src 'none'; style-src 'unsafe-inline'" in source
    assert page.open == []
    plan_hash = overview(world.warehouse).hash
    assert f"bms-pipeline finish {plan_hash[:12]}" in page.text
    assert plan_hash in page.text
    for shown in ("Acme", "Person 1", "a person's", "kept in Passportal", Reason.BMS_CHANGED.text, "Una Two"):
        assert shown in page.text, shown
    assert "not shown here" not in page.text


def said(world: World, file: Path) -> str:
    write_html(world.warehouse, file)
    return Read(file).text


def test_the_page_tells_what_became_of_the_plan(tmp_path: Path) -> None:
    file = tmp_path / "plan.html"
    with opened_world(tmp_path / "home", entities=(CLIENTS,)) as world:
        world.accounts = [account(1, "Acme")]
        world.plan()
        assert "nothing to load" in said(world, file)
        assert "1 record waits for a decision" in said(world, file)
        world.plan(CREATE_ALL)
        world.finish()
        assert "This plan was loaded" in said(world, file)
        world.plan()
        assert "There is nothing to load" in said(world, file)
        world.accounts = [account(1, "Acme renamed")]
        world.reconcile()
        assert "Something that this plan rests on was read or decided" in said(world, file)


def test_hostile_text_comes_out_as_text(hostile: World, tmp_path: Path) -> None:
    file = tmp_path / "plan.html"
    write_html(hostile.warehouse, file)
    page, source = Read(file), file.read_text(encoding="utf-8")
    assert page.open == []
    assert page.elements.keys() & {"script", "img", "iframe", "link", "object", "base", "form"} == set()
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "srcset", "action")]
    assert all((value or "").startswith("#") for name, value in page.attributes if name == "href")
    assert MARKUP in page.text
    assert "U+202Efdp.exeU+202CU+200B{{ 7 * 7 }}U+0000U+000A" in page.text
    assert not set("\u202e\u202c\u200b\x00") & set(source)
    assert "5,000 characters in all" in page.text
    assert "W" * 301 not in source
    # Each of these records has the text in more than one field.
    assert page.text.count(MARKUP) > 15


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë & Söhne 日本 תהל", "Zoë &amp; Söhne 日本 תהל"),
        ("a\u2066b", 'a<span class="hidden" title="LEFT-TO-RIGHT ISOLATE">U+2066</span>b'),
        ("\x1b[2J", '<span class="hidden" title="a control character">U+001B</span>[2J'),
        ("\u3164", '<span class="hidden" title="HANGUL FILLER">U+3164</span>'),
        ("<b>", "&lt;b&gt;"),
    ],
)
def test_only_what_hides_or_reorders_is_boxed(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("template", "page"),
    [
        ("<ul>\n    <li>a</li>\n</ul>", "<ul>\n <li>a</li>\n</ul>"),
        ("{% if true %}a{% endif %}\n    b", "a b"),
        ("<td>\n  {% if true %}\n    a\n  {% endif %}\n</td>", "<td>\n a\n</td>"),
        ("{{ sent }}", "kept\n    as sent"),
    ],
)
def test_the_indentation_of_templates_is_not_sent_and_parts_words_all_the_same(template: str, page: str) -> None:
    pages = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    add_words(pages)
    assert pages.from_string(template).render(sent="kept\n    as sent") == page


def test_a_page_that_is_too_small_shows_some_of_each_client_and_tells_how_many_not(tmp_path: Path) -> None:
    with opened_world(tmp_path / "home") as world:
        world.accounts = [account(n, f"Client {n}") for n in range(1, 11)]
        world.passportal_holds(clients=[in_passportal(f"C{n}", f"Client {n}") for n in range(1, 11)])
        world.assets = [asset(n, 1, f"PC-{n}") for n in range(1, 101)]
        world.contacts = [contact(n, 2, "Person", str(n)) for n in range(1, 101)] + [contact(999, 10, "Only", "One")]
        world.employees = [employee(1, "Uma", "One")]
        world.plan()
        for most in (0, 5, 40):
            assert write_html(world.warehouse, tmp_path / "plan.html", most_records=most) == most
            page = Read(tmp_path / "plan.html")
            assert f"{212 - most} of 212 records are not shown here." in page.text
            assert "--csv" in page.text
            assert all(f"Client {n} " in page.text for n in range(1, 11)), "with its counts, at least"
        assert {"match client", "create contact", "create asset", "Only One"} <= set(
            re.findall(r"match client|create contact|create asset|Only One", page.text)
        )
        assert "Uma One" in page.text
        assert page.text.count("create asset") in range(13, 16), "two clients have more records; they share the room"
        assert page.text.count("create contact") in range(13, 17)
        assert re.search(r"8\d of 101 records are not shown here", page.text), "told beside the client, too"
        assert write_html(world.warehouse, tmp_path / "plan.html", most_records=212) == 212
        assert "not shown here" not in Read(tmp_path / "plan.html").text


def test_every_reason_has_words(world: World, hostile: World) -> None:
    dispositions = tuple(Disposition)
    known = {*dispositions, "create", "adopt", "update", "skip"}
    files = ("reconcile/reconcile", "reconcile/records_in_scope", "plan/plan_operations", "plan/undo_operations")
    codes = {code for file in files for code in re.findall(r"\b(?:THEN|ELSE) '([a-z_ ]+)'", sql.read(file))} - known
    codes -= {"client_"}
    codes |= {f"client_{each}" for each in dispositions if each not in (Disposition.MATCHED, Disposition.TO_CREATE)}
    codes |= {rule.reason for entity in ENTITIES for rule in entity.rules}
    codes |= {row[0] for each in (world, hostile) for row in each.query("SELECT DISTINCT reason FROM sync.operations")}
    assert len(codes) > 20
    assert codes - set(Reason) == set()


# In a browser


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    with chromium() as browser:
        yield browser.new_page()


def test_in_a_browser_nothing_overflows_and_all_is_reached_by_keyboard(
    world: World, hostile: World, browser_page: Page, tmp_path: Path
) -> None:
    noticed: list[Any] = []
    browser_page.on("console", lambda message: noticed.append(message.text))
    browser_page.on("request", lambda request: noticed.append(request.url) if "file://" not in request.url else None)
    for name, of in (("hostile", hostile), ("world", world)):
        write_html(of.warehouse, tmp_path / f"{name}.html")
        for width, scheme in ((400, "light"), (1400, "dark")):
            browser_page.set_viewport_size({"width": width, "height": 900})
            browser_page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            browser_page.goto((tmp_path / f"{name}.html").as_uri())
            assert not overflows(browser_page), (name, width, "closed")
            while (closed := browser_page.locator("details:not([open]) > summary")).count():
                closed.first.press("Enter")
            assert not overflows(browser_page), (name, width, "open")
            browser_page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)
    assert noticed == [], "no script ran, nothing was asked of anybody"


def overflows(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))
