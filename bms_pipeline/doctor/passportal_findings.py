"""What the answers of Passportal show: one function for each check, from answers to a finding.

A value is a fact only where an answer shows it. Where the answers show nothing, the check returns None.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import pairwise
from urllib.parse import unquote

from bms_pipeline.core.mapping import DEFAULT, folded_label
from bms_pipeline.core.mapping import Mapping as FieldMapping
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.text import printable
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor.api_description import Described, described
from bms_pipeline.doctor.bms_findings import span
from bms_pipeline.doctor.checks import Check
from bms_pipeline.doctor.findings import Finding
from bms_pipeline.doctor.passportal import KINDS, ListEnd, PassportalSeen, template_of
from bms_pipeline.passportal.documents import encoding
from bms_pipeline.passportal.documents.client import CUSTOM_ID_ADVICE, DOCUMENTS, OTHER_LIST, PAGE_SIZE, Row
from bms_pipeline.passportal.documents.templates import DEFAULT_TEMPLATES

OLD_FILE_DAYS = 30
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass(frozen=True)
class _Template:
    """A template with documents: how many of the page have it."""

    id: str
    name: str
    documents: int


def signed_in(seen: PassportalSeen) -> Finding:
    """Return where the key signs in."""
    text = f"the key signs in at {seen.url}"
    return Finding("PP-KEY", Verdict.READY, text, value=seen.url, how="it answered", is_short=True)


def sign_in(seen: PassportalSeen) -> Finding | None:
    """Return the form in which Passportal takes a sign-in."""
    if seen.exchange is None:
        return None
    value = "form" if seen.exchange.is_form else "JSON"
    return Finding("PP-SIGN-IN", Verdict.READY, f"takes a sign-in as {value}", value=value, how="signed in")


def token(seen: PassportalSeen) -> Finding | None:
    """Return how long a token is good, and in which form."""
    if seen.exchange is None or seen.exchange.seconds is None:
        return None
    value = f"{span(seen.exchange.seconds)}, stated as a {'text' if seen.exchange.is_text else 'number'}"
    return Finding("PP-TOKEN", Verdict.READY, f"tokens last {value}", value=value, how="signed in")


def success(seen: PassportalSeen) -> Finding | None:
    """Return whether ``success`` is a boolean or a text."""
    value = "text" if any(page.is_text for page in seen.pages.values()) else "boolean"
    return Finding("PP-SUCCESS", Verdict.READY, f"success comes as a {value}", value=value, how="lists")


def clients(settings: Settings, seen: PassportalSeen) -> Finding:
    """Return the reach of the key: how many clients, and whether an expected one is missing."""
    rows = [*seen.rows("clients"), *seen.rows("clients, page 2")]
    names = {encoding.decoded_name(str(row.get("name") or "")) for row in rows} | {str(row.get("id")) for row in rows}
    more = bool(seen.rows("clients, page 2"))
    wanted = [name.strip() for name in settings.passportal_expected_clients.split(";") if name.strip()]
    missing = [] if more else [name for name in wanted if name not in names]
    step = "In Passportal, give the user that the key belongs to access to the clients that are to be synced."
    if not rows:
        text = "The key is right, and its user has access to no client."
        return Finding("PP-CLIENTS", Verdict.BLOCKED, text, step, is_short=True)
    if missing:
        text = f"The key's user has no access to {printable('; '.join(missing), 120)} (PASSPORTAL_EXPECTED_CLIENTS)."
        return Finding("PP-CLIENTS", Verdict.BLOCKED, text, step, is_short=True)
    text = f"the key's user sees {'at least ' if more else ''}{len(rows):,} clients"
    return Finding("PP-CLIENTS", Verdict.READY, text, is_short=True)


def documents(seen: PassportalSeen) -> Finding | None:
    """Return how many documents there are, each of which the first sync reads with one call."""
    counts = {kind: len(seen.rows(kind)) for kind in KINDS if kind in seen.pages}
    if not counts:
        return None
    more = [kind for kind in counts if counts[kind] >= PAGE_SIZE or (kind == "asset" and _goes_on(seen))]
    listed = ", ".join(f"{'over ' if kind in more else ''}{count:,} {kind}s" for kind, count in counts.items())
    text = f"{listed}: the first sync reads each with one call"
    return Finding("PP-DOCUMENTS", Verdict.READY, text, is_short=True)


def list_cap(seen: PassportalSeen) -> Finding | None:
    """Return the most rows of a page of Passportal."""
    if not _goes_on(seen):
        return None
    value = str(len(seen.rows("asset")))
    return Finding("PP-CAP", Verdict.READY, f"puts {value} rows into a page", value=value, how="asked for 500 assets")


def end_of_lists(seen: PassportalSeen) -> Finding | None:
    """Return what stands in place of rows past the end of a list."""
    ends = Counter(page.end for page in seen.pages.values() if page.status == 200 and page.end is not ListEnd.ROWS)
    if not ends:
        return None
    value = ends.most_common(1)[0][0]
    if value is ListEnd.ABSENT:
        text = "Past the end of a list, Passportal sends no results at all."
        return Finding("PP-END", Verdict.BLOCKED, text, "Lists cannot be read to their end.", str(value), "a page")
    return Finding("PP-END", Verdict.READY, f"past the end of a list: {value}", value=str(value), how="a page past it")


def list_path(seen: PassportalSeen) -> Finding:
    """Return the addresses at which documents are listed."""
    there = [] if seen.path == OTHER_LIST else [DOCUMENTS]
    other = seen.pages.get("all documents")
    there += [OTHER_LIST] if other is not None and other.status == 200 else []
    value = " and ".join(path.removeprefix("/api/v2") for path in there)
    return Finding("PP-PATH", Verdict.READY, f"lists documents at {value}", value=value, how="asked both")


def order(seen: PassportalSeen) -> Finding | None:
    """Return whether the order asked for is honoured, forwards and backwards."""
    if not seen.rows("asset") or not seen.rows("the newest asset"):
        return None
    ids, newest = seen.pages["asset"].ids, seen.pages["the newest asset"].ids
    if len(ids) < 3 or not newest or not all(map(str.isdigit, [*ids, *newest])):
        return None
    numbers, last = list(map(int, ids)), int(newest[0])
    value = "honoured" if all(one < two for one, two in pairwise(numbers)) and last >= numbers[-1] else "ignored"
    return Finding("PP-ORDER", Verdict.READY, f"order by id: {value}", value=value, how=f"{len(ids)} assets, both ways")


def names_of_clients(seen: PassportalSeen) -> Finding | None:
    """Return whether names of clients come encoded."""
    return _encoding("PP-NAMES", "names of clients", [str(row.get("name") or "") for row in seen.rows("clients")])


def titles(seen: PassportalSeen) -> Finding | None:
    """Return whether titles of documents come encoded."""
    found = [encoding.raw_title(row) for kind in KINDS for row in seen.rows(kind)]
    return _encoding("PP-TITLES", "titles of documents", found)


def template_ids(seen: PassportalSeen) -> Finding | None:
    """Return how rows name their template."""
    found = [row.get("templateId") for kind in KINDS for row in seen.rows(kind) if row.get("templateId") is not None]
    if not found:
        return None
    forms = {"number" if isinstance(uid, int) else "text" if str(uid).isdigit() else "tpl-" for uid in found}
    value = ", ".join(sorted(forms))
    return Finding(
        "PP-TEMPLATE-IDS", Verdict.READY, f"rows name templates as {value}", value=value, how=f"{len(found)} rows"
    )


def stamps(seen: PassportalSeen) -> Finding | None:
    """Return the form of the moment of the last change, by which documents are read again."""
    found = [str(row.get("last_modified") or "") for kind in KINDS for row in seen.rows(kind)]
    if not found:
        return None
    good = sum(_STAMP.fullmatch(stamp) is not None for stamp in found)
    value = "in UTC" if good == len(found) else "absent" if not any(found) else "in another form"
    text = f"stamps of changes come {value}"
    if value == "in UTC":
        return Finding("PP-STAMPS", Verdict.READY, text, value=value, how=f"{good} documents")
    step = "Every document is read in every sync, where its stamp shows no change."
    return Finding("PP-STAMPS", Verdict.UNKNOWN, text, step, value=value, how=f"{len(found)} documents")


def custom_id(settings: Settings, seen: PassportalSeen) -> Finding | None:
    """Return whether rows have a ``customId``, which is the best place for the BMS id."""
    rows = [row for kind in KINDS for row in seen.rows(kind)]
    if not rows:
        return None
    has_it = any("customId" in row for row in rows)
    used = sum(bool(str(row.get("customId") or "").strip()) for row in rows)
    ours = sum(str(row.get("customId") or "").startswith(encoding.PREFIX) for row in rows)
    value = "absent" if not has_it else "there" if used == ours else "used by others"
    text = f"customId of documents: {value}" + (f", {used:,} filled" if used else "")
    if value == "there" and not ours and settings.passportal_marker != "custom_id":
        return Finding(
            "PP-CUSTOM-ID", Verdict.UNKNOWN, f"{text}; is it kept?", CUSTOM_ID_ADVICE, value, f"{len(rows)} rows"
        )
    return Finding("PP-CUSTOM-ID", Verdict.READY, text, value=value, how=f"{len(rows)} rows")


def unreadable_documents(seen: PassportalSeen) -> Finding | None:
    """Return how many documents are listed and may not be read."""
    found = sum(row.get("accessible") is False for kind in KINDS for row in seen.rows(kind))
    if not found:
        return None
    text = f"{found:,} documents are listed and may not be read by this key."
    return Finding(
        "PP-UNREADABLE", Verdict.DECIDE, text, "In Passportal, give the key's user access, or leave them out."
    )


def twins(seen: PassportalSeen) -> Finding | None:
    """Return how many documents of one type and client have titles equal to matching."""
    keys = Counter(
        (kind, str(row.get("client_id")), " ".join(encoding.decoded_name(encoding.raw_title(row)).casefold().split()))
        for kind in KINDS
        for row in seen.rows(kind)
    )
    several = {key: count for key, count in keys.items() if count > 1 and key[2]}
    if not several:
        return None
    (kind, _, title), _ = max(several.items(), key=lambda each: each[1])
    text = f"{len(several):,} titles stand for several documents of one client, as the {kind} {printable(title, 30)}."
    return Finding("PP-TWINS", Verdict.DECIDE, text, "They wait as ambiguous: tidy up in Passportal, or match by hand.")


def templates(settings: Settings, mapping: FieldMapping, kind: str, seen: PassportalSeen) -> Finding | None:
    """Return the templates of a type, and which one new documents get."""
    if kind not in seen.pages:
        return None
    code = f"PP-NEW-{kind.upper()}"
    found = _templates(seen, kind)
    if ruled := mapping.templates(KINDS[kind]):
        unseen = [template for template in ruled if template not in {shown.id for shown in found}]
        if unseen:
            text = f"The mapping puts new {kind}s into template {unseen[0]}, which no {kind} seen here has."
            return Finding(code, Verdict.DECIDE, text, "`bms-pipeline mapping check`, then correct it.", is_short=True)
        text = f"new {kind}s go into the templates {', '.join(ruled)} by the rules of the mapping"
        return Finding(code, Verdict.READY, text, value=", ".join(sorted(ruled)), how="the mapping")
    chosen = _chosen_template(settings, kind, found)
    if chosen is not None:
        listed = ", ".join(f"{template.name or template.id} ({template.documents:,})" for template in found[:4])
        text = f"templates of {kind}s: {listed or 'none seen'}; new ones get {chosen.name or chosen.id}"
        value = ", ".join(sorted(template.id for template in found)) or None
        return Finding(code, Verdict.READY, text, value=value, how=f"{len(seen.rows(kind))} rows")
    if not found:
        text = f"Passportal has no {kind} document, so the template of new ones is not known."
        step = f"Make one {kind} by hand in Passportal, or set PASSPORTAL_TEMPLATES={kind}=ID."
        return Finding(code, Verdict.DECIDE, text, step, is_short=True)
    listed = ", ".join(f"{template.id} {template.name} ({template.documents:,})" for template in found[:4])
    step = (
        f"One for all: PASSPORTAL_TEMPLATES={kind}={found[0].id}, or another of them. Which one for which category:"
        " `bms-pipeline mapping suggest` proposes rules."
    )
    return Finding(code, Verdict.DECIDE, f"New {kind}s could get several templates: {listed}.", step, is_short=True)


def fields_of(settings: Settings, mapping: FieldMapping, kind: str, seen: PassportalSeen) -> Finding | None:
    """Return which values of BMS have no place in the template of a type, judged by one document of it."""
    if kind not in seen.documents:
        return None
    row, _ = seen.documents[kind]
    labels = [label for column, label in mapping.labels(KINDS[kind], template_of(row)).items() if column != "name"]
    document = encoding.decoded_document(row, (*labels, mapping.marker_label))
    code, name = f"PP-FIELDS-{kind.upper()}", str(row.get("templateName") or template_of(row))
    unseen = [label for label in labels if label not in document.elements]
    shows_all = document.shows_blanks and not document.lacks_names
    if unseen and not shows_all:
        shown = ", ".join(unseen[:3]) + (" and others" if len(unseen) > 3 else "")
        step = "Documents do not show their empty fields: a value without a field is left out."
        return Finding(code, Verdict.UNKNOWN, f"whether {name} has the fields {shown}", step)
    forms = {label: place.form for label, place in document.elements.items()}
    lacking = [label for label in labels if forms.get(label) not in _TAKE_TEXT]
    value, how = ", ".join(lacking) or "every value", f"document {row.get('id')}"

    def can_write(label: str) -> bool:
        return forms.get(label) in _TAKE_TEXT

    if not encoding.can_bear_marker(can_write, encoding.dialect_of(settings), mapping.marker_label):
        text = f"The template {name} has no field for the BMS id, so new {kind}s wait."
        step = f"Add a text field {mapping.marker_label} to it in Passportal, or name another label: {_SUGGEST}."
        return Finding(code, Verdict.DECIDE, text, step, value, how)
    if lacking:
        text = f"The template {name} has no plain field for: {printable(value, 120)}."
        step = f"Does it call them otherwise? {_SUGGEST} shows. Or add them in Passportal; else they are left out."
        return Finding(code, Verdict.DECIDE, text, step, value, how)
    return Finding(code, Verdict.READY, f"{name} has a field for {value} of {kind}s", "", value, how)


_SUGGEST = "`bms-pipeline mapping suggest`"
_TAKE_TEXT = (encoding.DetailsForm.EMPTY, encoding.DetailsForm.TEXT, encoding.DetailsForm.RICH)
"""Where a new document takes plain text; formatted text begins as plain one."""


def form_of_documents(seen: PassportalSeen) -> Finding | None:
    """Return whether fields come by keys or by positions."""
    keys = [str(key) for row, _ in seen.documents.values() for key in _details(row)]
    if not keys:
        return None
    value = "by position" if all(key in {"name", "tags"} or key.isdigit() for key in keys) else "by key"
    return Finding("PP-DETAILS", Verdict.READY, f"fields of documents come {value}", value=value, how="documents")


def place_of_document(seen: PassportalSeen) -> Finding | None:
    """Return where in the answer a single document stands."""
    if not seen.documents:
        return None
    _, body = next(iter(seen.documents.values()))
    found = next(
        (key for key in ("results", "result", "document", "data") if isinstance(body.get(key), dict | list)), ""
    )
    value = f"below {found}{' in a list' if isinstance(body.get(found), list) else ''}" if found else "flat"
    return Finding("PP-DOCUMENT", Verdict.READY, f"one document comes {value}", value=value, how="a document")


def bare_values(seen: PassportalSeen) -> Finding | None:
    """Return whether some values come bare."""
    elements = [
        element
        for row, _ in seen.documents.values()
        for key, element in _details(row).items()
        if key not in {"name", "tags"} and element is not None
    ]
    if not elements:
        return None
    filled = [element for element in elements if element is not None]
    bare = any(not isinstance(element, dict) or isinstance(element.get("value"), str) for element in filled)
    value = "some bare" if bare else "as objects"
    return Finding("PP-VALUES", Verdict.READY, f"values come {value}", value=value, how=f"{len(elements)} fields")


def blanks(seen: PassportalSeen) -> Finding | None:
    """Return that fields without a value are shown; nothing where none is seen."""
    shown = [kind for kind, (row, _) in seen.documents.items() if encoding.decoded_document(row).shows_blanks]
    if not shown:
        return None
    return Finding("PP-BLANKS", Verdict.READY, "empty fields are shown", value="shown", how=f"{', '.join(shown)}")


def foreign_ids(seen: PassportalSeen) -> Finding | None:
    """Return that another integration writes ids into documents."""
    found = {
        kind: str(document.values.get(encoding.KIND_LABEL))
        for kind, (row, _) in seen.documents.items()
        if (document := encoding.decoded_document(row)).marker is None
        and document.values.get(encoding.KIND_LABEL)
        and document.values.get(encoding.ID_LABEL)
    }
    if not found:
        return None
    who = printable(next(iter(found.values())), 40)
    text = f"Another integration writes here: {', '.join(found)} documents carry an ID of {who}."
    step = "Two writers make duplicates: switch the other sync off before the first load."
    return Finding("PP-FOREIGN", Verdict.DECIDE, text, step, is_short=True)


def forms_of_writes(settings: Settings, seen: PassportalSeen) -> Finding | None:
    """Return whether the settings write as the tenant's description of its API says."""
    found = _described(seen)
    if found is None:
        return None
    stated = {
        "PASSPORTAL_BODY": (found.body, settings.passportal_body),
        "PASSPORTAL_VALUES": (found.values, settings.passportal_values),
        "PASSPORTAL_UPDATE": (found.update, settings.passportal_update),
    }
    value = ", ".join(f"{name.removeprefix('PASSPORTAL_').lower()} {it}" for name, (it, _) in stated.items() if it)
    if not value:
        return None
    wrong = [f"{name}={it}" for name, (it, ours) in stated.items() if it and it != ours]
    how = "the tenant's page about its API"
    if wrong:
        text = f"The tenant's page about its API says otherwise than the settings: {value}."
        return Finding("PP-WRITES", Verdict.DECIDE, text, f"Set {' '.join(wrong)}", value, how, is_short=True)
    return Finding("PP-WRITES", Verdict.READY, f"writes fit the tenant's page about its API: {value}", "", value, how)


