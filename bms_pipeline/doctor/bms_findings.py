"""What the answers of BMS show: one function for each check, from answers to a finding.

A value is a fact only where an answer shows it. Where the answers show nothing, the check returns None.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import Any

import msgspec

from bms_pipeline.bms.envelope import NOT_JSON, fields, module_of
from bms_pipeline.core.entities import (
    ACCOUNTS,
    ASSETS_LIST,
    CONTACTS_LIST,
    ENTITIES,
    Entity,
    declared_keys,
)
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor.bms import ASKED_SIZE, DETAILS, LISTS, BmsSeen, last_page
from bms_pipeline.doctor.bms_answers import Form, ListAnswer, TotalForm, spelling
from bms_pipeline.doctor.checks import Check
from bms_pipeline.doctor.findings import Finding
from bms_pipeline.warehouse.facts import HONOURED, NOT_ACCEPTED, ONLY_RISING, SORT

SKEW_SECONDS = 90
"""A clock further off makes MFA codes invalid; answers are dated by whole seconds."""
ENOUGH = 5
"""Records whose order cannot be an accident any more."""
_LIMIT_HEADER = re.compile(r"(?:x-)?rate-?limit|retry-after|x-quota", re.IGNORECASE)


def reached(seen: BmsSeen) -> Finding:
    """Return who is signed in, and where."""
    user = seen.user.get("fullname") or "a user without a name"
    text = f"{user} of {seen.user.get('businessname') or 'an unnamed company'} signs in at {seen.url}"
    return Finding("BMS-LOGIN", Verdict.READY, text, value=seen.url, how="it answered", is_short=True)


def form_of_sign_in(seen: BmsSeen) -> Finding | None:
    """Return the form in which BMS takes a sign-in."""
    if seen.sign_in is None:
        return None
    value = "multipart" if seen.sign_in.is_multipart else "form"
    return Finding("BMS-SIGN-IN", Verdict.READY, f"takes a sign-in as {value}", value=value, how="signed in")


def life_of_token(seen: BmsSeen) -> Finding | None:
    """Return how long a token is good, and whether its end is stated with a time zone."""
    if seen.sign_in is None or not seen.sign_in.expires:
        return None
    zone = "with" if _has_zone(seen.sign_in.expires) else "without"
    if seen.sign_in.seconds is None:
        text = f"states an end of tokens that cannot be right: {seen.sign_in.expires[:40]}"
        return Finding("BMS-TOKEN", Verdict.UNKNOWN, text, "A refused token leads to a new sign-in.")
    value = f"{span(seen.sign_in.seconds)}, {zone} a time zone"
    return Finding("BMS-TOKEN", Verdict.READY, f"tokens last {value}", value=value, how="the sign-in's own stamps")


def time_zone(seen: BmsSeen) -> Finding | None:
    """Return the tenant's time zone."""
    zone = seen.user.get("olsontimezonename") or seen.user.get("timezonename")
    if not zone:
        return None
    return Finding(
        "BMS-ZONE", Verdict.READY, f"the tenant's time zone is {zone}", value=str(zone), how="the user's page"
    )


def clock(seen: BmsSeen) -> Finding | None:
    """Return how far this machine's clock is from BMS's."""
    date = _date(seen)
    if date is None:
        return None
    skew = seen.asked_at - date.timestamp()
    if abs(skew) < SKEW_SECONDS:
        return Finding("BMS-CLOCK", Verdict.READY, "this machine's clock agrees with BMS's")
    how = "ahead of" if skew > 0 else "behind"
    text = f"This machine's clock is {span(abs(skew))} {how} BMS's: MFA codes are refused."
    return Finding("BMS-CLOCK", Verdict.DECIDE, text, "Set the clock, or BMS's administrator is to set theirs.")


def stamps_are_utc(seen: BmsSeen) -> Finding | None:
    """Return whether BMS stamps its answers in UTC or in the tenant's time zone."""
    date = _date(seen)
    try:
        stamp = datetime.fromisoformat(str(seen.user.get("timestamp")))
    except ValueError:
        return None
    if date is None:
        return None
    hours = seen.user.get("timezonevalue")
    offset = timedelta(hours=hours) if isinstance(hours, int | float) and abs(hours) <= 15 else None
    places = {"UTC": timedelta(0)} | ({"the tenant's time zone": offset} if offset else {})
    naive, now = stamp.replace(tzinfo=None), date.replace(tzinfo=None)
    for value, distance in places.items():
        # An hour of summer time may not be in the stated offset.
        if abs(naive - now - distance) < timedelta(seconds=SKEW_SECONDS):
            how = "compared its stamp with the date of the same answer"
            return Finding("BMS-UTC", Verdict.READY, f"stamps are in {value}", value=value, how=how)
    return None


