"""Every answer of the sandbox is one that the vendor's document allows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bms_pipeline_tests.contract.document import document, on_the_wire, operation, violations
from bms_pipeline_tests.sandbox.calling import Caller, caller
from bms_sandbox.bms_service import FILTERS, ROUTES
from bms_sandbox.tenant import Tenant, generate

LISTS = [route for route in ROUTES if "PageNumber" in operation(route.method, route.path).get("query", {})]


@pytest.fixture(scope="module")
def tenant() -> Tenant:
    return generate("small", 1)


@pytest.fixture(scope="module")
def bms(tenant: Tenant) -> Caller:
    return caller(tenant, hourly_limit=None)


def paths(template: str, tenant: Tenant) -> Iterator[str]:
    """Every address that the template stands for in this tenant; for assets some."""
    accounts = [json.loads(row) for row in tenant.rows["accounts"]]
    if "{locationId}" in template:
        for account in accounts:
            for location in account["locations"] or []:
                yield template.replace("{accountId}", str(account["id"])).replace("{locationId}", str(location["id"]))
    elif "{" in template:
        name = next(each for each in ("hardwareasset", "contacts", "accounts") if each in template)
        rows = tenant.rows["assets" if name == "hardwareasset" else name][:40]
        for row in rows:
            yield template.partition("{")[0] + str(json.loads(row)["id"]) + template.partition("}")[2]
    else:
        yield template


@pytest.mark.parametrize("route", [each for each in ROUTES if each.method == "GET"], ids=lambda each: each.path)
def test_answers_are_what_the_document_says(route: Any, bms: Caller, tenant: Tenant) -> None:
    kind = operation(route.method, route.path)["answer"]
    for path in paths(route.path, tenant):
        answer = bms.get(path)
        assert answer.status_code == 200
        found = list(violations(answer.json(), kind))
        assert found == [], path


@pytest.mark.parametrize("route", LISTS, ids=lambda each: each.path)
def test_every_record_of_every_page_is_what_the_document_says(route: Any, bms: Caller) -> None:
    kind = operation(route.method, route.path)["answer"]
    number = 1
    rows: list[dict[str, Any]] = [{}]
    while rows:
        answer = bms.get(route.path, {"PageSize": 100, "PageNumber": number}).json()
        assert list(violations(answer, kind)) == []
        rows, number = answer["result"], number + 1
    assert number > 2


def test_tokens_and_refusals_are_what_the_document_says(bms: Caller) -> None:
    good, bad = bms.log_in().json(), bms.log_in(Password="wrong").json()
    assert list(violations(good, "TokenOutputDtoResponse")) == []
    assert list(violations(bad, "TokenOutputDtoResponse")) == []
    assert list(violations(bad["error"], "ErrorInfo")) == []


def test_every_documented_operation_is_served_and_no_other() -> None:
    assert {route.template for route in ROUTES} == set(document()["operations"])


@pytest.mark.parametrize("route", LISTS, ids=lambda each: each.path)
def test_every_documented_parameter_is_accepted(route: Any, bms: Caller) -> None:
    examples = {"string": "Id", "integer/int32": "1", "boolean": "true", "string/date-time": "2025-01-01T00:00:00"}
    for name, kind in operation(route.method, route.path)["query"].items():
        value = "1,2" if name.endswith("Ids") else examples[kind.removesuffix("[]")]
        assert bms.get(route.path, {name: value}).status_code == 200, name


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("accounts", "/v2/crm/accounts/summary"),
        ("contacts", "/v2/crm/contacts/summary"),
        ("employees", "/v2/hr/employees/searchselect"),
        ("assets", "/v2/servicedesk/hardwareasset/searchselect"),
    ],
)
def test_the_sandbox_has_no_filter_of_its_own(name: str, path: str) -> None:
    declared = {each.removeprefix("Filter.") for each in operation("GET", path)["query"]}
    assert set(FILTERS[name]) <= declared
    # No list row says what an asset's description is, so this filter alone is accepted and ignored.
    assert {
        each for each in declared - set(FILTERS[name]) if each not in {"Sort", "Exclude", "PageSize", "PageNumber"}
    } <= {"Description"}


@pytest.mark.parametrize(
    ("spelled", "wire"),
    [
        ("IPAddress", "ipAddress"),
        ("SLAId", "slaId"),
        ("Id", "id"),
        ("DHCPEnabled", "dhcpEnabled"),
        ("NewTicketingUI", "newTicketingUI"),
    ],
)
def test_names_on_the_wire_are_camel_case(spelled: str, wire: str) -> None:
    assert on_the_wire(spelled) == wire


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ({"id": 1, "name": "x", "accountId": 2, "isMain": True}, "AccountLocationLookupOutputDto", []),
        (
            {"id": 1, "name": 5, "accountId": None, "more": 1},
            "AccountLocationLookupOutputDto",
            [".accountId", ".isMain", ".more", ".name"],
        ),
        ("yesterday", "string/date-time", [""]),
        (2**31, "integer/int32", [""]),
    ],
)
def test_the_check_itself_sees_what_is_wrong(value: Any, kind: str, expected: list[str]) -> None:
    assert sorted(each.partition(":")[0].removeprefix("$") for each in violations(value, kind)) == expected
