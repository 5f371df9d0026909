"""Read Kaseya BMS over REST v2: sign in, read one page of a list, read single records.

Each guess about the API is a constant or a function of its own, marked [G].
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from threading import Lock
from types import TracebackType
from typing import Literal, Self, TypeVar

import msgspec

from bms_pipeline.bms.address import api_base_candidates
from bms_pipeline.bms.budget import Budget
from bms_pipeline.bms.envelope import (
    NOT_JSON,
    SECURITY_ERROR,
    Envelope,
    EnvelopeRefused,
    answer_refusal,
    fields,
    open_envelope,
    reason_in,
    refused_call,
    unreadable,
)
from bms_pipeline.bms.login import Login, SignIn
from bms_pipeline.bms.spelling import Spelling
from bms_pipeline.bms.sweep.rows import Quarantined, Rows, rows_of, salvaged
from bms_pipeline.core.entities import ListCall, declared_keys
from bms_pipeline.core.errors import (
    AnswerUnreadable,
    CertificateRefused,
    LoginRefused,
    PipelineError,
    RedirectRefused,
    RequestRefused,
    ServiceUnreachable,
    SettingsError,
)
from bms_pipeline.core.http import Answer, Retries, Service
from bms_pipeline.core.settings import BMS_NEEDS, Settings, check_given

PAGE_SIZE = 100
"""Records a page: the size requested by every known client [C] and the maximum on an older vendor page [D]."""
SORT = "Id"
"""``Sort`` is declared [S], its values are guessed [G]. A stated order keeps pages from shifting for no reason."""
NEWEST_FIRST = "-Id"
"""The same order backwards [G]: the form that most APIs take."""
MODIFIED_SINCE = "ModifiedOnFrom"
"""The filter that a service may refuse or want in another form [G]."""
USER_INFO = "/v2/security/userinfo"
ACCOUNT_TYPES = "/v2/system/accounttypes/lookup"

_Read = TypeVar("_Read")
_NUMBER_SEGMENT = re.compile(r"/\d+(?=/|$)")
# Order of preference among the candidates' errors, most helpful first. A certificate to repair helps more than an
# unknown host name, which may simply not exist in an on-prem network.
_TELLING = (SettingsError, CertificateRefused, RedirectRefused, AnswerUnreadable, ServiceUnreachable)


@dataclass(frozen=True)
class Identity:
    """The signed-in user and the API's address [S]. ``time_zone``: the tenant's, as an Olson name if BMS sends one."""

    full_name: str
    business_name: str
    tenant_id: str
    time_zone: str
    api_url: str


@dataclass(frozen=True)
class AccountType:
    """A kind of account [S]: prospects, vendors and the MSP itself are accounts too."""

    id: int
    name: str
    is_client: bool
    is_vendor: bool
    is_active: bool


@dataclass(frozen=True)
class Page:
    """One page of a list. ``records``: the JSON array as it came; ``ids``: the ids of its records, in order.

    ``total``: ``totalRecords`` if the answer has it. ``records`` and ``ids`` exclude the ``quarantined`` records.
    ``calls``: calls made for the page, retries included. ``refused``: the reason why BMS sent no list; the page may be
    past the end.
    """

    number: int
    records: bytes = field(repr=False)
    ids: list[int] = field(repr=False)
    total: int | None = None
    quarantined: tuple[Quarantined, ...] = ()
    calls: int = 1
    refused: str = ""

    @property
    def rows(self) -> int:
        """Number of records sent by BMS, including quarantined ones."""
        return len(self.ids) + len(self.quarantined)


class BmsClient:
    """A signed-in user of one BMS. It signs in on first use; up to ``settings.bms_connections`` threads can share it.

    Every method may raise ``SettingsError``, ``LoginRefused``, ``AccessRefused`` (it names the missing right),
    ``BudgetExhausted``, ``AnswerUnreadable``, ``RequestRefused``, ``CertificateRefused``, ``RedirectRefused`` or
    ``ServiceUnreachable``. ``clock`` and ``sleep`` are for tests. Pass ``budget`` to share one. ``tries``: how often a
    call is made in all while its failure may pass, 2 or more.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        budget: Budget | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        deadline_seconds: float = 60.0,
        tries: int = 4,
    ) -> None:
        self._settings = settings
        self._own_budget = budget is None
        self.budget = budget or Budget.of(settings, clock)
        self._retries = Retries(tries, sleep=sleep, clock=clock)
        self._deadline = deadline_seconds
        self._login = Login(settings, self.budget.take, clock=clock, sleep=sleep)
        self._lock = Lock()
        self._found: Service | None = None
        self._identity: Identity | None = None
        self._habits: dict[tuple[str, frozenset[str]], _Habit] = {}
        self._order: tuple[_Habit, ...] = _HABITS
        self._spellings: dict[str, Spelling] = {}

    def __repr__(self) -> str:
        return f"BmsClient({self._found.base_url if self._found else 'not connected'})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection, and the budget file unless the caller passed it."""
        with ExitStack() as at_the_end:
            if self._own_budget:
                at_the_end.callback(self.budget.close)
            if self._found is not None:
                self._found.close()

    def authenticate(self) -> Identity:
        """Test the connection: find the API, sign in and return the signed-in user."""
        info = fields(self._result(USER_INFO, {}, "the test of the connection").result)
        return identity_in({key: msgspec.json.decode(value) for key, value in info.items()}, self.api_url)

    def identity(self) -> Identity:
        """Return the signed-in user; ask BMS only the first time."""
        if self._identity is None:
            self._identity = self.authenticate()
        return self._identity

    def ask(self, path: str, params: Mapping[str, str], what: str) -> Answer:
        """GET ``path`` with exactly these parameters, and return the answer as it came, a refusal too."""
        return self._asked(path, params, what)[0]

    def leave_out_sort(self) -> None:
        """Try lists without ``Sort`` first, because this service is known not to accept it; each try costs calls."""
        self._order = tuple(sorted(_HABITS, key=lambda habit: habit.sort))

    @property
    def api_url(self) -> str:
        """The API's address; found on first use."""
        return self._service().base_url

    @property
    def sign_in(self) -> SignIn | None:
        """The form of the last sign-in, ``None`` before the first."""
        return self._login.last

    def page(
        self, list_call: ListCall, number: int, filters: Mapping[str, str] | None = None, size: int = PAGE_SIZE
    ) -> Page:
        """Read page ``number`` (from 1) of a list. ``filters``: names without prefix (``{"ModifiedOnFrom": ...}``).

        A page is empty if BMS sends an empty array, or null with a total of 0. If BMS refuses a later page or sends
        null for it, the page is ``refused``: the caller finds out whether the list ends there.
        """
        params = {"PageSize": str(size), "PageNumber": str(number)}
        kind = (list_call.name, frozenset(filters or {}))
        known = self._habits.get(kind)
        if known is not None:
            return self._page(list_call, number, params | known.params(filters or {}))
        usual, *others = self._order
        try:
            page, found = self._page(list_call, number, params | usual.params(filters or {})), usual
        except (RequestRefused, ServiceUnreachable) as error:
            if not _may_be_a_parameter(error):
                raise
            page, found = self._page_otherwise(list_call, number, params, filters or {}, others, error)
        if not page.refused:
            self._habits[kind] = found
        return page

    def _page_otherwise(
        self,
        list_call: ListCall,
        number: int,
        params: Mapping[str, str],
        filters: Mapping[str, str],
        habits: Iterable[_Habit],
        refusal: RequestRefused | ServiceUnreachable,
    ) -> tuple[Page, _Habit]:
        """Read a page with the first of ``habits`` accepted by the service. Raises ``refusal`` if it accepts none."""
        tried: list[Mapping[str, str]] = []
        for habit in habits:
            optional = habit.params(filters)
            if optional not in tried:
                tried.append(optional)
                with suppress(PipelineError):
                    return self._page(list_call, number, {**params, **optional}), habit
            if isinstance(refusal, ServiceUnreachable):
                break  # each question costs four tries when the service fails, so ask only one more
        raise refusal

    def newest(self, list_call: ListCall, number: int) -> Page:
        """Read page ``number`` of a list by falling ids: the newest records first.

        Whether BMS takes that order is not known: check the ids. Raises ``RequestRefused`` where it refuses.
        """
        params = {"PageSize": str(PAGE_SIZE), "PageNumber": str(number), "Sort": NEWEST_FIRST}
        return self._page(list_call, number, params)

    def account_types(self) -> list[AccountType]:
        """Read the kinds of accounts."""
        what = "the account types"
        body = self._result(ACCOUNT_TYPES, {}, what).result
        try:
            found = [{key.lower(): value for key, value in kind.items()} for kind in _objects.decode(body)]
            kinds = [_account_type(kind) for kind in found]
        except _OtherType as error:
            raise AnswerUnreadable(
                f"BMS answered {what} with {error.value!r} as {error.key}, which decides what a client is.",
                "Nothing was replaced. If it stays, its API changed: check for a newer version of this program.",
            ) from None
        except (*NOT_JSON, KeyError):
            raise AnswerUnreadable(
                f"BMS answered {what} with something that is no list of them.",
                "Run again; if it stays, its API changed.",
            ) from None
        if not found:
            raise AnswerUnreadable(
                f"BMS answered {what} with an empty list; they decide what a client is.",
                "Nothing was replaced. Check in BMS that there are account types, and that the user may see them.",
            )
        absent = [key for key in ("name", "isClient") if not any(key.lower() in kind for kind in found)]
        if absent:
            raise AnswerUnreadable(
                f"BMS answered {what} without the field {absent[0]}, which decides what a client is.",
                "Nothing was replaced. If it stays, its API changed: check for a newer version of this program.",
            )
        return kinds

    def single(self, list_call: ListCall, bms_id: int) -> Page:
        """Read one record of a list by its id [S], as a page of this record alone.

        Raises ``RequestRefused`` when BMS has no such record, ``AnswerUnreadable`` when it sends another one.
        """
        what = f"record {bms_id} of {list_call.name}"
        answer = self.record(f"{list_call.path}/{bms_id}")
        try:
            rows = rows_of(self._spelled(list_call, b"[%b]" % answer), what)
        except NOT_JSON:
            raise unreadable(answer, what) from None
        if rows.ids != [bms_id]:
            raise AnswerUnreadable(
                f"BMS answered {what} with record {rows.ids[0]}.",
                "Nothing was stored. Run again; if it stays, show this message to the BMS administrator.",
            )
        return Page(1, rows.records, rows.ids)

    def record(self, path: str) -> bytes:
        """Read one record (``/v2/servicedesk/hardwareasset/7``), bare or enveloped [S], as unchanged JSON.

        The call counts against the route's template, which has ``{id}`` for each number.
        """
        what = _NUMBER_SEGMENT.sub(lambda number: number.group(), path).removeprefix("/v2/")

        def decode(body: bytes, _: int) -> bytes:
            try:
                record = open_envelope(body, what).result if "success" in fields(body) else body
                fields(record)
            except NOT_JSON:
                raise unreadable(body, what) from None
            return record

        return self._read(path, {}, what, decode)

    def _page(self, list_call: ListCall, number: int, params: Mapping[str, str]) -> Page:
        what = f"page {number} of {list_call.name}"

        def decode(body: bytes, calls: int) -> Page:
            envelope, rows = _decoded(body, what, lambda json: self._spelled(list_call, json), may_end=number > 1)
            if rows is None:
                return Page(number, b"[]", [], envelope.total, calls=calls, refused="null instead of a list")
            return Page(number, rows.records, rows.ids, envelope.total, rows.quarantined, calls)

        try:
            return self._read(list_call.path, params, what, decode)
        except RequestRefused as error:
            if number == 1 or type(error) is not RequestRefused:
                raise
            return Page(number, b"[]", [], refused=error.message)

    def _spelled(self, list_call: ListCall, json: bytes) -> bytes:
        """Return records with keys in the declared spelling. The list's first page with records decides it."""
        spelling = self._spellings.get(list_call.name)
        if spelling is None:
            spelling = Spelling(declared_keys(list_call), json)
            if json != b"[]":
                self._spellings[list_call.name] = spelling
        return spelling.declared(json)

    def _read(self, path: str, params: Mapping[str, str], what: str, decode: Callable[[bytes, int], _Read]) -> _Read:
        """GET and decode an answer. Ask again where the failure may be temporary.

        That is once after an unreadable answer, and as often as after a status of 500 where a 200 says so inside.
        """
        calls = 0
        was_unreadable = False
        for tried in range(1, self._retries.tries + 1):
            body, made = self._get(path, params, what)
            calls += made
            try:
                return decode(body, calls)
            except EnvelopeRefused as error:
                why = refused_call(what, path, error.code, error.message)
                if not error.is_passing:
                    break
            except AnswerUnreadable:
                if was_unreadable:
                    raise
                was_unreadable = True
                continue
            if tried < self._retries.tries:
                self._retries.sleep(self._retries.wait(tried, None))
        raise why

    def _result(self, path: str, params: Mapping[str, str], what: str) -> Envelope:
        """GET an enveloped answer."""

        def decode(body: bytes, _: int) -> Envelope:
            try:
                return open_envelope(body, what)
            except NOT_JSON:
                raise unreadable(body, what) from None

        return self._read(path, params, what, decode)

    def _get(self, path: str, params: Mapping[str, str], what: str) -> tuple[bytes, int]:
        """GET a good answer; return its body and the number of calls made."""
        answer, calls = self._asked(path, params, what)
        if answer.status != 200:
            raise answer_refusal(answer, what, path)
        return answer.body, calls

    def _asked(self, path: str, params: Mapping[str, str], what: str) -> tuple[Answer, int]:
        """GET with the token, once more with a new one where it is refused; return the number of calls, too."""
        try:
            return self._signed_in(path, params, what)
        except (AnswerUnreadable, ServiceUnreachable) as error:
            # The connection's errors name hosts, not lists and pages.
            error.message = f"{error.message.removesuffix('.')} (asked for {what})."
            raise

    def _signed_in(self, path: str, params: Mapping[str, str], what: str) -> tuple[Answer, int]:
        service = self._service()
        token = self._login.token(service)
        answer = self._sent(service, path, params, token)
        if not _token_refused(answer):
            return answer, answer.tries
        first_tries = answer.tries
        answer = self._sent(service, path, params, self._login.replaced(service, token))
        if _token_refused(answer):
            raise _own_token_refused(what, reason_in(answer.body)[1])
        return answer, first_tries + answer.tries

    def _sent(self, service: Service, path: str, params: Mapping[str, str], token: str) -> Answer:
        endpoint = f"GET {_NUMBER_SEGMENT.sub('/{id}', path)}"
        return service.get(
            path,
            params=params,
            headers={"Authorization": f"Bearer {token}"},
            whole=_looks_whole,
            before_send=lambda: self.budget.take(endpoint),
        )

    def _service(self) -> Service:
        """Return the service at the API's address; find the address on first use."""
        if self._found is None:
            with self._lock:
                if self._found is None:
                    self._found = self._find()
        return self._found

    def _find(self) -> Service:
        """Probe the candidate addresses. Send no secret to an address that does not answer like BMS."""
        check_given(self._settings, BMS_NEEDS)
        candidates = api_base_candidates(self._settings.bms_url, self._settings.bms_api_url)
        if len(candidates) == 1:
            return self._connect(candidates[0])
        errors: list[PipelineError] = []
        for patient in (False, True):  # a temporary fault must not choose the address, so the second round retries
            errors.clear()
            for base in candidates:
                try:
                    service = self._connect(base)
                except SettingsError as error:
                    errors.append(error)
                    continue
                try:
                    self._probe(service, retry=patient)
                except (
                    SettingsError,
                    CertificateRefused,
                    RedirectRefused,
                    AnswerUnreadable,
                    ServiceUnreachable,
                ) as error:
                    service.close()
                    errors.append(error)
                except BaseException:
                    service.close()
                    raise
                else:
                    return service
            if not any(isinstance(error, ServiceUnreachable) for error in errors):
                break
        raise min(errors, key=lambda error: next(i for i, kind in enumerate(_TELLING) if isinstance(error, kind)))

    def _connect(self, base: str) -> Service:
        return Service(
            base,
            name="BMS",
            ca_file=self._settings.bms_ca_file,
            private_host=self._settings.bms_private_host,
            connections=self._settings.bms_connections,
            deadline_seconds=self._deadline,
            retries=self._retries,
        )

    def _probe(self, service: Service, *, retry: bool) -> None:
        """Raise unless ``service`` answers like BMS: userinfo without a token is 401 [C], or at least an envelope."""
        answer = service.get(USER_INFO, retry=retry, before_send=lambda: self.budget.take(f"GET {USER_INFO}"))
        if answer.status == 401:
            return
        try:
            enveloped = "success" in fields(answer.body)
        except NOT_JSON:
            enveloped = False
        if not enveloped:
            raise AnswerUnreadable(
                f"{service.base_url} answered HTTP {answer.status} and is not the BMS API.",
                "Check BMS_URL, or set BMS_API_URL to the API's own address.",
            )