def form_of_stamps(seen: BmsSeen) -> Finding | None:
    """Return the form of the stamps of records."""
    stamps = [str(row["modifiedon"]) for row in _rows(seen, ACCOUNTS.name) if row.get("modifiedon")]
    if not stamps:
        return None
    forms = Counter(_stamp_form(stamp) for stamp in stamps)
    value = forms.most_common(1)[0][0]
    how = f"{len(stamps)} accounts"
    return Finding("BMS-STAMPS", Verdict.READY, f"stamps of records come {value}", value=value, how=how)


def spelled_keys(seen: BmsSeen) -> Finding | None:
    """Return the spelling of the keys."""
    known = {key.lower() for call in LISTS for key in declared_keys(call)}
    answers = [answer for answer in seen.lists.values() if answer.rows]
    records = spelling({key for answer in answers for key in answer.keys if key.replace("_", "").lower() in known})
    envelope = spelling({key for answer in seen.lists.values() for key in answer.envelope})
    if not records:
        return None
    is_same = records == envelope or (not envelope and records in {"camelCase", "lower case"})
    value = records if is_same else f"{records}, envelope {envelope or 'camelCase'}"
    return Finding("BMS-KEYS", Verdict.READY, f"keys come in {value}", value=value, how=f"{len(answers)} lists")


def rights(seen: BmsSeen) -> Finding | None:
    """Return what the user may read; a refused list is an error of its own."""
    readable = [module_of(call.path).lower() for call in LISTS if call.name in seen.lists]
    if len(readable) < len(LISTS):
        return None
    text = f"may read {', '.join(readable)}" + (" and details" if any(_details(seen)) else "")
    return Finding(
        "BMS-RIGHTS", Verdict.READY, text, value=", ".join(readable), how="read one page each", is_short=True
    )


def more_rights(seen: BmsSeen) -> Finding | None:
    """Return that the user may do more than a sync needs."""
    if seen.user.get("isusersystemadmin") is True:
        text = "This user is a system administrator of BMS; a sync only reads."
        return Finding("BMS-MORE-RIGHTS", Verdict.DECIDE, text, _OWN_USER)
    menus = {
        str(menu.get("listingidenum")): str(menu.get("name")) for menu in map(_lowered, _list(seen.user, "viewsmenus"))
    }
    changes = [
        menus[menu]
        for right in map(_lowered, _list(seen.user, "useraccessrights"))
        if (menu := str(right.get("listingidenum"))) in menus
        and True in (right.get("canmodify"), right.get("candelete"))
    ]
    if not changes:
        return None
    text = f"This user may also change {', '.join(sorted(set(changes))[:4])}; a sync only reads."
    return Finding("BMS-MORE-RIGHTS", Verdict.DECIDE, text, _OWN_USER)


_OWN_USER = "In BMS, make a user of type API Employee whose role may only view."


def limit_headers(seen: BmsSeen) -> Finding | None:
    """Return the headers in which BMS states its limit."""
    found = {name: value for name, value in seen.headers.items() if _LIMIT_HEADER.match(name)}
    if not found:
        return None
    value = ", ".join(f"{name}: {text}" for name, text in sorted(found.items()))[:200]
    names = ", ".join(sorted(found))
    return Finding("BMS-LIMIT", Verdict.READY, f"states its limit of calls: {value}", value=names, how="headers")


def client_types(seen: BmsSeen) -> Finding | None:
    """Return which types of accounts BMS calls clients."""
    clients = [kind.name for kind in seen.types if kind.is_client and kind.is_active]
    if not seen.types:
        return None
    if not clients:
        text = f"BMS calls none of its {len(seen.types)} account types a client."
        names = ", ".join(kind.name for kind in seen.types)[:60]
        return Finding("BMS-TYPES", Verdict.DECIDE, text, f"bms-pipeline settings set 'account_types={names}'")
    ids = {str(kind.id) for kind in seen.types if kind.is_client}
    rows = _rows(seen, ACCOUNTS.name)
    share = f"; {sum(str(row.get('accounttypeid')) in ids for row in rows)} of {len(rows)} seen" if rows else ""
    value = ", ".join(clients)
    text = f"accounts of type {value[:60]} are clients{share}"
    return Finding("BMS-TYPES", Verdict.READY, text, value=value, how="the account types")


