"""Whatever a service puts into its answers, every check ends with a finding or with nothing, and never with a crash."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.core.http import Answer
from bms_pipeline.core.settings import Settings
from bms_pipeline.doctor import bms_findings, first_sync, passportal_findings
from bms_pipeline.doctor.bms import LISTS, BmsSeen
from bms_pipeline.doctor.bms_answers import Form, ListAnswer, TotalForm
from bms_pipeline.doctor.checks import judged
from bms_pipeline.doctor.passportal import KINDS, ListEnd, PageAnswer, PassportalSeen

SETTINGS = Settings(_env_file=None)  # type: ignore[call-arg]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
IDS = st.integers(0, 9) | JSON
STAMPS = st.sampled_from(["2026-03-31T22:00:00", "2026-03-31T22:00:00Z", "2026-03-31", "x"]) | JSON


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


ROWS = st.lists(
    objects(id=IDS, accountname=JSON, accounttypeid=JSON, isactive=JSON, modifiedon=STAMPS, emails=JSON,
            locations=st.lists(objects(id=IDS) | JSON, max_size=2) | JSON),
    max_size=7,
)  # fmt: skip


@st.composite
def list_answers(draw: st.DrawFn) -> ListAnswer:
    form = draw(st.sampled_from(Form))
    rows = tuple(draw(ROWS)) if form is Form.ROWS else ()
    number = draw(st.none() | st.integers(0, 40))
    total = TotalForm.NUMBER if number is not None else draw(st.sampled_from(TotalForm))
    return ListAnswer(form, rows, total, number, refusal=draw(st.sampled_from(["", "HTTP 400", "HTTP 500"])))


QUESTIONS = ("by id", "by name", "page 2", "page 0", "last page", "past the end", "in 2099", "in 2099, with a zone",
             "since the newest")  # fmt: skip
BODIES = st.binary(max_size=20) | st.sampled_from(
    [b'{"success":true,"result":{"id":1,"acquisitionDate":5}}', b'{"id":[]}', b"null", b'{"success":1,"result":[]}']
)


@given(
    lists=st.fixed_dictionaries({}, optional={call.name: list_answers() for call in LISTS}),
    accounts=st.fixed_dictionaries({}, optional={question: list_answers() for question in QUESTIONS}),
    user=objects(timestamp=STAMPS, timezonevalue=JSON, olsontimezonename=JSON, fullname=JSON, businessname=JSON,
                 isusersystemadmin=JSON, viewsmenus=st.lists(objects(name=JSON, listingIdEnum=JSON)) | JSON,
                 useraccessrights=st.lists(objects(canModify=JSON, listingIDEnum=JSON)) | JSON),
    date=st.sampled_from(["", "x", "Thu, 26 Nov 2026 12:00:00 GMT", "Thu, 26 Nov 2026 12:00:00"]),
    bodies=st.lists(BODIES, max_size=2),
    pages=st.sampled_from([(1, 1024), (2, 3), (5, 9)]),
)  # fmt: skip
def test_of_bms(
    lists: dict[str, ListAnswer],
    accounts: dict[str, ListAnswer],
    user: dict[str, Any],
    date: str,
    bodies: list[bytes],
    pages: tuple[int, int],
) -> None:
    details = {number: Answer(200, {}, body) for number, body in enumerate(bodies)}
    seen = BmsSeen("https://bms.example", user, 0.0, {"Date": date}, None, (), lists, accounts, pages, None, details)

    findings, _ = judged([*first_sync.size_checks(SETTINGS), *bms_findings.CHECKS], seen, {})

    assert all(finding.text for finding in findings)


PASSPORTAL_ROWS = st.lists(
    objects(id=IDS, name=JSON, label=JSON, client_id=JSON, customId=JSON, templateId=JSON, templateName=JSON,
            accessible=JSON, last_modified=STAMPS),
    max_size=7,
)  # fmt: skip
DETAILS = st.dictionaries(
    st.sampled_from(["name", "tags", "0", "1", "notes", "serial_number", "id", "integration_type"]),
    JSON | objects(name=JSON, value=JSON | objects(type=JSON, text=JSON, id=JSON), attribute=JSON),
)
PAGES = ("clients", "clients, page 2", "assets, page 2", "the newest asset", "all documents", *KINDS)


@st.composite
def page_answers(draw: st.DrawFn) -> PageAnswer:
    end = draw(st.sampled_from(ListEnd))
    rows = tuple(draw(PASSPORTAL_ROWS)) if end is ListEnd.ROWS else ()
    return PageAnswer(rows, end, draw(st.booleans()), draw(st.sampled_from([200, 404])))


@given(
    pages=st.fixed_dictionaries({}, optional={name: page_answers() for name in PAGES}),
    documents=st.fixed_dictionaries(
        {}, optional={kind: objects(id=IDS, details=DETAILS | JSON, templateName=JSON) for kind in KINDS}
    ),
    body=objects(results=JSON, document=JSON),
    api_page=st.none() | st.fixed_dictionaries({"paths": st.dictionaries(st.text(max_size=5), JSON, max_size=3)}),
)
def test_of_passportal(
    pages: dict[str, PageAnswer], documents: dict[str, dict[str, Any]], body: dict[str, Any], api_page: Any
) -> None:
    seen = PassportalSeen("https://passportal.example", pages=pages, api_page=api_page)
    seen.documents = {kind: (document, body) for kind, document in documents.items()}

    findings, _ = judged(passportal_findings.passportal_checks(SETTINGS), seen, {})

    assert all(finding.text for finding in findings)
