"""Look at BMS: its address and sign-in, the rights, the habits of its lists, and the size of the tenant.

The calls of a wave go out at once::

    sign-in ── user ─┬─ account types                ┌─ accounts: page 2, last, past the end ┐
                     ├─ accounts, contacts, employees ├─ accounts by name, since 2099 …       ├─ pages of assets, halved
                     └─ assets                        └─ details of two assets                ┘
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import msgspec

from bms_pipeline.bms.client import NEWEST_FIRST, USER_INFO, AccountType, BmsClient
from bms_pipeline.bms.envelope import (
    NOT_JSON,
    EnvelopeRefused,
    answer_refusal,
    fields,
    open_envelope,
    refused_call,
    unreadable,
)
from bms_pipeline.bms.login import SignIn
from bms_pipeline.core.entities import ACCOUNTS, ASSETS, ASSETS_LIST, CONTACTS_LIST, EMPLOYEES, DetailCall, ListCall
from bms_pipeline.core.errors import PipelineError, RequestRefused
from bms_pipeline.core.http import Answer
from bms_pipeline.core.settings import Settings
from bms_pipeline.doctor.bms_answers import Form, ListAnswer, ask_list
from bms_pipeline.doctor.bounds import (
    SECONDS_A_CALL,
    TRIES,
    BoundBudget,
    Bounds,
    all_at_once,
    pause,
)

MOST_CALLS = 24
ASKED_SIZE = 500
"""Records asked for in a page: more than any public client asks for, so a smaller page shows the service's maximum."""
FUTURE = "2099-01-01T00:00:00"
LISTS = (ACCOUNTS, CONTACTS_LIST, EMPLOYEES, ASSETS_LIST)
HALVINGS = 5
LARGEST_PAGE = 1024
BEYOND = 9999
"""A page past the end of any list."""
MODIFIED = "Filter.ModifiedOnFrom"
DETAILS = ASSETS.details or DetailCall("", {})


@dataclass
class BmsSeen:
    """The answers of one BMS. ``errors``: question → why it has no answer. A question without either was not asked.

    ``lists``: the first page of each list, in the service's own order. ``accounts``: further answers about accounts, by
    question. ``asset_pages``: a page of assets that has some, and a later one without; ``assets_on_last``: on the
    former, if it is the last.
    """

    url: str = ""
    user: Mapping[str, object] = field(default_factory=dict)
    asked_at: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    sign_in: SignIn | None = None
    types: Sequence[AccountType] = ()
    lists: dict[str, ListAnswer] = field(default_factory=dict)
    accounts: dict[str, ListAnswer] = field(default_factory=dict)
    asset_pages: tuple[int, int] = (1, LARGEST_PAGE)
    assets_on_last: int | None = None
    details: dict[int, Answer] = field(default_factory=dict)
    errors: dict[str, PipelineError] = field(default_factory=dict)


def look_at_bms(settings: Settings, bounds: Bounds) -> BmsSeen:
    """Ask BMS at most ``bounds`` calls. An error ends only the questions that need its answer."""
    seen = BmsSeen()
    budget = BoundBudget.of(settings)
    budget.bounds = bounds
    try:
        with (
            BmsClient(settings, budget=budget, sleep=pause, deadline_seconds=SECONDS_A_CALL, tries=TRIES) as client,
            ThreadPoolExecutor(settings.bms_connections) as pool,
        ):
            _Looking(client, pool, bounds, seen).look()
    except PipelineError as error:
        seen.errors["sign-in"] = error
    finally:
        budget.close()
    return seen


