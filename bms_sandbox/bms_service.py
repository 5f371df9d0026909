"""The answers of the stand-in for BMS: one method per kind of call, and the rules for every call.

Paths, parameters and shapes are those of the vendor's document; the contract tests hold them to it. Where the document
is silent (status of a wrong password, answer to an unknown id, comparison of text filters) the choice is a guess,
listed in ``docs/api_facts.md`` or switched in ``Behaviour``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bms_sandbox import listing as by
from bms_sandbox.asset_detail import asset_detail
from bms_sandbox.behaviour import Behaviour, Fault, FaultsDue
from bms_sandbox.clock import Clock
from bms_sandbox.faults import EFFECTS, NO_EFFECT, Effect, Reply, envelope, refusal
from bms_sandbox.limit import HourlyLimit
from bms_sandbox.listing import BadQuery, Filter, Listing, Page
from bms_sandbox.mutate import Mutations, mutate
from bms_sandbox.records import Account, Asset, LocationLookup, UserInfo
from bms_sandbox.security import TENANT, Session, Sessions, iso, tokens
from bms_sandbox.tenant import Tenant

SECURITY_ERROR = 978001
_NOT_FOUND = 404
_STAMPED = {
    "CreatedOnFrom": Filter("createdOn", by.not_before),
    "CreatedOnTo": Filter("createdOn", by.not_after),
    "ModifiedOnFrom": Filter("modifiedOn", by.not_before),
    "ModifiedOnTo": Filter("modifiedOn", by.not_after),
    "IsActive": Filter("isActive", by.truth_value),
}
FILTERS: dict[str, dict[str, Filter]] = {
    "accounts": {
        **_STAMPED,
        "AccountName": Filter("accountName", by.containing),
        "AccountCode": Filter("accountCode", by.containing),
        "AccountTypeId": Filter("accountTypeId", by.equal_number),
        "AccountTypeName": Filter("accountType", by.containing),
    },
    "contacts": {
        **_STAMPED,
        "AccountId": Filter("accountId", by.equal_number),
        "AccountName": Filter("accountName", by.containing),
        "FirstName": Filter("firstName", by.containing),
        "LastName": Filter("lastName", by.containing),
        "Phone": Filter("phones", by.in_any_entry("phone")),
        "Email": Filter("emails", by.in_any_entry("emailAddress")),
    },
    "employees": {
        "Ids": Filter("id", by.one_of_numbers),
        "Filter_Text": Filter("lastName", by.containing),
        "IsActive": Filter("isActive", by.truth_value),
    },
    "assets": {
        "CategoryIds": Filter("categoryId", by.one_of_numbers),
        "AssetName": Filter("assetName", by.containing),
        "MachineGroupId": Filter("machineGroupId", by.containing),
        "LocationName": Filter("locationName", by.containing),
        "SerialNumber": Filter("serialNumber", by.containing),
        "IPAddress": Filter("ipAddress", by.containing),
        "AccountId": Filter("accountId", by.equal_number),
        "ContactId": Filter("contactId", by.equal_number),
        "ContactName": Filter("contactName", by.containing),
        "ExcludedId": Filter("id", by.other_number),
        "IsActive": Filter("isActive", by.truth_value),
    },
}


@dataclass
class Call:
    """One call being answered."""

    behaviour: Behaviour
    query: Mapping[str, str]
    path: Mapping[str, Any]
    form: Mapping[str, str] = field(default_factory=dict)
    session: Session | None = None
    fault: Fault | None = None
    effect: Effect = NO_EFFECT

    @classmethod
    async def read(cls, request: Request, behaviour: Behaviour) -> Call:
        """Read the call from ``request``; names of parameters and form fields in lower case."""
        query = parse_qsl(request.scope["query_string"].decode("latin-1"))
        call = cls(behaviour, {name.casefold(): text for name, text in query}, request.path_params)
        if request.method == "POST":
            async with request.form() as form:
                call.form = {name.casefold(): str(text) for name, text in form.items()}
        return call

    def spoil(self, page: Page) -> list[bytes]:
        """Return the rows of ``page``, after the due fault."""
        return page.rows if self.fault is None else self.effect.on_page(page, self.fault)

    def enveloped(self, result: bytes, total: int | None = None) -> Reply:
        """Return a good answer."""
        return Reply(envelope(result, total=total, pascal=self.behaviour.pascal_case_envelope))


@dataclass(frozen=True)
class VendorRoute:
    """One operation of the vendor's API."""

    method: str
    path: str
    answer: Callable[[BmsService, Call], Reply]
    public: bool = False

    @property
    def template(self) -> str:
        """The key of the hourly limit."""
        return f"{self.method} {self.path}"