def other_calls(seen: PassportalSeen) -> Finding | None:
    """Return the calls of the tenant's description unknown to this program."""
    found = _described(seen)
    if found is None or not found.other_calls:
        return None
    value = ", ".join(found.other_calls)[:300]
    text = f"the tenant's API has more calls: {printable(value, 100)}"
    return Finding("PP-MORE-CALLS", Verdict.READY, text, value=value, how="the tenant's page about its API")


def users_file(settings: Settings) -> Finding:
    """Return whether the exported file of users is there, and how old it is."""
    file = settings.passportal_users_file
    step = "Export the users in Passportal (Settings > Import / Export), and set PASSPORTAL_USERS_FILE."
    if file is None:
        text = "Users cannot be matched: the API does not list them, and no exported file is named."
        return Finding("PP-USERS", Verdict.DECIDE, text, step)
    try:
        age = (datetime.now().astimezone() - datetime.fromtimestamp(file.stat().st_mtime).astimezone()).days
    except OSError:
        return Finding("PP-USERS", Verdict.BLOCKED, f"The file of users {file} cannot be read.", step)
    if age > OLD_FILE_DAYS:
        return Finding("PP-USERS", Verdict.DECIDE, f"The file of users is {age:,} days old.", step)
    return Finding("PP-USERS", Verdict.READY, f"the file of users is {age} days old")