def identity_in(user: Mapping[str, object], api_url: str) -> Identity:
    """Return the signed-in user from BMS's description, whose keys are in lower case."""

    def text(key: str) -> str:
        value = user.get(key)
        return "" if value is None else str(value)

    return Identity(
        full_name=text("fullname"),
        business_name=text("businessname"),
        tenant_id=text("tenantid"),
        time_zone=text("olsontimezonename") or text("timezonename"),
        api_url=api_url,
    )


_objects = msgspec.json.Decoder(list[dict[str, object]])


class _OtherType(Exception):
    """A field of an account type has an undocumented type; with ``true`` as text, no account would be a client."""

    def __init__(self, key: str, value: object) -> None:
        super().__init__(key)
        self.key, self.value = key, value


def _account_type(kind: Mapping[str, object]) -> AccountType:
    """Read one account type, with keys in lower case. Raises ``KeyError``, or ``_OtherType`` with the field."""
    number = kind["id"]
    if type(number) is not int:
        raise _OtherType("id", number)
    for key in ("isClient", "isVendor", "isActive"):
        value = kind.get(key.lower())
        if not isinstance(value, bool | None):
            raise _OtherType(key, value)
    return AccountType(
        id=number,
        name=str(kind.get("name") or ""),
        is_client=kind.get("isclient") is True,
        is_vendor=kind.get("isvendor") is True,
        is_active=kind.get("isactive") is not False,
    )