def deciding_fields(seen: BmsSeen) -> Finding | None:
    """Return that a list lacks a field which decides what happens to its records."""
    looked = 0
    for entity in ENTITIES:
        rows = list(_records(seen, entity))
        looked += len(rows)
        for key in entity.deciding:
            if rows and not any(key.lower() in row for row in rows):
                text = f"None of {len(rows)} {entity.name} has the field {key}; it decides what happens to them."
                return Finding("BMS-FIELDS", Verdict.BLOCKED, text, _NEW_API, is_short=True)
        wrong = [row.get("id") for row in rows if type(row.get("id")) is not int]
        if wrong:
            text = f"{len(wrong)} of {len(rows)} {entity.name} have no whole number as id ({str(wrong[0])[:20]!r})."
            return Finding("BMS-FIELDS", Verdict.BLOCKED, text, _NEW_API, is_short=True)
    if not looked:
        return None
    return Finding("BMS-FIELDS", Verdict.READY, "every field that decides something is there", how=f"{looked} records")


_NEW_API = "A sync would stop there. Check for a newer version of this program."


def page_size(seen: BmsSeen) -> Finding | None:
    """Return the most records of a page of BMS."""
    found: dict[str, int] = {}
    for name, answer in seen.lists.items():
        goes_on = answer.goes_on or (name == ACCOUNTS.name and _brings_new(seen, "page 2"))
        goes_on = goes_on or (name == ASSETS_LIST.name and seen.asset_pages[0] > 1)
        if answer.rows and goes_on:
            found[name] = len(answer.rows)
    if not found:
        return None
    sizes = set(found.values())
    value = str(sizes.pop()) if len(sizes) == 1 else ", ".join(f"{n} {name}" for name, n in sorted(found.items()))
    how = f"asked for {ASKED_SIZE} {next(iter(found))}"
    return Finding("BMS-CLAMP", Verdict.READY, f"puts {value} records into a page", value=value, how=how)


def totals(seen: BmsSeen) -> Finding | None:
    """Return whether lists with totals have true ones."""
    kinds = {
        call.name: _total(seen, call.name, answer)
        for call in LISTS
        if call.has_total and (answer := seen.lists.get(call.name)) is not None and answer.rows
    }
    if not kinds:
        return None
    worst = next(
        (kind for kind in ("does not add up", *TotalForm) if kind in kinds.values() and kind != "given"), "given"
    )
    how = f"{', '.join(kinds)}"
    if worst == "given":
        return Finding("BMS-TOTAL", Verdict.READY, "lists state their totals", value=worst, how=how)
    text = f"totals of lists: {worst}; every list is read to its proven end instead"
    return Finding("BMS-TOTAL", Verdict.READY, text, value=str(worst), how=how)


def total_of_assets(seen: BmsSeen) -> Finding | None:
    """Return whether the list of assets has a total, too."""
    answer = seen.lists.get(ASSETS_LIST.name)
    if answer is None or not answer.rows:
        return None
    value = str(answer.total)
    text = f"the list of assets has {'a total' if answer.total is TotalForm.NUMBER else 'no total'}"
    return Finding("BMS-TOTAL-ASSETS", Verdict.READY, text, value=value, how="page 1")


def page_numbers(seen: BmsSeen) -> Finding | None:
    """Return whether BMS honours page numbers."""
    first, second = seen.lists.get(ACCOUNTS.name), seen.accounts.get("page 2")
    last = seen.accounts.get("last page")
    if first is None or not first.goes_on:
        return None
    if _brings_new(seen, "page 0"):
        text = "Page 0 of accounts has records that page 1 has not: its pages start at 0."
        return Finding("BMS-PAGES", Verdict.BLOCKED, text, "No list can be read to a proven end.", "from 0", "page 0")
    if second is None or (not second.rows and (last is None or not last.rows)):
        return None
    if not second.rows:
        text = "A page in the middle of accounts came empty."
        return Finding("BMS-PAGES", Verdict.UNKNOWN, text, "Every list is read until its pages agree.")
    if not _brings_new(seen, "page 2"):
        text = "BMS sends page 1 for every page number: no list can be read to its end."
        step = "New records wait for your `bms-pipeline finish HASH`; `status` names the lists."
        return Finding("BMS-PAGES", Verdict.DECIDE, text, step, "ignored", "accounts")
    repeated = len(set(first.ids) & set(second.ids))
    text = "honours page numbers" + (f"; {repeated} of page 1 came again on page 2" if repeated else "")
    return Finding("BMS-PAGES", Verdict.READY, text, value="honoured", how="two pages of accounts")


