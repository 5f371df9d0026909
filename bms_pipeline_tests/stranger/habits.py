"""Every habit by name: which switches it sets. ``docs/tested_against.md`` says of each whether it loads."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bms_pipeline_tests.stranger.bms import BmsHabits
from bms_pipeline_tests.stranger.passportal import PassportalHabits

Verdict = Literal["loads", "refused", "fault"]
_SHARE_WITH_API = 0.35
PAGE = Path(__file__).parents[2] / "docs" / "tested_against.md"


@dataclass(frozen=True)
class Habit:
    """One habit: a name, the service that has it, the switches, and what a person sets because of it."""

    name: str
    service: Literal["BMS", "Passportal"]
    switches: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    details: bool = False


def _bms(name: str, **switches: Any) -> Habit:
    return Habit(name, "BMS", switches)


def _detail(name: str, **switches: Any) -> Habit:
    return Habit(name, "BMS", switches, details=True)


def _passportal(name: str, environment: Mapping[str, str] | None = None, **switches: Any) -> Habit:
    return Habit(name, "Passportal", switches, environment or {})


def _renamed(key: str, new: str) -> dict[str, Any]:
    return {"renamed": {key: new}}


HABITS: Sequence[Habit] = (
    _bms("BMS as documented"),
    # keys
    _bms("keys in PascalCase", keys="pascal", envelope="pascal"),
    _bms("keys of records in PascalCase, envelope in camelCase", keys="pascal"),
    _bms("envelope in PascalCase", envelope="pascal"),
    _bms("keys in lower case", keys="lower", envelope="lower"),
    _bms("keys in capitals", keys="upper"),
    _bms("keys in mixed case", keys="mixed"),
    _bms("keys in snake_case", keys="snake"),
    _bms("contacts: isActive renamed", **_renamed("contacts.IsActive", "Active")),
    _bms("contacts: isPoc dropped", **_renamed("contacts.IsPoc", "")),
    _bms("contacts: accountId dropped", **_renamed("contacts.AccountId", "")),
    _bms("contacts: id renamed", **_renamed("contacts.Id", "ContactId")),
    _bms("contacts: jobTitle dropped", **_renamed("contacts.JobTitle", "")),
    _bms("contacts: emails dropped", **_renamed("contacts.Emails", "")),
    _bms("accounts: accountTypeId dropped", **_renamed("accounts.AccountTypeId", "")),
    _bms("accounts: accountName renamed", **_renamed("accounts.AccountName", "Name")),
    _bms("accounts: locations dropped", **_renamed("accounts.Locations", "")),
    _bms("accounts: modifiedOn dropped", **_renamed("accounts.ModifiedOn", "")),
    _bms("users: userName dropped", **_renamed("employees.Username", "")),
    _bms("users: isActive dropped", **_renamed("employees.IsActive", "")),
    _bms("assets: assetName dropped", **_renamed("assets.AssetName", "")),
    _bms("assets: serialNumber dropped", **_renamed("assets.SerialNumber", "")),
    _bms("fields that nobody declared", extra=True),
    _bms("account types: isClient dropped", **_renamed("types.IsClient", "")),
    _bms("account types: null", types="null"),
    _bms("account types: none", types="empty"),
    # pages
    *(_bms(f"at most {clamp} records a page", clamp=clamp) for clamp in (1, 2, 7, 25, 50, 60, 99)),
    _bms("page numbers are ignored", pages="ignored", clamp=6),
    _bms("page numbers are ignored, and no total", pages="ignored", total="absent", clamp=6),
    _bms("page numbers start at 0", pages="from zero", clamp=6),
    _bms("everything in the first answer", pages="everything at once"),
    _bms("everything in every answer", pages="everything each time"),
    *(
        _bms(f"past the end: {answer}", past_end=answer, clamp=6)
        for answer in ("null", "last", "first", "204", "400", "404", "500", "success false", "no result")
    ),
    *(
        _bms(f"past the end: {answer}, and no total", past_end=answer, clamp=6, total="absent")
        for answer in ("empty", "null", "last", "first", "204", "404", "success false")
    ),
    *(
        _bms(f"total: {total}", total=total, clamp=7)
        for total in (
            "absent",
            "null",
            "page",
            "zero",
            "text",
            "float",
            "minus one",
            "one more",
            "one less",
            "words",
            "also for assets",
        )
    ),
    _bms("total counts the page of at most 100", total="page"),
    _bms("rows are repeated at page edges", repeated=True, clamp=6),
    _bms("another order in each call", order="another each call", sort="ignored", clamp=7),
    _bms("another order in each call, on one page", order="another each call", sort="ignored"),
    _bms("descending ids", order="descending", sort="ignored", clamp=7),
    _bms("ordered by name", order="by name", sort="ignored", clamp=7),
    *(
        _bms(f"page 2: {hole}", hole=hole, clamp=5)
        for hole in ("empty once", "empty always", "short once", "short always", "null once")
    ),
    *(
        _bms(f"page 2: {hole}, and no total", hole=hole, clamp=5, total="absent")
        for hole in ("empty once", "empty always", "short once", "short always")
    ),
    # values
    _bms("nulls are left out", nulls="omitted"),
    _bms("numbers as text", numbers="text"),
    _bms("numbers with a decimal point", numbers="floats"),
    _bms("booleans as text", booleans="text"),
    _bms("booleans as numbers", booleans="numbers"),
    _bms("HTML entities in texts", text="html entities"),
    *(_bms(f"stamps: {kind}", stamps=kind) for kind in ("zulu", "offset", "seven digits", "date only")),
    _bms("success as text", success="text"),
    _bms("success left out", success="absent"),
    # services
    _bms("sign-in only as multipart", login="multipart"),
    _bms("sign-in only as a form", login="form"),
    _bms("tokens that last three seconds", tokens="short"),
    *(_bms(f"Sort is {kind}", sort=kind) for kind in ("refused 400", "refused 422", "refused 500", "ignored")),
    _bms("ModifiedOnFrom needs a zone", modified="with zone"),
    _bms("ModifiedOnFrom only as a date", modified="date only"),
    _bms("ModifiedOnFrom is refused", modified="refused 400"),
    _bms("ModifiedOnFrom is ignored", modified="ignored"),
    *(
        _bms(f"answers coded as {coding}", coding=coding)
        for coding in (
            "gzip",
            "x-gzip",
            "GZIP",
            "gzip in members",
            "deflate",
            "raw deflate",
            "identity",
            "charset",
            "gzip twice",
            "byte order mark",
            "chunked",
        )
    ),
    *(
        _bms(f"now and then: {fault}", faults=fault, fault_share=0.03 if fault == "two 401" else 0.12)
        for fault in (
            "500",
            "502 html",
            "503",
            "429",
            "html",
            "error in 200",
            "empty 200",
            "cut",
            "lost",
            "one 401",
            "two 401",
        )
    ),
    # details of assets
    _detail("details: bare, without envelope", detail="bare"),
    _detail("details: another id", detail="other id"),
    _detail("details: no id", detail="no id"),
    _detail("details: an empty object", detail="empty object"),
    _detail("details: null", detail="null"),
    _detail("details: keys in PascalCase", keys="pascal"),
    # Passportal
    _passportal("Passportal as documented"),
    _passportal("document below results", details_at="results"),
    _passportal("document as a list below results", details_at="results list"),
    _passportal("details by label", details_form="labels"),
    _passportal("details by label, bare values", details_form="labels", values="bare"),
    _passportal("details without empty elements", nulls="omitted"),
    _passportal(
        "template ids without tpl-",
        {"PASSPORTAL_TEMPLATES": "asset=79,contact=5000,location=5001"},
        template_uid="bare",
    ),
    _passportal(
        "template ids as TPL-",
        {"PASSPORTAL_TEMPLATES": "asset=TPL-79,contact=TPL-5000,location=TPL-5001"},
        template_uid="upper",
    ),
    _passportal("template ids in any form", template_uid="any"),
    _passportal("rows name the template as tpl-", template_id="tpl-"),
    _passportal("rows name the template as text", template_id="text"),
    *(_passportal(f"titles and names: {kind}", titles=kind) for kind in ("url", "html", "url and html")),
    _passportal("Passportal: success as text", success="text"),
    _passportal("Passportal: success left out", success="absent"),
    _passportal("ids as text", ids="text"),
    *(_passportal(f"end of a list: {end}", end=end) for end in ("null", "null text", "absent")),
    *(_passportal(f"at most {size} rows a page", per_page=size) for size in (1, 20, 100)),
    _passportal("order is ignored", order="ignored", per_page=7),
    _passportal("rows in another order in each call", order="another each call", per_page=7),
    _passportal("only /documents/all", paths="all"),
    _passportal("only /documents", paths="documents"),
    _passportal("token only by form", token="form"),
    _passportal("token only by JSON", token="json"),
    _passportal("expiry as text", expiry="text"),
    _passportal("Passportal: tokens that last three seconds", expiry="short"),
    _passportal("invalid token as 200", expiry="short", token_status=200),
    *(_passportal(f"new documents are listed {late} calls late", late=late) for late in (1, 3)),
    *(
        _passportal(f"answers to writes: {lost}", lost=lost)
        for lost in ("lost", "lost before", "500", "500 before", "504")
    ),
    *(
        _passportal(f"Passportal now and then: {fault}", faults=fault)
        for fault in ("500", "429", "empty 200", "html", "cut", "success false", "lost")
    ),
    _passportal("batch as array only", body="array"),
    _passportal("batch as object only", {"PASSPORTAL_BODY": "object"}, body="object"),
    _passportal("values as elements", {"PASSPORTAL_VALUES": "element"}),
    _passportal("details with a Name that the template has not are refused", strict_keys=True),
    _passportal("links in Location and Manufacturer", links=True),
    _passportal("a template without Asset Tag", lacks=(("asset", "Asset Tag"),)),
    _passportal("a template without Serial Number", lacks=(("asset", "Serial Number"),)),
    _passportal(
        "labels in another case", spelt={"ZIP / Postal Code": "Zip / Postal Code", "Serial Number": "Serial number"}
    ),
    _passportal("no document shows all labels", bare_templates=True),
    _passportal("Notes as rich text", rich_notes=True),
    _passportal("Please Select in empty lists", please_select=True),
    _passportal("a document that may not be read", unreadable=True),
    _passportal("IDs of another integration", foreign_ids=True),
    *(
        _passportal(f"Passportal: answers coded as {coding}", coding=coding)
        for coding in ("gzip", "deflate", "byte order mark", "chunked")
    ),
)


@dataclass(frozen=True)
class Mixture:
    """Some habits at once. ``passportal`` is None where the target is the embedded store."""

    names: tuple[str, ...]
    bms: BmsHabits
    passportal: PassportalHabits | None
    environment: Mapping[str, str]
    details: bool = False


def mixture(*habits: Habit) -> Mixture:
    """All these habits at once, which set different switches."""
    own, theirs = BmsHabits(), PassportalHabits()
    for habit in habits:
        if habit.service == "BMS":
            own = replace(own, **habit.switches)
        else:
            theirs = replace(theirs, **habit.switches)
    with_api = any(habit.service == "Passportal" for habit in habits)
    environment = {name: value for habit in habits for name, value in habit.environment.items()}
    names = tuple(habit.name for habit in habits)
    return Mixture(names, own, theirs if with_api else None, environment, any(habit.details for habit in habits))


@dataclass(frozen=True)
class Promise:
    """A row of the users' page: whether the habit loads, and for a refusal the words that the user reads."""

    verdict: Verdict
    words: str = ""