def _decoded(
    body: bytes, what: str, spelled: Callable[[bytes], bytes], *, may_end: bool
) -> tuple[Envelope, Rows | None]:
    """Open a list's answer. If a record cannot be decoded, quarantine it and go on with the others.

    ``spelled`` rewrites the keys of records to the declared spelling. The rows are ``None`` if the answer has null in
    place of the list and the list ``may_end`` before this page. Raises ``Refused`` or ``AnswerUnreadable``.
    """
    try:
        envelope = open_envelope(body, what)
        if envelope.result == b"null" and (may_end or envelope.total == 0):
            return envelope, None if may_end else Rows(b"[]", [])
        return envelope, rows_of(spelled(envelope.result), what)
    except NOT_JSON:
        pass
    try:
        shell, rows = salvaged(spelled(body), what)
        return open_envelope(shell, what), rows
    except NOT_JSON:
        raise unreadable(body, what) from None


def _token_refused(answer: Answer) -> bool:
    """Return whether BMS refused the token: 401, or the same code with status 200 [C]."""
    if answer.status == 401:
        return True
    # Check the length first, which is cheap: a refusal is short, a page is not.
    return len(answer.body) < 2000 and answer.status == 200 and reason_in(answer.body)[0] == SECURITY_ERROR


def _looks_whole(body: bytes) -> bool:
    """Return whether a JSON object has its closing brace. Anything but an object is left to its reader."""
    start, end = body[:100].lstrip(b"\xef\xbb\xbf \t\r\n"), body[-100:].rstrip()
    return bool(start) and (not start.startswith(b"{") or end.endswith(b"}"))


