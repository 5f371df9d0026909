"""The behaviour of the stand-in for BMS: every switch with its honest default, and the faults it can show.

``Switches``, ``Fault`` and ``FaultsDue`` also serve the stand-in for Passportal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, Self, get_args

import msgspec

FaultKind = Literal[
    "status",
    "html",
    "truncated",
    "cut",
    "hang",
    "trickle",
    "empty_body",
    "result_null",
    "success_false",
    "success_text",
    "redirect",
    "huge",
    "shift",
    "duplicate",
    "missing_row",
    "retyped",
    "missing_field",
    "unknown_field",
    "nan",
    "deep",
    "lone_surrogate",
    "duplicate_keys",
]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


@dataclass(frozen=True)
class Fault:
    """One fault on the routes whose template contains ``route``.

    When: at call ``on_call`` of that route, or at calls ``from_call`` to ``until_call``; at most ``times`` times.
    What: ``status`` for kind "status"; ``field`` and ``row`` (0-based, of the page) for kinds spoiling one record;
    ``amount`` for "shift" (rows inserted at the front of the list, or taken away if negative), "huge" (bytes) and
    "deep" (levels); ``target`` for the address of "redirect".
    """

    route: str
    kind: FaultKind
    on_call: int | None = None
    from_call: int = 1
    until_call: int | None = None
    times: int | None = None
    status: int = 503
    field: str | None = None
    row: int = 0
    amount: int | None = None
    target: str = "https://elsewhere.invalid/"

    def due(self, route: str, call: int) -> bool:
        """Return whether it strikes at this call of this route."""
        if self.route.casefold() not in route.casefold():
            return False
        if self.on_call is not None:
            return call == self.on_call
        return self.from_call <= call and (self.until_call is None or call <= self.until_call)


PASSING = (*(Fault("", "status", status=status) for status in (500, 502, 503)), Fault("", "cut"), Fault("", "html"))
"""The faults of a call that succeeds when repeated."""


@dataclass(frozen=True)
class Switches:
    """The settable behaviour of a stand-in; a dataclass of its own for each service."""

    def changed(self, switches: dict[str, Any]) -> Self:
        """Return the same behaviour with ``switches`` set; ``ValueError`` names an unknown or unfit one."""
        known = self.as_switches()
        if unknown := sorted(set(switches) - set(known)):
            raise ValueError(f"unknown switches: {', '.join(unknown)}")
        try:
            return msgspec.convert({**known, **switches}, type(self))
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from error

    def as_switches(self) -> dict[str, Any]:
        """Return the switches as JSON values."""
        switches: dict[str, Any] = msgspec.to_builtins(self)
        return switches


@dataclass(frozen=True)
class Behaviour(Switches):
    """The switches.

    ``wrong_password``: status of a refused login ("200" with ``success:false``). ``hourly_limit``: calls per route
    template and hour, none for no limit; ``retry_after``: that header of a 429 or 503. ``page_totals``: whether
    lists with a ``totalRecords`` send it. ``zoned_expiry``: whether token expiry times end in ``Z``.
    ``tenant_id``: the tenant it claims to be. ``failing_share``: the share of calls failing in one of the ``PASSING``
    ways, chosen by ``failing_seed``. ``halved``: lists show every second record only, and totals agree with that.
    ``account_filter``: what lists do with ``Filter.AccountId``.
    """

    wrong_password: Literal["401", "400", "200"] = "401"  # noqa: S105  # a status
    token_lifetime_seconds: float = 900
    zoned_expiry: bool = True
    hourly_limit: int | None = 1500
    retry_after: Literal["seconds", "date", "garbage", "huge"] | None = None
    pascal_case_envelope: bool = False
    page_totals: bool = True
    tenant_id: int = 4711
    latency_seconds: float = 0
    faults: tuple[Fault, ...] = field(default=())
    failing_share: float = 0
    failing_seed: int = 0
    halved: bool = False
    account_filter: Literal["honoured", "ignored", "refused"] = "honoured"


NAMED_FAULTS: dict[str, dict[str, Any]] = {
    "outage": {"faults": [{"route": "", "kind": "status", "status": 503}]},
    "refused-login": {"faults": [{"route": "security/authenticate", "kind": "status", "status": 401}]},
    # The first call of each route succeeds, so a person sees the run begin.
    "busy": {"faults": [{"route": "", "kind": "status", "status": 429, "from_call": 2}]},
    "halved-tenant": {"halved": True},
    "slow": {"latency_seconds": 2.0},
}
"""The faults for people to watch, by the names of ``sandbox run --fault``: each with its switches."""


def switches_of(names: Iterable[str]) -> dict[str, Any]:
    """Return the switches of these ``NAMED_FAULTS`` together."""
    chosen = [NAMED_FAULTS[name] for name in names]
    faults = [fault for switches in chosen for fault in switches.get("faults", ())]
    return {name: value for switches in chosen for name, value in switches.items()} | {"faults": faults}


class FaultsDue:
    """Decides which fault strikes at a call, and remembers how often each has."""

    def __init__(self, faults: Sequence[Fault], failing_share: float, failing_seed: int) -> None:
        self._faults = faults
        self._failing_share = failing_share
        self._failing_seed = failing_seed
        self._struck: Counter[int] = Counter()

    def at(self, route: str, call: int) -> Fault | None:
        """Return the first fault due at this call of this route, else one by chance."""
        for number, fault in enumerate(self._faults):
            if fault.due(route, call) and (fault.times is None or self._struck[number] < fault.times):
                self._struck[number] += 1
                return fault
        if not self._failing_share:
            return None
        rng = Random(f"{self._failing_seed}/{route}/{call}")
        return rng.choice(PASSING) if rng.random() < self._failing_share else None