class BmsService:
    """The service of one tenant."""

    def __init__(self, tenant: Tenant, behaviour: Behaviour, clock: Clock) -> None:
        self.tenant = tenant
        self.clock = clock
        self.limit = HourlyLimit(clock)
        self.failed = 0
        self._sessions = Sessions(clock)
        self.behave(behaviour)

    def behave(self, behaviour: Behaviour) -> None:
        """Set the behaviour from now on; the counts of the faults start at zero."""
        self.behaviour = behaviour
        self.listings = self._shown()
        self._faults = FaultsDue(behaviour.faults, behaviour.failing_share, behaviour.failing_seed)

    def _shown(self) -> dict[str, Listing]:
        """Return the lists as this behaviour shows them."""
        step = 2 if self.behaviour.halved else 1
        shown = {name: rows[::step] if step > 1 else rows for name, rows in self.tenant.rows.items()}
        return {name: Listing(rows, FILTERS[name]) for name, rows in shown.items()}

    def mutate(self, seed: int, hours: float = 24) -> Mutations:
        """Let hours pass in the tenant."""
        mutations = mutate(self.tenant, seed, hours=hours)
        self.tenant.save_rows()
        self.listings = self._shown()
        return mutations

    def endpoint(self, route: VendorRoute) -> Callable[[Request], Awaitable[Response]]:
        """Return the handler of ``route``: it counts, delays, limits, authorises, answers, and applies due faults."""

        async def dated(request: Request) -> Response:
            response = await handle(request)
            response.headers["date"] = formatdate(self.clock(), usegmt=True)
            return response

        async def handle(request: Request) -> Response:
            behaviour = self.behaviour
            number = self.limit.count(route.template)
            call = await Call.read(request, behaviour)
            if behaviour.latency_seconds:
                await asyncio.sleep(behaviour.latency_seconds)
            call.fault = self._faults.at(route.template, number)
            if call.fault is None:
                return self._reply(route, call, request).response()
            self.failed += 1
            call.effect = EFFECTS[call.fault.kind]
            reply = self._reply(route, call, request)
            if call.fault.kind == "status" and call.fault.status in {429, 503}:
                reply = Reply(reply.body, reply.status, self._retry_after(60))
            return call.effect.on_reply(reply, call.fault)

        return dated

    def _reply(self, route: VendorRoute, call: Call, request: Request) -> Reply:
        wait = self.limit.wait(route.template, call.behaviour.hourly_limit)
        if wait:
            return refusal(429, 429, "API calls quota exceeded.", self._retry_after(wait))
        if not route.public:
            call.session = self._sessions.state(request.headers.get("authorization", ""))
            if call.session is None:
                return refusal(401, SECURITY_ERROR, "Security Error")
            if self._sessions.expired(call.session):
                return refusal(401, SECURITY_ERROR, "Security Error", {"token-expired": "true"})
        try:
            return route.answer(self, call)
        except BadQuery as error:
            return refusal(400, 400, str(error))

    def _retry_after(self, wait: float) -> dict[str, str]:
        texts = {
            "seconds": str(int(wait) + 1),
            "date": formatdate(self.clock() + wait, usegmt=True),
            "garbage": "in a while",
            "huge": "999999999999",
        }
        kind = self.behaviour.retry_after
        return {} if kind is None else {"retry-after": texts[kind]}

    # Security

    def authenticate(self, call: Call) -> Reply:
        """``POST /v2/security/authenticate``."""
        return self._tokens(call, self._sessions.log_in(call.form, call.behaviour.token_lifetime_seconds))

    def refresh_token(self, call: Call) -> Reply:
        """``POST /v2/security/refreshtoken``: both tokens are replaced."""
        return self._tokens(call, self._sessions.refresh(call.form, call.behaviour.token_lifetime_seconds))

    def _tokens(self, call: Call, session: Session | str) -> Reply:
        if isinstance(session, str):
            return refusal(int(call.behaviour.wrong_password), SECURITY_ERROR, session)
        return call.enveloped(tokens(session, zoned=call.behaviour.zoned_expiry).encode())

    def user_info(self, call: Call) -> Reply:
        """``GET /v2/security/userinfo``."""
        user = call.session.user if call.session else ""
        info = UserInfo(
            user_id=1,
            full_name=user.replace(".", " ").title(),
            email_address=f"{user}@sandbox-msp.example",
            time_stamp=iso(self.clock(), zoned=False),
            time_zone_value=-5.0,
            time_zone_name="Eastern Standard Time",
            olson_time_zone_name="America/New_York",
            tenant_id=call.behaviour.tenant_id,
            business_name=TENANT,
            new_ticketing_ui=True,
            is_user_system_admin=False,
            culture_code="en-US",
            currency_code="USD",
        )
        return call.enveloped(info.encode())

    # Lists

    def list_accounts(self, call: Call) -> Reply:
        """``GET /v2/crm/accounts/summary``."""
        return self._list("accounts", call)

    def list_contacts(self, call: Call) -> Reply:
        """``GET /v2/crm/contacts/summary``."""
        return self._list("contacts", call)

    def list_employees(self, call: Call) -> Reply:
        """``GET /v2/hr/employees/searchselect``."""
        return self._list("employees", call)

    def list_assets(self, call: Call) -> Reply:
        """``GET /v2/servicedesk/hardwareasset/searchselect``: the one list without a total."""
        return self._list("assets", call, has_total=False)

    def _list(self, name: str, call: Call, *, has_total: bool = True) -> Reply:
        listing = self.listings[name]
        query = self._understood(call)
        if call.fault is not None:
            call.effect.on_listing(listing, query, call.fault)
        page = listing.page(query)
        total = page.total if has_total and call.behaviour.page_totals else None
        return call.enveloped(b"[%b]" % b",".join(call.spoil(page)), total)

    def _understood(self, call: Call) -> Mapping[str, str]:
        """Return the query as this behaviour takes it."""
        account = "filter.accountid"
        if account not in call.query or call.behaviour.account_filter == "honoured":
            return call.query
        if call.behaviour.account_filter == "refused":
            raise BadQuery("The filter AccountId is not valid.")
        return {name: text for name, text in call.query.items() if name != account}

    def list_account_types(self, call: Call) -> Reply:
        """``GET /v2/system/accounttypes/lookup``."""
        rows = call.spoil(Page(self.tenant.account_types, len(self.tenant.account_types), None))
        return call.enveloped(b"[%b]" % b",".join(rows))

    def list_locations(self, call: Call) -> Reply:
        """``GET /v2/crm/accounts/{accountId}/locations/lookup``."""
        account = self._account(call)
        if account is None:
            return _unknown("account")
        found = [
            LocationLookup(id=place.id, name=place.location_name, account_id=account.id, is_main=place.is_main)
            for place in account.locations or []
        ]
        return call.enveloped(msgspec.json.encode(found))

    # Single records

    def one_account(self, call: Call) -> Reply:
        """``GET /v2/crm/accounts/summary/{id}``: bare."""
        return self._bare("accounts", call)

    def one_contact(self, call: Call) -> Reply:
        """``GET /v2/crm/contacts/summary/{id}``: bare."""
        return self._bare("contacts", call)

    def _bare(self, name: str, call: Call) -> Reply:
        row = self.listings[name].by_id(call.path["id"])
        return _unknown("record") if row is None else Reply(call.spoil(Page([row], 1, None))[0])

    def one_location(self, call: Call) -> Reply:
        """``GET /v2/crm/accounts/{accountId}/locations/{locationId}``."""
        account = self._account(call)
        for place in (account and account.locations) or []:
            if place.id == call.path["locationId"]:
                return call.enveloped(place.encode())
        return _unknown("location")

    def one_asset(self, call: Call) -> Reply:
        """``GET /v2/servicedesk/hardwareasset/{assetId}``."""
        row = self.listings["assets"].by_id(call.path["assetId"])
        if row is None:
            return _unknown("asset")
        detail = self.tenant.details.get(call.path["assetId"]) or self._detail(row)
        return call.enveloped(call.spoil(Page([detail], 1, None))[0])

    def _detail(self, row: bytes) -> bytes:
        account = self.listings["accounts"].by_id(msgspec.json.decode(row, type=Asset).account_id)
        locations = msgspec.json.decode(account, type=Account).locations if account else None
        return asset_detail(row, {place.location_name: place.id for place in locations or ()}).encode()

    def _account(self, call: Call) -> Account | None:
        row = self.listings["accounts"].by_id(call.path["accountId"])
        return None if row is None else msgspec.json.decode(row, type=Account)