def _may_be_a_parameter(error: RequestRefused | ServiceUnreachable) -> bool:
    """Return whether omitting an optional parameter may help. BMS's answer to an unwanted parameter is unknown [G]."""
    if isinstance(error, ServiceUnreachable):
        return error.status == 500
    return type(error) is RequestRefused


def _own_token_refused(what: str, message: str) -> LoginRefused:
    """Return the error for a refused new token. A missing right is not the cause: BMS would answer 403."""
    reason = f": {message}" if message else ""
    return LoginRefused(
        f"BMS accepted the sign-in and refused its own new token when asked for {what}{reason}.",
        "Run again in a few minutes. If it stays, check in BMS that the user is active and has “Has API Access”.",
    )


@dataclass(frozen=True)
class _Habit:
    """The optional parameters accepted by a service. ``since``: its format for the moment of ``ModifiedOnFrom``."""

    sort: bool
    since: Literal["as it is", "with zone", "left out"]

    def params(self, filters: Mapping[str, str]) -> dict[str, str]:
        """Return the optional parameters as this service accepts them."""
        zone = "Z" if self.since == "with zone" else ""
        accepted = {name: f"{value}{zone}" if name == MODIFIED_SINCE else value for name, value in filters.items()}
        if self.since == "left out":
            accepted.pop(MODIFIED_SINCE, None)
        params = {f"Filter.{name}": value for name, value in accepted.items()}
        return {**params, "Sort": SORT} if self.sort else params


_HABITS = tuple(_Habit(sort, since) for since in ("as it is", "with zone", "left out") for sort in (True, False))
"""The habits in the order of trying. Without ``ModifiedOnFrom``, the whole list is read, which is always correct.

No other filter is ever left out: the whole list would be taken for one client's.
"""