@dataclass
class _Looking:
    client: BmsClient
    pool: ThreadPoolExecutor
    bounds: Bounds
    seen: BmsSeen

    def look(self) -> None:
        """Ask wave by wave."""
        self._sign_in()
        self._at_once({**self._first_pages(), **self._page_of_accounts("by id", PageSize=100, Sort="Id")})
        self._at_once({**self._about_accounts(), **self._details()})
        self._at_once({**self._filter_otherwise(), **self._page_0()})
        self._halve()

    def _at_once(self, questions: Mapping[str, Callable[[], None]]) -> None:
        accounts = self.seen.accounts
        found = all_at_once(self.pool, questions, lambda name: name in accounts and accounts[name].may_pass)
        self.seen.errors.update(found)

    def _sign_in(self) -> None:
        """Sign in and keep the user as BMS describes it."""
        what, seen = "the test of the connection", self.seen
        answer = self.client.ask(USER_INFO, {}, what)
        seen.asked_at = time.time()
        if answer.status != 200:
            raise answer_refusal(answer, what, USER_INFO)
        try:
            user = fields(open_envelope(answer.body, what).result)
            seen.user = {key: msgspec.json.decode(value) for key, value in user.items()}
        except EnvelopeRefused as refused:
            raise refused_call(what, USER_INFO, refused.code, refused.message) from None
        except NOT_JSON:
            raise unreadable(answer.body, what) from None
        seen.headers = answer.headers
        seen.url, seen.sign_in = self.client.api_url, self.client.sign_in

    def _first_pages(self) -> dict[str, Callable[[], None]]:
        """Return the questions for the first page of each list and the account types."""

        def types() -> None:
            self.seen.types = self.client.account_types()

        def first(call: ListCall) -> None:
            page = {"PageSize": ASKED_SIZE, "PageNumber": 1}
            try:
                self.seen.lists[call.name] = ask_list(self.client, call, page, may_refuse=False)
            except RequestRefused as error:
                if type(error) is not RequestRefused:
                    raise
                # It may refuse nothing but the size.
                self.seen.lists[call.name] = ask_list(self.client, call, {**page, "PageSize": 100}, may_refuse=False)

        return {"account types": types, **{call.name: partial(first, call) for call in LISTS}}

    def _page_of_accounts(self, name: str, **params: object) -> dict[str, Callable[[], None]]:
        """Return the question ``name`` for a page of accounts, of the largest size unless ``params`` say otherwise."""

        def ask() -> None:
            page = {"PageSize": ASKED_SIZE, "PageNumber": 1, **params}
            self.seen.accounts[name] = ask_list(self.client, ACCOUNTS, page, may_refuse=True)

        return {name: ask}

    def _about_accounts(self) -> dict[str, Callable[[], None]]:
        """Return the questions about pages, order and filter, where there is an account to show it."""
        first, by_id = self.seen.lists.get(ACCOUNTS.name), self.seen.accounts.get("by id")
        if first is None or not first.rows:
            return {}
        last = last_page(first)
        questions = {
            **self._page_of_accounts("page 2", PageNumber=2),
            **self._page_of_accounts("in 2099", **{MODIFIED: FUTURE}),
        }
        if last > 2:
            questions |= self._page_of_accounts("last page", PageNumber=last)
        if last > 1 or first.number is None or first.number < len(first.rows):
            questions |= self._page_of_accounts("past the end", PageNumber=last + 1 if last > 1 else BEYOND)
        if by_id is not None and by_id.form is Form.ROWS:
            questions |= self._page_of_accounts("by name", PageSize=100, Sort="AccountName")
            questions |= self._page_of_accounts("newest first", PageSize=100, Sort=NEWEST_FIRST)
        return questions

    def _details(self) -> dict[str, Callable[[], None]]:
        """Return the questions for the details of the first and the last asset of the first page."""
        assets = self.seen.lists.get(ASSETS_LIST.name)
        ids = [row.get("id") for row in (assets.rows[:1] + assets.rows[-1:] if assets else ())]

        def ask(asset: int) -> None:
            path = DETAILS.path.replace("{id}", str(asset))
            self.seen.details[asset] = self.client.ask(path, {}, f"the details of asset {asset}")

        return {f"details of asset {asset}": partial(ask, asset) for asset in ids if isinstance(asset, int)}

    def _filter_otherwise(self) -> dict[str, Callable[[], None]]:
        """Where the filter works, return the question whether something passes it; else the one for its other form."""
        answer = self.seen.accounts.get("in 2099")
        if answer is None:
            return {}
        if answer.form is Form.REFUSED:
            return self._page_of_accounts("in 2099, with a zone", **{MODIFIED: f"{FUTURE}Z"})
        stamps = [str(row["modifiedon"]) for row in self.seen.lists[ACCOUNTS.name].rows if row.get("modifiedon")]
        if answer.rows or not stamps:
            return {}
        return self._page_of_accounts("since the newest", **{MODIFIED: max(stamps)[:19]})

    def _page_0(self) -> dict[str, Callable[[], None]]:
        """Return the question for page 0, where a page that must have records has none."""
        first, last = self.seen.lists.get(ACCOUNTS.name), self.seen.accounts.get("last page")
        if first is None or not first.goes_on or (first.rows and (last is None or last.rows)):
            return {}
        return self._page_of_accounts("page 0", PageNumber=0)

    def _halve(self) -> None:
        """Look for the last page of assets, whose list has no total, by halving on a scale of powers."""
        first = self.seen.lists.get(ASSETS_LIST.name)
        if first is None or not first.rows or first.number is not None:
            return
        known = set(first.ids)
        for _ in range(HALVINGS):
            low, high = self.seen.asset_pages
            page = 2 if len(first.rows) < 100 and low == 1 else round(math.sqrt(low * high))
            if not low < page < high:
                return
            try:
                params = {"PageSize": ASKED_SIZE, "PageNumber": page}
                answer = ask_list(self.client, ASSETS_LIST, params, may_refuse=True)
            except PipelineError as error:
                self.seen.errors["pages of assets"] = error
                return
            is_new = not known.issuperset(answer.ids)
            known.update(answer.ids)
            self.seen.asset_pages = (page, high) if is_new else (low, page)
            if is_new and len(answer.rows) < len(first.rows):
                self.seen.asset_pages = (page, page + 1)
                self.seen.assets_on_last = len(answer.rows)


def last_page(first: ListAnswer) -> int:
    """Return the number of the last page by the total; 1 without one."""
    return math.ceil(first.number / len(first.rows)) if first.goes_on and first.number else 1
