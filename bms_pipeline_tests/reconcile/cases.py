"""Tables of small cases, all decided in one world: each case has clients, names and serial numbers of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bms_pipeline.core.entities import CLIENTS, USERS, Entity
from bms_pipeline_tests.building import (
    Decided,
    Row,
    World,
    account,
    asset,
    contact,
    employee,
    in_passportal,
    location,
    opened_world,
)


@dataclass(frozen=True)
class Case:
    """Records of one client on both sides, as ``name <email>`` or ``name [serial number]``.

    ``elsewhere``: those of another client, BMS first. ``expected``: for each BMS record ``disposition: reason``, and
    which Passportal record it is matched to, counted from 1: ``matched 1: identical_name``.
    """

    bms: Sequence[str]
    passportal: Sequence[str]
    expected: Sequence[str]
    elsewhere: tuple[Sequence[str], Sequence[str]] = ((), ())


def decide(home: Path, entity: Entity, cases: Mapping[str, Case]) -> dict[str, list[str]]:
    """Decide all ``cases`` at once; for each what was decided, in the form of ``Case.expected``."""
    with opened_world(home, entities=(entity,)) as world:
        held: dict[str, list[Row]] = {"clients": [], entity.name: []}
        for number, case in enumerate(cases.values(), start=1):
            for side, (bms, passportal) in enumerate(((case.bms, case.passportal), case.elsewhere)):
                client, account_id = f"C{number}.{side}", number * 10 + side
                if entity.has_client:
                    world.accounts.append(account(account_id, f"Client {account_id}"))
                    held["clients"].append(in_passportal(client, f"Client {account_id}"))
                for n, text in enumerate(bms):
                    _add(world, entity, number * 100 + side * 50 + n, account_id, text)
                for n, text in enumerate(passportal, start=side * 50 + 1):
                    held[entity.name].append(_passportal_row(f"{number}.{n}", entity, client, text))
        world.passportal_holds(**held)
        world.reconcile()
        decisions = world.decisions(entity.name)
    return {
        name: [_described(number, decisions[number * 100 + n]) for n in range(len(case.bms))]
        for number, (name, case) in enumerate(cases.items(), start=1)
    }


def _described(number: int, found: Decided) -> str:
    """The decision as ``Case.expected`` has it."""
    matched_to = f" {found.passportal_id.removeprefix(f'{number}.')}" if found.passportal_id else ""
    return f"{found.disposition}{matched_to}: {found.reason}"


def _parts(text: str) -> tuple[str, str | None, str | None]:
    found = re.fullmatch(r"(.*?)(?: ?<(.*)>)?(?: ?\[(.*)\])?", text)
    assert found is not None
    return found[1], found[2], found[3]


def _add(world: World, entity: Entity, bms_id: int, account_id: int, text: str) -> None:
    name, email, serial = _parts(text)
    if entity is CLIENTS:
        world.accounts.append(account(bms_id, name))
    elif entity is USERS:
        world.employees.append(employee(bms_id, *_first_and_last(name)))
    elif entity.name == "contacts":
        world.contacts.append(contact(bms_id, account_id, *_first_and_last(name), email))
    elif entity.name == "assets":
        world.assets.append(asset(bms_id, account_id, name, serial))
    else:
        world.accounts[-1]["locations"].append(location(bms_id, name))


def _first_and_last(name: str) -> tuple[str, str]:
    first, _, last = name.partition(" ")
    return first, last


def _passportal_row(passportal_id: str, entity: Entity, client: str, text: str) -> Row:
    name, email, serial = _parts(text)
    values = {"email": email, "serial_number": serial}
    held = {column: value for column, value in values.items() if column in entity.columns}
    return in_passportal(passportal_id, name, client if entity.has_client else None, **held)