# Reading the answers


def _goes_on(seen: PassportalSeen) -> bool:
    """Return whether page 2 of assets has others than page 1."""
    first, second = seen.pages.get("asset"), seen.pages.get("assets, page 2")
    return first is not None and second is not None and not set(second.ids) <= set(first.ids)


def _encoding(code: str, what: str, texts: Sequence[str]) -> Finding | None:
    """Return whether texts come encoded: proved by a text that encoding changes."""
    bare = any(re.search(r"[\s<>]|&(?!(?:#\d+|#[xX][0-9a-fA-F]+|\w+);)", text) for text in texts)
    coded = [text for text in texts if encoding.decoded_name(text) != text]
    if not bare and not coded:
        return None
    by_url = any(unquote(text) != text for text in coded) and not bare
    by_html = any(encoding.decoded_name(text) != unquote(text) for text in coded)
    value = (
        " and ".join(kind for kind, found in (("URL-encoded", by_url), ("HTML-encoded", by_html)) if found) or "plain"
    )
    return Finding(code, Verdict.READY, f"{what} come {value}", value=value, how=f"{len(texts)} texts")


def _templates(seen: PassportalSeen, kind: str) -> list[_Template]:
    """Return the templates of a type, that with most documents first."""
    names: dict[str, str] = {}
    for row in seen.rows(kind):
        names.setdefault(template_of(row), str(row.get("templateName") or ""))
    counts = Counter(template_of(row) for row in seen.rows(kind))
    return [_Template(number, names[number], count) for number, count in counts.most_common()]