def past_the_end(seen: BmsSeen) -> Finding | None:
    """Return the answer to a page past the end of a list."""
    first, second = seen.lists.get(ACCOUNTS.name), seen.accounts.get("page 2")
    answer = seen.accounts.get("past the end", second)
    if first is None or answer is None or (answer is second and _brings_new(seen, "page 2")):
        return None
    if answer.form is Form.ROWS:
        last = seen.accounts.get("last page", second)
        if set(answer.ids) <= set(first.ids):
            value = "the first page again"
        elif last is not None and set(answer.ids) <= set(last.ids):
            value = "the last page again"
        else:
            return None
    else:
        value = answer.refusal or str(answer.form)
    if value.startswith("HTTP 5"):
        text = f"BMS answers {value} past the end of a list."
        return Finding(
            "BMS-END", Verdict.BLOCKED, text, "No list can be read to its end. Ask Kaseya.", value, "accounts"
        )
    return Finding("BMS-END", Verdict.READY, f"past the end of a list: {value}", value=value, how="accounts")


def own_order(seen: BmsSeen) -> Finding | None:
    """Return whether lists come in the order of ids."""
    first = seen.lists.get(ACCOUNTS.name)
    if first is None or len(first.rows) < ENOUGH or not _are_numbers(first.ids):
        return None
    value = "by id" if _rises(first.ids) else "not by id"
    return Finding("BMS-ORDER", Verdict.READY, f"lists come {value}", value=value, how=f"{len(first.rows)} accounts")


def sort(seen: BmsSeen) -> Finding | None:
    """Return whether BMS honours ``Sort``: by id it must rise, and by name it must be another order."""
    by_id, by_name = seen.accounts.get("by id"), seen.accounts.get("by name")
    if by_id is None:
        return None
    if by_id.form is Form.REFUSED and ACCOUNTS.name in seen.lists:
        text, how = "refuses Sort; lists are read without", by_id.refusal
        return Finding(SORT, Verdict.READY, text, value=NOT_ACCEPTED, how=how)
    first = seen.lists.get(ACCOUNTS.name)
    if first is None or len(by_id.rows) < ENOUGH or not _are_numbers(by_id.ids):
        return None
    if not _rises(by_id.ids):
        value = "ignored"
    elif not _rises(first.ids) or (by_name is not None and _is_by_name(by_name) and not _rises(by_name.ids)):
        value = HONOURED
    elif by_name is not None and by_name.ids == by_id.ids and not _is_by_name(by_name):
        value = "ignored"
    else:
        return None
    newest = seen.accounts.get("newest first")
    if value == HONOURED and newest is not None and not _falls(newest.ids):
        value = ONLY_RISING
    texts = {HONOURED: "honours Sort, in both directions", ONLY_RISING: "honours Sort by rising ids only"}
    text = texts.get(value, "ignores Sort")
    return Finding(SORT, Verdict.READY, text, value=value, how="accounts by id, by name and in their own order")


def modified_since(seen: BmsSeen) -> Finding | None:
    """Return whether BMS honours the filter by the moment of change."""
    future, zoned = seen.accounts.get("in 2099"), seen.accounts.get("in 2099, with a zone")
    newest = seen.accounts.get("since the newest")
    if future is None:
        return None
    if future.form is Form.REFUSED:
        if zoned is None or (zoned.form is Form.REFUSED):
            value, text = NOT_ACCEPTED, "refuses ModifiedOnFrom: every sync reads the whole lists"
        elif zoned.rows:
            value, text = "ignored", "ignores ModifiedOnFrom: every sync reads the whole lists"
        else:
            value, text = "with a time zone", "takes ModifiedOnFrom with a time zone only"
    elif future.rows:
        value, text = "ignored", "ignores ModifiedOnFrom: every sync reads the whole lists"
    elif newest is not None and newest.rows:
        value, text = "honoured", "honours ModifiedOnFrom: a sync reads what changed"
    else:
        return None
    return Finding("BMS-FILTER", Verdict.READY, text, value=value, how="asked for accounts changed from 2099 on")


