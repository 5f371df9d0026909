"""One page, one record: what is read, and what is never taken for an answer."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug import Request, Response

from bms_pipeline.bms.client import AccountType, BmsClient
from bms_pipeline.core.entities import ACCOUNTS, ASSETS_LIST, CONTACTS_LIST
from bms_pipeline.core.errors import (
    AccessRefused,
    AnswerUnreadable,
    BudgetExhausted,
    CertificateRefused,
    PipelineError,
    RedirectRefused,
    RequestRefused,
    ServiceUnreachable,
    SettingsError,
)
from bms_pipeline_tests.bms.conftest import FakeBms, answer, refusal, text

Connect = Callable[..., BmsClient]


def always(response: Response) -> Callable[[Request], Response]:
    return lambda _: response


def raw(result: str, **more: Any) -> Response:
    rest = "".join(f',"{key}":{json.dumps(value)}' for key, value in more.items())
    return text(f'{{"success":true,"error":null,"result":{result}{rest}}}')


# --- a page -------------------------------------------------------------------------------------------------------


def test_records_come_through_byte_for_byte(bms: FakeBms, connect: Connect) -> None:
    array = '[ {"id": 3, "x" : 1.50, "name":"Zoë \\u00e9"} ,{"id":9,"x":[null]}]'
    bms.before[ACCOUNTS.path] = always(raw(array, totalRecords=2))
    page = connect().page(ACCOUNTS, 1)
    assert (page.records, page.ids, page.total, page.rows) == (array.encode(), [3, 9], 2, 2)


def test_what_is_asked_for(bms: FakeBms, connect: Connect) -> None:
    connect().page(ACCOUNTS, 4, {"ModifiedOnFrom": "2027-01-01T00:00:00"})
    path, asked, token = bms.asked[-1]
    assert path == ACCOUNTS.path
    assert asked == {
        "PageSize": "100",
        "PageNumber": "4",
        "Sort": "Id",
        "Filter.ModifiedOnFrom": "2027-01-01T00:00:00",
    }
    assert token == f"Bearer {bms.token}"


def test_an_empty_page_is_one_that_bms_sent(bms: FakeBms, connect: Connect) -> None:
    page = connect().page(ACCOUNTS, 2)
    assert (page.records, page.ids, page.rows) == (b"[]", [], 0)


@pytest.mark.parametrize(
    "body",
    [
        '{"Success":true,"Error":null,"Result":[{"Id":3},{"Id":9}],"TotalRecords":2}',
        '\ufeff{"success":true,"result":[{"id":3},{"id":9}],"totalRecords":2}',
        '{"totalRecords":2,"result":[{"id":3},{"id":9}],"success":true}',
    ],
)
def test_keys_in_any_case_and_order(body: str, bms: FakeBms, connect: Connect) -> None:
    bms.before[ACCOUNTS.path] = always(text(body))
    page = connect().page(ACCOUNTS, 1)
    assert (page.ids, page.total) == ([3, 9], 2)


def test_a_compressed_page(bms: FakeBms, connect: Connect) -> None:
    body = gzip.compress(b'{"success":true,"result":[{"id":5}]}')
    bms.before[ASSETS_LIST.path] = always(text(body, Content_Encoding="gzip"))
    page = connect().page(ASSETS_LIST, 1)
    assert (page.ids, page.total) == ([5], None)


NOT_AN_ANSWER = {
    "HTML": ("<!doctype html><html><head><title> Log\n In </title></head></html>", "an HTML page titled “Log In”"),
    "HTML without title": ("<html></html>", "an HTML page instead"),
    "not JSON": ("Hello", "not valid JSON"),
    "null": ("null", "not valid JSON"),
    "an array": ("[]", "not valid JSON"),
    "success as text": ('{"success":"true","result":[]}', "neither success nor failure"),
    "failure as text": ('{"success":"false","result":[]}', "neither success nor failure"),
    "success as number": ('{"success":1,"result":[]}', "neither success nor failure"),
    "no success": ('{"result":[]}', "neither success nor failure"),
    "result null": ('{"success":true,"result":null}', "null where the records should be"),
    "no result": ('{"success":true}', "null where the records should be"),
    "result an object": ('{"success":true,"result":{}}', "no list where the records should be"),
    "result a text": ('{"success":true,"result":"[]"}', "no list where the records should be"),
}


@pytest.mark.parametrize(("body", "said"), NOT_AN_ANSWER.values(), ids=NOT_AN_ANSWER.keys())
def test_nothing_unreadable_is_ever_no_records(body: str, said: str, bms: FakeBms, connect: Connect) -> None:
    bms.before[ACCOUNTS.path] = always(text(body))
    with pytest.raises(AnswerUnreadable, match=said) as caught:
        connect().page(ACCOUNTS, 1)
    assert "page 1 of accounts" in str(caught.value)
    assert caught.value.next_step


NO_LIST = {
    "null": answer(None),
    "204": text("", 204),
    "400": refusal("Bad page", 400),
    "404": refusal("Page not found", 404),
    "no success": refusal("No records found"),
}


@pytest.mark.parametrize("response", NO_LIST.values(), ids=NO_LIST)
def test_a_later_page_that_is_no_list_is_refused_and_never_an_empty_one(
    response: Response, bms: FakeBms, connect: Connect
) -> None:
    client = connect()
    assert client.page(ASSETS_LIST, 1).refused == ""
    bms.before[ASSETS_LIST.path] = always(response)
    page = client.page(ASSETS_LIST, 2)
    assert (page.rows, page.records) == (0, b"[]")
    assert page.refused
    with pytest.raises((AnswerUnreadable, RequestRefused)):
        client.page(ASSETS_LIST, 1)


def test_null_with_a_total_of_zero_is_an_empty_list(bms: FakeBms, connect: Connect) -> None:
    bms.before[ACCOUNTS.path] = always(answer(None, totalRecords=0))
    page = connect().page(ACCOUNTS, 1)
    assert (page.rows, page.total, page.refused) == (0, 0, "")


SPELLINGS: dict[str, Callable[[str], str]] = {
    "PascalCase": lambda key: key[0].upper() + key[1:],
    "lower case": str.lower,
    "upper case": str.upper,
}


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS)
def test_keys_of_records_are_rewritten_as_they_are_declared(
    spelled: Callable[[str], str], bms: FakeBms, connect: Connect
) -> None:
    def other(value: object) -> object:
        if isinstance(value, dict):
            return {spelled(key): other(inner) for key, inner in value.items()}
        return [other(inner) for inner in value] if isinstance(value, list) else value

    record = {"id": 1, "firstName": 'accountId": "x', "isPoc": False, "emails": [{"id": 2, "emailAddress": "isPoc"}]}
    later = {**record, "id": 2, "phones": [{"phoneType": "Mobile"}]}
    pages = [[record], [later]]
    bms.before[CONTACTS_LIST.path] = lambda request: answer(other(pages[int(request.args["PageNumber"]) - 1]))
    client = connect()
    assert [json.loads(client.page(CONTACTS_LIST, number).records) for number in (1, 2)] == pages


def test_a_declared_key_beside_its_twin_is_left_alone(bms: FakeBms, connect: Connect) -> None:
    record = {"Id": 7, "id": 1, "AccountName": "Zoë"}
    bms.before[ACCOUNTS.path] = always(answer([record]))
    page = connect().page(ACCOUNTS, 1)
    assert (page.ids, json.loads(page.records)) == ([1], [{"Id": 7, "id": 1, "accountName": "Zoë"}])


@pytest.mark.parametrize("body", ["", " ", '{"success":true,"result":[{"id":1'])
def test_an_empty_or_cut_answer_is_asked_for_again(body: str, bms: FakeBms, connect: Connect) -> None:
    bodies = [body, '{"success":true,"result":[{"id":1}]}']
    bms.before[ACCOUNTS.path] = lambda _: text(bodies.pop(0))
    page = connect().page(ACCOUNTS, 1)
    assert (page.ids, page.calls) == ([1], 2)
    bms.before[ACCOUNTS.path] = always(text(body))
    with pytest.raises(AnswerUnreadable):
        connect().page(ACCOUNTS, 1)


@pytest.mark.parametrize(
    "record", ['{"name":"x"}', '{"id":null}', '{"id":"7"}', '{"id":7.5}', '{"id":true}', "5", "null", "[]"]
)
def test_a_record_without_a_whole_number_as_id_names_its_place(record: str, bms: FakeBms, connect: Connect) -> None:
    bms.before[CONTACTS_LIST.path] = always(raw(f'[{{"id":1}},{record},{{"id":2}}]'))
    with pytest.raises(AnswerUnreadable, match=r"page 5 of contacts .* \(record 2 of the page\)"):
        connect().page(CONTACTS_LIST, 5)


# --- hostile records ----------------------------------------------------------------------------------------------

HOSTILE = {
    "NaN": ('{"id":2,"x":NaN}', 2),
    "infinity": ('{"id":2,"x":-Infinity}', 2),
    "nested deeply": ('{"id":2,"x":' + "[" * 50_000 + "]" * 50_000 + "}", 2),
    "lone surrogate": ('{"id":2,"x":"\\ud800"}', 2),
    "lone low surrogate": ('{"id":2,"x":"\\udc00 \\ud83d\\ude00"}', 2),
    "raw control character": ('{"id":2,"x":"a\x01b"}', 2),
    "bad escape": ('{"id":2,"x":"\\q"}', 2),
    "impossible id": ('{"id":' + "9" * 5000 + "}", None),
    "id after a nested one": ('{"x":{"id":77},"y":NaN,"id":2}', 2),
    "no id at all": ('{"x":{"id":77},"y":NaN}', None),
    "old spelling": ('{"Id":2,"x":NaN}', 2),
}


@pytest.mark.parametrize(("record", "number"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_record_is_set_aside_and_the_others_go_on(
    record: str, number: int | None, bms: FakeBms, connect: Connect
) -> None:
    bms.before[ACCOUNTS.path] = always(raw('[{"id":1,"x":"]},{"}, ' + record + ' ,{"id":3}]', totalRecords=3))
    page = connect().page(ACCOUNTS, 1)
    assert (page.ids, page.total, page.rows) == ([1, 3], 3, 3)
    assert json.loads(page.records) == [{"id": 1, "x": "]},{"}, {"id": 3}]
    (bad,) = page.quarantined
    assert (bad.position, bad.id, bad.raw) == (2, number, record.encode())
    assert bad.why


def test_invalid_utf8_is_set_aside(bms: FakeBms, connect: Connect) -> None:
    bms.before[ACCOUNTS.path] = always(text(b'{"success":true,"result":[{"id":1,"x":"\xff"},{"id":2,"x":"\xc3\xa9"}]}'))
    page = connect().page(ACCOUNTS, 1)
    assert (page.ids, [each.id for each in page.quarantined]) == ([2], [1])


def test_harmless_oddities_pass(bms: FakeBms, connect: Connect) -> None:
    array = json.dumps([{"id": 1, "name": "a\0b\u202e<script>'; DROP TABLE"}, {"id": 2, "n": 10**4000}])
    bms.before[ACCOUNTS.path] = always(raw(array))
    page = connect().page(ACCOUNTS, 1)
    assert (page.records, page.quarantined) == (array.encode(), ())


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "response",
    [
        refusal("", 403),
        text("<html>Forbidden</html>", 403),
        refusal("You do not have permission to view this", 200),
        refusal("Access denied", 400),
    ],
)
def test_a_missing_right_names_the_module_and_the_right(response: Response, bms: FakeBms, connect: Connect) -> None:
    bms.before[CONTACTS_LIST.path] = always(response)
    with pytest.raises(AccessRefused, match="module Contacts") as caught:
        connect().page(CONTACTS_LIST, 1)
    assert "the right to view Contacts" in caught.value.next_step


def test_a_failure_inside_a_200_is_a_failure(bms: FakeBms, connect: Connect) -> None:
    bms.before[ACCOUNTS.path] = always(refusal("Something\r\nbroke", 200, 12))
    with pytest.raises(RequestRefused, match=r"page 1 of accounts: Something broke \(12\)"):
        connect().page(ACCOUNTS, 1)


def test_the_services_own_limit_is_an_exhausted_budget(bms: FakeBms, connect: Connect, pauses: list[float]) -> None:
    bms.before[ACCOUNTS.path] = always(text("", 429, Retry_After="86400"))
    with pytest.raises(BudgetExhausted, match="429"):
        connect().page(ACCOUNTS, 1)
    assert pauses == [60, 60, 60]


def test_our_own_limit_stops_before_sending(bms: FakeBms, connect: Connect) -> None:
    client = connect(bms_calls_per_hour=3)
    for _ in range(3):
        client.page(ACCOUNTS, 1)
    with pytest.raises(BudgetExhausted, match="3 of 3"):
        client.page(ACCOUNTS, 1)
    assert bms.count("accounts/summary") == 3
    client.page(CONTACTS_LIST, 1)  # another endpoint


def test_retries_cost_budget(bms: FakeBms, connect: Connect) -> None:
    bms.before[ACCOUNTS.path] = always(text("", 503))
    client = connect()
    with pytest.raises(ServiceUnreachable):
        client.page(ACCOUNTS, 1)
    assert client.budget.usage()[f"GET {ACCOUNTS.path}"]["used"] == 4


def test_a_redirect_names_the_other_host(bms: FakeBms, connect: Connect) -> None:
    bms.before[ACCOUNTS.path] = always(text("", 302, Location="https://login.example/?token=x"))
    with pytest.raises(RedirectRefused, match=r"https://login\.example;"):
        connect().page(ACCOUNTS, 1)


@pytest.mark.parametrize("code", [500, 503])
def test_a_200_which_says_that_the_service_failed_is_asked_again(code: int, bms: FakeBms, connect: Connect) -> None:
    failures = [refusal("Internal error", 200, code)] * 3
    bms.before[ACCOUNTS.path] = lambda request: failures.pop() if failures else None
    assert connect().page(ACCOUNTS, 1).ids == [3, 9]
    bms.before[ACCOUNTS.path] = always(refusal("Internal error", 200, code))
    with pytest.raises(RequestRefused, match=rf"Internal error \({code}\)"):
        connect().page(ACCOUNTS, 1)


# --- Sort ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("response", [refusal("Unknown Sort", 400), refusal("Bad Sort", 200), text("", 500)])
def test_a_service_that_refuses_the_sort_is_read_without(response: Response, bms: FakeBms, connect: Connect) -> None:
    bms.before[ACCOUNTS.path] = lambda request: response if "Sort" in request.args else None
    client = connect()
    assert client.page(ACCOUNTS, 1).ids == [3, 9]
    client.page(ACCOUNTS, 1)
    assert "Sort" not in bms.asked[-1][1]
    asked_with = [args for path, args, _ in bms.asked if path == ACCOUNTS.path and "Sort" in args]
    assert len(asked_with) == (4 if response.status_code == 500 else 1), "it is not asked again"
    client.page(CONTACTS_LIST, 1)
    assert "Sort" in bms.asked[-1][1]


@pytest.mark.parametrize("refused", ["", "2027-01-01T00:00:00"], ids=["any moment", "a moment without zone"])
def test_a_refused_moment_is_sent_with_its_zone_or_left_out(refused: str, bms: FakeBms, connect: Connect) -> None:
    def serve(request: Request) -> Response | None:
        moment = request.args.get("Filter.ModifiedOnFrom")
        return refusal("not a date-time", 422) if moment is not None and moment.startswith(refused) else None

    if refused:
        serve_all = serve
        serve = lambda request: (  # noqa: E731
            None if request.args.get("Filter.ModifiedOnFrom", "").endswith("Z") else serve_all(request)
        )
    bms.before[ACCOUNTS.path] = serve
    client = connect()
    since = {"ModifiedOnFrom": "2027-01-01T00:00:00"}
    assert client.page(ACCOUNTS, 1, since).ids == [3, 9]
    asked = bms.asked[-1][1]
    assert asked.get("Filter.ModifiedOnFrom") == ("2027-01-01T00:00:00Z" if refused else None)
    assert asked["Sort"] == "Id"
    before = len(bms.asked)
    client.page(ACCOUNTS, 1, since)
    assert len(bms.asked) == before + 1, "it is remembered"


@pytest.mark.parametrize("broken", ["{}", '{"success":true,"result":[{"id":1},,]}'])
def test_an_answer_that_is_broken_in_passing_is_asked_for_again(broken: str, bms: FakeBms, connect: Connect) -> None:
    def once_broken(good: object) -> Callable[[Request], Response]:
        answers = [text(broken), answer(good)]
        return lambda _: answers.pop(0)

    types = "/v2/system/accounttypes/lookup"
    bms.before |= {
        ACCOUNTS.path: once_broken([{"id": 1}]),
        ASSET: once_broken({"id": 12}),
        types: once_broken([{"id": 1, "name": "A", "isClient": True}]),
    }
    client = connect()
    assert (client.page(ACCOUNTS, 1).ids, client.page(CONTACTS_LIST, 1).ids) == ([1], [3, 9])
    assert [kind.id for kind in client.account_types()] == [1]
    assert json.loads(client.record(ASSET)) in ({"id": 12}, {})


# --- other reads --------------------------------------------------------------------------------------------------


def test_account_types(bms: FakeBms, connect: Connect) -> None:
    bms.before["/v2/system/accounttypes/lookup"] = always(
        answer([{"id": 1, "name": "Customer", "isClient": True}, {"Id": 2, "IsVendor": True, "IsActive": False}])
    )
    assert connect().account_types() == [
        AccountType(1, "Customer", is_client=True, is_vendor=False, is_active=True),
        AccountType(2, "", is_client=False, is_vendor=True, is_active=False),
    ]


@pytest.mark.parametrize("key", ["isClient", "name"])
def test_account_types_without_a_deciding_field_are_refused(key: str, bms: FakeBms, connect: Connect) -> None:
    kind = {"id": 1, "name": "Customer", "isClient": True, "isActive": True}
    del kind[key]
    bms.before["/v2/system/accounttypes/lookup"] = always(answer([kind]))
    with pytest.raises(AnswerUnreadable, match=f"the account types without the field {key}"):
        connect().account_types()


@pytest.mark.parametrize(
    ("key", "value"),
    [("isClient", "true"), ("isClient", 1), ("isActive", "false"), ("isVendor", 0), ("id", "1"), ("id", 1.0)],
)
def test_account_types_in_which_a_deciding_field_is_of_another_type_are_refused(
    key: str, value: object, bms: FakeBms, connect: Connect
) -> None:
    """Text for a boolean would be read as "no", and every client would be out of scope without a word."""
    kind = {"id": 1, "name": "Customer", "isClient": True, "isVendor": False, "isActive": True, key: value}
    bms.before["/v2/system/accounttypes/lookup"] = always(answer([kind]))
    with pytest.raises(AnswerUnreadable, match=f"as {key}, which decides"):
        connect().account_types()


@pytest.mark.parametrize("result", [None, {}, [], [{"name": "x"}], [5], [{"id": "x"}]])
def test_account_types_that_are_none(result: object, bms: FakeBms, connect: Connect) -> None:
    bms.before["/v2/system/accounttypes/lookup"] = always(answer(result))
    with pytest.raises(AnswerUnreadable):
        connect().account_types()


ASSET = "/v2/servicedesk/hardwareasset/12"


@pytest.mark.parametrize("body", ['{"success":true,"result":{"id":12,"brand":"HP"}}', '{"id":12,"brand":"HP"}'])
def test_a_record_with_and_without_envelope(body: str, bms: FakeBms, connect: Connect) -> None:
    bms.before[ASSET] = always(text(body))
    client = connect()
    assert client.record(ASSET) == b'{"id":12,"brand":"HP"}'
    assert "GET /v2/servicedesk/hardwareasset/{id}" in client.budget.usage()


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (answer(None), AnswerUnreadable),
        (text("[]"), AnswerUnreadable),
        (text("<html>"), AnswerUnreadable),
        (refusal("Asset not found", 404), RequestRefused),
        (refusal("Asset not found", 200), RequestRefused),
        (refusal("", 403), AccessRefused),
    ],
)
def test_a_record_that_cannot_be_read(
    response: Response, error: type[PipelineError], bms: FakeBms, connect: Connect
) -> None:
    bms.before[ASSET] = always(response)
    with pytest.raises(error, match="hardwareasset/12"):
        connect().record(ASSET)


# --- finding the API ----------------------------------------------------------------------------------------------


@pytest.fixture
def candidates(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr("bms_pipeline.bms.client.api_base_candidates", lambda portal, api_url: found)
    return found


def test_the_first_address_that_answers_like_bms(bms: FakeBms, connect: Connect, candidates: list[str]) -> None:
    candidates += ["http://127.0.0.1:9", f"{bms.url}/nothing", bms.url]
    bms.before["/nothing/v2/security/userinfo"] = always(text("<html>not found</html>", 404))
    assert connect().authenticate().api_url == bms.url
    assert [path for path, _, _ in bms.asked if path.endswith("authenticate")] == ["/v2/security/authenticate"], (
        "the password goes to no address that does not answer like BMS"
    )


def test_the_address_is_looked_for_once(bms: FakeBms, connect: Connect, candidates: list[str]) -> None:
    candidates += [f"{bms.url}/nothing", bms.url]
    bms.before["/nothing/v2/security/userinfo"] = always(text("", 404))
    client = connect()
    client.page(ACCOUNTS, 1)
    client.page(ACCOUNTS, 1)
    assert bms.count("/nothing/v2/security/userinfo") == 1


def test_the_most_telling_error_is_raised_when_there_is_none(
    bms: FakeBms, connect: Connect, candidates: list[str]
) -> None:
    candidates += ["http://127.0.0.1:9", bms.url]
    bms.before["/v2/security/userinfo"] = always(text("<html>", 200))
    with pytest.raises(AnswerUnreadable, match="is not the BMS API") as caught:
        connect().authenticate()
    assert "BMS_API_URL" in caught.value.next_step
    candidates[:] = ["http://127.0.0.1:9", bms.url.replace("http:", "https:")]
    with pytest.raises((ServiceUnreachable, CertificateRefused)):
        connect().authenticate()
    candidates[:] = ["https://10.0.0.9", "http://127.0.0.1:9"]
    with pytest.raises(SettingsError, match="BMS_PRIVATE_HOST") as private:
        connect().authenticate()
    assert "10.0.0.9" in str(private.value)


def test_it_is_a_context_manager(connect: Connect) -> None:
    with connect() as client:
        assert client.page(ACCOUNTS, 1).ids == [3, 9]
