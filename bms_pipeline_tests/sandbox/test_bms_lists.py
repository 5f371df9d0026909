"""Paging, order, filters, single reads and the hourly limit."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from bms_pipeline_tests.sandbox.calling import Caller, caller
from bms_sandbox.tenant import Tenant

ACCOUNTS, CONTACTS = "/v2/crm/accounts/summary", "/v2/crm/contacts/summary"
EMPLOYEES, ASSETS = "/v2/hr/employees/searchselect", "/v2/servicedesk/hardwareasset/searchselect"
LISTS = {"accounts": ACCOUNTS, "contacts": CONTACTS, "employees": EMPLOYEES, "assets": ASSETS}


@pytest.fixture(scope="module")
def bms(small: Tenant) -> Caller:
    return caller(small)


def stored(tenant: Tenant, name: str) -> list[dict[str, Any]]:
    return [json.loads(row) for row in tenant.rows[name]]


@pytest.mark.parametrize("name", LISTS)
def test_the_pages_together_are_the_list(bms: Caller, small: Tenant, name: str) -> None:
    read: list[dict[str, Any]] = []
    for number in range(1, 100):
        page = bms.rows(LISTS[name], PageSize=70, PageNumber=number)
        if not page:
            break
        read += page
    assert read == stored(small, name)


def test_no_page_is_longer_than_100(bms: Caller) -> None:
    assert len(bms.rows(ASSETS, PageSize=5000)) == 100


@pytest.mark.parametrize(
    ("name", "has_total"), [("accounts", True), ("contacts", True), ("employees", True), ("assets", False)]
)
def test_all_lists_but_assets_tell_their_total(bms: Caller, small: Tenant, name: str, has_total: bool) -> None:
    answer = bms.get(LISTS[name], {"PageSize": 5}).json()
    assert answer.get("totalRecords") == (len(small.rows[name]) if has_total else None)


def test_totals_can_be_switched_off(small: Tenant) -> None:
    assert "totalRecords" not in caller(small, page_totals=False).get(ACCOUNTS).json()


def test_the_envelope_can_be_pascal_case(small: Tenant) -> None:
    answer = caller(small, pascal_case_envelope=True).get(ACCOUNTS)
    assert set(answer.json()) == {"Success", "Error", "Result", "TotalRecords"}


def test_parameter_names_bind_whatever_their_case(bms: Caller) -> None:
    assert bms.rows(ASSETS, pagesize=3, PAGENUMBER=2, sort="ID") == bms.rows(
        ASSETS, PageSize=3, PageNumber=2, Sort="Id"
    )


def test_sort_orders_by_a_field_and_may_descend(bms: Caller) -> None:
    ids = [each["id"] for each in bms.rows(CONTACTS, Sort="Id")]
    assert ids == sorted(ids)
    assert [each["id"] for each in bms.rows(CONTACTS, Sort="id DESC")] != ids
    stamps = [each["modifiedOn"] or "" for each in bms.rows(CONTACTS, Sort="ModifiedOn desc")]
    assert stamps == sorted(stamps, reverse=True)
    assert [each["id"] for each in bms.rows(CONTACTS)] != ids


@pytest.mark.parametrize("query", [{"PageSize": "many"}, {"Sort": "Nonsense"}, {"Filter.IsActive": "perhaps"}])
def test_a_value_that_cannot_be_read_is_a_bad_request(bms: Caller, query: dict[str, str]) -> None:
    answer = bms.get(CONTACTS, query)
    assert (answer.status_code, answer.json()["success"]) == (400, False)


@pytest.mark.parametrize(
    ("name", "query", "wanted"),
    [
        ("accounts", {"Filter.IsActive": "false"}, lambda each: not each["isActive"]),
        ("accounts", {"Filter.AccountTypeId": "3"}, lambda each: each["accountTypeId"] == 3),
        ("accounts", {"Filter.AccountName": "LTD"}, lambda each: "ltd" in (each["accountName"] or "").casefold()),
        (
            "contacts",
            {"Filter.ModifiedOnFrom": "2024-06-01T00:00:00", "Filter.ModifiedOnTo": "2025-01-01"},
            lambda each: "2024-06-01" <= (each["modifiedOn"] or "") <= "2025-01-01T00:00:00",
        ),
        ("contacts", {"Filter.Email": "private."}, lambda each: "private." in json.dumps(each["emails"])),
        ("employees", {"Filter.Ids": "101,103"}, lambda each: each["id"] in {101, 103}),
        ("assets", {"Filter.CategoryIds": "1,3"}, lambda each: each["categoryId"] in {1, 3}),
        ("assets", {"Filter.IsActive": "false"}, lambda each: not each["isActive"]),
        ("assets", {"Filter.IPAddress": ".117."}, lambda each: ".117." in (each["ipAddress"] or "")),
        ("assets", {"Filter.AccountId": ""}, lambda each: True),
    ],
)
def test_filters_narrow_a_list(bms: Caller, small: Tenant, name: str, query: dict[str, str], wanted: Any) -> None:
    expected = [each["id"] for each in stored(small, name) if wanted(each)]
    assert expected, "the test needs a record that fits"
    assert [each["id"] for each in bms.rows(LISTS[name], **query)] == expected[:100]


@pytest.mark.parametrize("name", ["contacts", "assets"])
def test_an_account_filter_narrows_a_list_to_one_client(bms: Caller, small: Tenant, name: str) -> None:
    account_id = stored(small, name)[0]["accountId"]
    expected = [each for each in stored(small, name) if each["accountId"] == account_id]
    assert bms.rows(LISTS[name], **{"Filter.AccountId": account_id}) == expected[:100]


@pytest.mark.parametrize("name", ["accounts", "contacts"])
def test_a_single_account_or_contact_comes_without_envelope(bms: Caller, small: Tenant, name: str) -> None:
    record = stored(small, name)[3]
    assert bms.get(f"{LISTS[name]}/{record['id']}").json() == record


def test_the_detail_of_an_asset_agrees_with_its_row_and_never_changes(bms: Caller, small: Tenant) -> None:
    row = stored(small, "assets")[7]
    path = f"/v2/servicedesk/hardwareasset/{row['id']}"
    detail = bms.get(path).json()["result"]
    assert (detail["name"], detail["serialNumber"], detail["accountId"]) == (
        row["assetName"],
        row["serialNumber"],
        row["accountId"],
    )
    assert bms.get(path).json()["result"] == detail


def test_locations_can_be_read_one_by_one(bms: Caller, small: Tenant) -> None:
    account = next(each for each in stored(small, "accounts") if each["locations"])
    path = f"/v2/crm/accounts/{account['id']}/locations"
    listed = bms.rows(f"{path}/lookup")
    assert [each["id"] for each in listed] == [each["id"] for each in account["locations"]]
    assert bms.get(f"{path}/{listed[0]['id']}").json()["result"] == account["locations"][0]


@pytest.mark.parametrize(
    "path",
    [
        f"{ACCOUNTS}/999999",
        "/v2/servicedesk/hardwareasset/999999",
        "/v2/crm/accounts/999999/locations/lookup",
        "/v2/crm/accounts/999999/locations/1",
    ],
)
def test_an_unknown_id_is_not_found(bms: Caller, path: str) -> None:
    answer = bms.get(path)
    assert (answer.status_code, answer.json()["success"]) == (404, False)


def test_the_hourly_limit_slides_and_counts_each_route_alone_under_both_prefixes(small: Tenant) -> None:
    bms = caller(small, hourly_limit=3)
    statuses = []
    for path in (ACCOUNTS, f"/api2{ACCOUNTS}", ACCOUNTS, ACCOUNTS):
        statuses.append(bms.get(path).status_code)
        bms.clock.now += 10
    assert statuses == [200, 200, 200, 429]
    assert bms.get(CONTACTS).status_code == 200
    bms.clock.now += 3600 - 40 - 1
    assert bms.get(ACCOUNTS).status_code == 429
    bms.clock.now += 1
    bms.log_in()
    assert [bms.get(ACCOUNTS).status_code for _ in range(2)] == [200, 429]


def test_the_busiest_hour_and_the_refused_calls_are_counted(small: Tenant) -> None:
    bms = caller(small, hourly_limit=3)
    for hour, calls in enumerate((2, 5, 1)):
        bms.post("/sandbox/clock", json={"now": bms.clock.now + hour * 4000})
        bms.log_in()
        for _ in range(calls):
            bms.get(ACCOUNTS)
    figures = bms.get("/sandbox/figures").json()
    assert figures["most_in_an_hour"][f"GET {ACCOUNTS}"] == 3
    assert figures["refused"] == {f"GET {ACCOUNTS}": 2}


def test_all_ids_of_a_route_share_its_limit(small: Tenant) -> None:
    bms = caller(small, hourly_limit=2)
    ids = [each["id"] for each in stored(small, "assets")[:3]]
    assert [bms.get(f"/v2/servicedesk/hardwareasset/{each}").status_code for each in ids] == [200, 200, 429]


@pytest.mark.parametrize("form", [None, "seconds", "date", "garbage", "huge"])
def test_a_429_says_when_to_come_again_in_the_way_that_is_switched_on(small: Tenant, form: str | None) -> None:
    bms = caller(small, hourly_limit=1, retry_after=form)
    bms.get(ACCOUNTS)
    bms.clock.now += 600
    header = bms.get(ACCOUNTS).headers.get("retry-after")
    moment = bms.clock.now + 3000
    if form == "date":
        assert header is not None
        assert abs(parsedate_to_datetime(header).timestamp() - moment) <= 1
    else:
        assert header == {None: None, "seconds": "3001", "garbage": "in a while", "huge": "999999999999"}[form]