def _unknown(what: str) -> Reply:
    return refusal(_NOT_FOUND, _NOT_FOUND, f"The {what} does not exist.")


ROUTES = (
    VendorRoute("POST", "/v2/security/authenticate", BmsService.authenticate, public=True),
    VendorRoute("POST", "/v2/security/refreshtoken", BmsService.refresh_token, public=True),
    VendorRoute("GET", "/v2/security/userinfo", BmsService.user_info),
    VendorRoute("GET", "/v2/crm/accounts/summary", BmsService.list_accounts),
    VendorRoute("GET", "/v2/crm/accounts/summary/{id}", BmsService.one_account),
    VendorRoute("GET", "/v2/crm/contacts/summary", BmsService.list_contacts),
    VendorRoute("GET", "/v2/crm/contacts/summary/{id}", BmsService.one_contact),
    VendorRoute("GET", "/v2/hr/employees/searchselect", BmsService.list_employees),
    VendorRoute("GET", "/v2/servicedesk/hardwareasset/searchselect", BmsService.list_assets),
    VendorRoute("GET", "/v2/servicedesk/hardwareasset/{assetId}", BmsService.one_asset),
    VendorRoute("GET", "/v2/system/accounttypes/lookup", BmsService.list_account_types),
    VendorRoute("GET", "/v2/crm/accounts/{accountId}/locations/lookup", BmsService.list_locations),
    VendorRoute("GET", "/v2/crm/accounts/{accountId}/locations/{locationId}", BmsService.one_location),
)