def _chosen_template(settings: Settings, kind: str, found: Sequence[_Template]) -> _Template | None:
    """Return the template of new documents; None where it cannot tell."""
    pairs = [pair.partition("=") for pair in settings.passportal_templates.split(",")]
    chosen = next((encoding.template_id(uid.strip()) for name, _, uid in pairs if name.strip() == kind), None)
    if chosen is not None:
        return next((template for template in found if template.id == chosen), _Template(chosen, "", 0))
    default = folded_label(DEFAULT_TEMPLATES[kind])
    named = next((template for template in found if folded_label(template.name) == default), None)
    return named or (found[0] if len(found) == 1 else None)


def _details(row: Row) -> Mapping[str, object]:
    details = row.get("details")
    return details if isinstance(details, dict) else {}


def _described(seen: PassportalSeen) -> Described | None:
    return None if seen.api_page is None else described(seen.api_page)


def passportal_checks(settings: Settings, mapping: FieldMapping = DEFAULT) -> list[Check[PassportalSeen]]:
    """Return every check of Passportal, the most important first."""
    asset = ("asset",)
    of_types = [
        check
        for kind in KINDS
        for check in (
            Check(f"PP-NEW-{kind.upper()}", partial(templates, settings, mapping, kind), (kind,)),
            Check(f"PP-FIELDS-{kind.upper()}", partial(fields_of, settings, mapping, kind), (kind, f"a {kind}")),
        )
    ]
    return [
        Check("PP-KEY", signed_in),
        Check("PP-CLIENTS", partial(clients, settings), ("clients",)),
        Check("PP-DOCUMENTS", documents, tuple(KINDS)),
        Check("PP-FOREIGN", foreign_ids),
        *of_types,
        Check("PP-USERS", lambda _: users_file(settings)),
        Check("PP-TWINS", twins),
        Check("PP-UNREADABLE", unreadable_documents),
        Check(
            "PP-WRITES",
            partial(forms_of_writes, settings),
            (),
            "in which form Passportal takes writes → the first new document goes out alone and is read back",
        ),
        Check("PP-CUSTOM-ID", partial(custom_id, settings)),
        Check("PP-CAP", list_cap, asset),
        Check("PP-END", end_of_lists),
        Check("PP-PATH", list_path, asset),
        Check("PP-ORDER", order, (*asset, "the newest asset")),
        Check("PP-NAMES", names_of_clients, ("clients",)),
        Check("PP-TITLES", titles),
        Check("PP-DETAILS", form_of_documents),
        Check("PP-DOCUMENT", place_of_document),
        Check("PP-VALUES", bare_values),
        Check("PP-BLANKS", blanks),
        Check("PP-TEMPLATE-IDS", template_ids),
        Check("PP-STAMPS", stamps),
        Check("PP-SUCCESS", success),
        Check("PP-SIGN-IN", sign_in),
        Check("PP-TOKEN", token),
        Check("PP-MORE-CALLS", other_calls),
        Check(
            "PP-LIMIT",
            lambda _: None,
            (),
            "Passportal's limit of calls, which no page states → few calls at once, and a pause at HTTP 429",
        ),
    ]