def form_of_details(seen: BmsSeen) -> Finding | None:
    """Return the form of an asset's details, and the fields they lack."""
    found = list(_details(seen))
    if not found:
        return None
    value = "enveloped" if all(enveloped for _, enveloped, _ in found) else "bare"
    keys = {key for _, _, detail in found for key in detail}
    lacking = sorted(key for key in DETAILS.wire if key.lower() not in keys)
    other = [asset for asset, _, detail in found if detail.get("id", asset) != asset]
    if other:
        text = f"The details of asset {other[0]} come with another id."
        return Finding("BMS-DETAIL", Verdict.DECIDE, text, "Details are not taken. Look at that asset in BMS.")
    missing = f"; without {', '.join(lacking[:4])}" if lacking else ""
    text = f"details of assets come {value}{missing}"
    return Finding("BMS-DETAIL", Verdict.READY, text, value=value, how=f"{len(found)} assets")


def dates(seen: BmsSeen) -> Finding | None:
    """Return whether dates carry a time of day, which may belong to the day before or after."""
    days = [
        str(detail[key])
        for _, _, detail in _details(seen)
        for key in ("acquisitiondate", "warrantyexpirationdate")
        if detail.get(key) and not str(detail[key]).startswith("0001-")
    ]
    if not days:
        return None
    timed = [day for day in days if (time := day[11:19]) and time != "00:00:00"]
    value = "with a time of day" if timed else "midnight"
    if timed:
        text = f"Dates of assets carry a time of day ({timed[0][:19]}): the day may be one off in your time zone."
        return Finding(
            "BMS-DATES",
            Verdict.UNKNOWN,
            text,
            "The day counts in the zone of BMS-ZONE; without one, as it is written.",
            value=value,
            how="details",
        )
    return Finding("BMS-DATES", Verdict.READY, "dates of assets are whole days", value=value, how="details")


def contacts_without_email(seen: BmsSeen) -> Finding | None:
    """Return the share of contacts without an e-mail, which distinguishes contacts of one name."""
    rows = _rows(seen, CONTACTS_LIST.name)
    if len(rows) < ENOUGH or not any("emails" in row for row in rows):
        return None
    bare = sum(not row.get("emails") for row in rows)
    return Finding("BMS-EMAILS", Verdict.READY, f"{bare:,} of {len(rows):,} contacts seen have no e-mail")


# Reading the answers


def _rows(seen: BmsSeen, name: str) -> Sequence[Mapping[str, Any]]:
    answer = seen.lists.get(name)
    return answer.rows if answer is not None else ()


def _records(seen: BmsSeen, entity: Entity) -> Iterator[Mapping[str, Any]]:
    """Yield the records of an entity that were seen; locations are inside accounts."""
    for row in _rows(seen, entity.list_call.name):
        if entity.array_in is None:
            yield row
        else:
            yield from map(_lowered, _list(row, entity.array_in.lower()))


def _details(seen: BmsSeen) -> Iterator[tuple[int, bool, dict[str, Any]]]:
    """Yield asset, whether its details came in an envelope, and the details with their keys in lower case."""
    for asset, answer in seen.details.items():
        try:
            outer = fields(answer.body)
            enveloped = "success" in outer
            found = msgspec.json.decode(outer.get("result", b"null") if enveloped else answer.body)
        except NOT_JSON:
            continue
        if answer.status == 200 and isinstance(found, dict):
            yield asset, enveloped, _lowered(found)


def _list(row: Mapping[str, Any], key: str) -> list[Any]:
    found = row.get(key)
    return [part for part in found if isinstance(part, dict)] if isinstance(found, list) else []


def _lowered(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in row.items()}


def _brings_new(seen: BmsSeen, question: str) -> bool:
    """Return whether an answer about accounts has records page 1 lacks."""
    answer, first = seen.accounts.get(question), seen.lists.get(ACCOUNTS.name)
    return answer is not None and first is not None and not set(answer.ids) <= set(first.ids)


def _total(seen: BmsSeen, name: str, answer: ListAnswer) -> str:
    if answer.number is None:
        return str(answer.total)
    second, last = seen.accounts.get("page 2"), seen.accounts.get("last page")
    wrong = answer.number < len(answer.rows)
    if name == ACCOUNTS.name and second is not None:
        wrong |= answer.number <= len(answer.rows) and _brings_new(seen, "page 2")
        wrong |= answer.goes_on and not second.rows and last is None
        wrong |= last is not None and not last.rows and not _brings_new(seen, "page 0")
        if last is not None and last.rows:
            expected = answer.number - (last_page(answer) - 1) * len(answer.rows)
            repeated = len(set(answer.ids) & set(second.ids))
            wrong |= not expected <= len(last.rows) <= expected + repeated
    return "does not add up" if wrong else "given"