def promises() -> dict[str, Promise]:
    """What the users' page says of each habit, by its name."""
    rows = re.findall(
        r"^\| ([^|]+?) +\| (loads|refused|fault) +\| [^|]*\| ([^|]*?) *\|$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    quoted = {name: re.search(r"\*([^*]+)\*", text) for name, _, text in rows}
    return {name: Promise(verdict, found.group(1) if (found := quoted[name]) else "") for name, verdict, _ in rows}


def drawn(chance: random.Random, page: Mapping[str, Promise], *, refused: bool = False) -> Mixture:
    """One to four habits that go together and load by the users' page; with one that it lists as ``refused``."""
    services = ("BMS", "Passportal") if chance.random() < _SHARE_WITH_API else ("BMS",)
    found = [habit for habit in HABITS if habit.service in services and habit.switches]
    listed = [habit for habit in found if page[habit.name].verdict == "refused"]
    chosen: list[Habit] = [chance.choice(listed)] if refused and listed else []
    taken = {(habit.service, switch) for habit in chosen for switch in habit.switches}
    count = chance.randint(1, 4)
    for habit in chance.sample(found, len(found)):
        switches = {(habit.service, switch) for switch in habit.switches}
        if len(chosen) < count and page[habit.name].verdict == "loads" and not switches & taken:
            chosen.append(habit)
            taken |= switches
    return mixture(*chosen)