def _rises(ids: Iterable[Any]) -> bool:
    found = list(ids)
    return _are_numbers(found) and all(one < two for one, two in pairwise(found))


def _falls(ids: Sequence[Any]) -> bool:
    return len(ids) > 1 and _rises(reversed(ids))


def _are_numbers(ids: Iterable[Any]) -> bool:
    return all(type(number) is int for number in ids)


def _is_by_name(answer: ListAnswer) -> bool:
    """Return whether the names nearly rise; services compare accents and signs in their own ways."""
    names = [str(row.get("accountname") or "").casefold() for row in answer.rows]
    pairs = list(pairwise(names))
    return bool(pairs) and sum(one <= two for one, two in pairs) >= 0.9 * len(pairs)


def _date(seen: BmsSeen) -> datetime | None:
    try:
        return parsedate_to_datetime(seen.headers.get("Date", ""))
    except (ValueError, TypeError):
        return None


def _has_zone(stamp: str) -> bool:
    return re.search(r"(Z|[+-]\d\d:?\d\d)$", stamp) is not None


def _stamp_form(stamp: str) -> str:
    if len(stamp) <= 10:
        return "as dates only"
    return "with a time zone" if _has_zone(stamp) else "without a time zone"


def span(seconds: float) -> str:
    """Return a length of time in words."""
    if seconds < 90:
        return f"{round(seconds)} seconds"
    if seconds < 7200:
        return f"{round(seconds / 60)} minutes"
    return f"{round(seconds / 3600)} hours" if seconds < 172800 else f"{round(seconds / 86400)} days"


_ACCOUNTS = (ACCOUNTS.name,)

CHECKS: Sequence[Check[BmsSeen]] = (
    Check("BMS-LOGIN", reached),
    Check("BMS-RIGHTS", rights),
    Check("BMS-MORE-RIGHTS", more_rights),
    Check("BMS-CLOCK", clock),
    Check("BMS-TYPES", client_types, ("account types",)),
    Check("BMS-FIELDS", deciding_fields),
    Check("BMS-PAGES", page_numbers, (*_ACCOUNTS, "page 2", "last page", "page 0")),
    Check("BMS-END", past_the_end, (*_ACCOUNTS, "page 2", "past the end")),
    Check("BMS-CLAMP", page_size, (), "how many records fit a page → lists are read by 100 and by what comes"),
    Check("BMS-TOTAL", totals),
    Check("BMS-TOTAL-ASSETS", total_of_assets, (ASSETS_LIST.name,)),
    Check("BMS-ORDER", own_order, _ACCOUNTS),
    Check(
        SORT,
        sort,
        (*_ACCOUNTS, "by id", "by name", "newest first"),
        "whether Sort is honoured → it is sent, and no result rests on it",
    ),
    Check(
        "BMS-FILTER",
        modified_since,
        (*_ACCOUNTS, "in 2099", "in 2099, with a zone", "since the newest"),
        "whether ModifiedOnFrom is honoured → the whole lists are read once a day",
    ),
    Check("BMS-DETAIL", form_of_details, (ASSETS_LIST.name,)),
    Check("BMS-DATES", dates, (ASSETS_LIST.name,)),
    Check("BMS-KEYS", spelled_keys),
    Check("BMS-STAMPS", form_of_stamps, _ACCOUNTS),
    Check("BMS-UTC", stamps_are_utc, (), "whether stamps are in UTC → a day is read again before the newest stamp"),
    Check("BMS-ZONE", time_zone),
    Check("BMS-SIGN-IN", form_of_sign_in),
    Check("BMS-TOKEN", life_of_token),
    Check("BMS-EMAILS", contacts_without_email, (CONTACTS_LIST.name,)),
    Check(
        "BMS-LOCATIONS",
        lambda _: None,
        (),
        "whether a changed location changes its account's stamp → all accounts are read once a day",
    ),
    Check(
        "BMS-LIMIT",
        limit_headers,
        (),
        "what BMS counts as one endpoint in its limit → 1,500 calls an hour each, and a pause at HTTP 429",
    ),
)
"""Every check of BMS, the most important first."""
