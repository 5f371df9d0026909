"""Hours pass in BMS: records are added, renamed, moved, edited, deactivated and deleted, about 1 % a day of each.

The truth of the tenant stays as generated; the changes of a mutation are in its summary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Literal, TypeVar

import msgspec

from bms_pipeline.core.entities import ENTITIES
from bms_sandbox.population.clients import ACCOUNT_TYPES
from bms_sandbox.population.draft import EPOCH
from bms_sandbox.records import Account, Address, Asset, Contact, ContactPhone, Employee, Location, Stamped
from bms_sandbox.tenant import Tenant

Change = Literal["new", "renamed", "moved", "edited", "deactivated", "deleted", "touched"]

_SHARE_A_DAY = 0.01
_HOURS_A_DAY = 24
_CLIENT_TYPES = {account_type.id for account_type in ACCOUNT_TYPES if account_type.is_client}
_LETTERS = "bcdfghjklmnpqrstvwxz"

Child = TypeVar("Child", Contact, Asset)
T = TypeVar("T")


class Changes(msgspec.Struct):
    """The BMS ids of one entity, by kind of change.

    A record is in one of these at most, except for ``touched``: it changed because another record changed (the name of
    its client or location, or a main location's telephone, which is also its client's).
    """

    new: list[int] = msgspec.field(default_factory=list)
    renamed: list[int] = msgspec.field(default_factory=list)
    moved: list[int] = msgspec.field(default_factory=list)
    edited: list[int] = msgspec.field(default_factory=list)
    deactivated: list[int] = msgspec.field(default_factory=list)
    deleted: list[int] = msgspec.field(default_factory=list)
    touched: list[int] = msgspec.field(default_factory=list)

    def note(self, change: Change, record_id: int) -> None:
        """Note this change of this record."""
        getattr(self, change).append(record_id)


class Mutations(msgspec.Struct):
    """The changes of one mutation, by entity."""

    seed: int
    entities: dict[str, Changes]


class _Calendar:
    """Ever later moments, each used once, and words never used in a name before."""

    def __init__(self, newest: str, spent: int) -> None:
        self._now = max(datetime.fromisoformat(newest), EPOCH + timedelta(seconds=spent))

    @property
    def spent(self) -> int:
        """The latest used moment, in seconds."""
        return int((self._now - EPOCH).total_seconds())

    def stamp(self) -> str:
        """Return the next moment."""
        self._now += timedelta(seconds=1)
        return self._now.isoformat()

    def word(self) -> str:
        """Return a word made from the next moment."""
        self.stamp()
        number = self.spent
        letters = ""
        while number:
            number, rest = divmod(number, len(_LETTERS))
            letters += _LETTERS[rest]
        return f"Zz{letters}"

    def sign(self, record: Stamped) -> None:
        """Stamp the record as changed now."""
        record.modified_by = 1
        record.modified_on = self.stamp()
        record.created_on = record.created_on or record.modified_on


class _Standing(msgspec.Struct, rename="camel", gc=False):
    """The fields of every contact and asset needed to choose some; only the chosen ones are decoded whole."""

    id: int
    account_id: int
    is_active: bool
    modified_on: str | None = None


class _Mutation:
    """One mutation under way. Accounts and employees are few and decoded whole, contacts and assets row by row."""

    def __init__(self, tenant: Tenant, seed: int, days: float, *, location_bumps_account: bool) -> None:
        self._tenant = tenant
        self._days = days
        self._rng = Random(f"mutate/{seed}")
        self._location_bumps_account = location_bumps_account
        self.changes = {entity.name: Changes() for entity in ENTITIES}
        self._accounts = [msgspec.json.decode(row, type=Account) for row in tenant.rows["accounts"]]
        self._standings = {name: _standings(tenant.rows[name]) for name in ("contacts", "assets")}
        self._employees = [msgspec.json.decode(row, type=Employee) for row in tenant.rows["employees"]]
        self._calendar = _Calendar(self._newest_stamp(), tenant.spent.get("stamp", 0))
        self._note_ids("accounts", self._accounts)
        self._note_ids("locations", [location for account in self._accounts for location in account.locations or []])
        self._note_ids("employees", self._employees)
        for name, standings in self._standings.items():
            self._note_ids(name, standings)
        self._location_names: dict[int, str | None] = {}
        self._old_location_names: dict[tuple[int, str | None], str | None] = {}
        self._deleted_accounts: set[int] = set()
        self._renamed_accounts: dict[int, str] = {}

    def pass_by(self) -> None:
        """Make all changes."""
        self._change_accounts()
        self._change_locations()
        self._tenant.rows["accounts"][:] = [account.encode() for account in self._accounts]
        self._change_employees()
        self._change_children("contacts", Contact, self._edit_contact, self._rename_contact, self._new_contact)
        self._change_children("assets", Asset, self._edit_asset, self._rename_asset, self._new_asset)
        self._tenant.spent["stamp"] = self._calendar.spent

    def _note_ids(self, kind: str, records: Iterable[Account | Location | Employee | _Standing]) -> None:
        """Store the highest id of each kind beyond the life of its record: no id is ever given twice."""
        spent = self._tenant.spent
        spent[kind] = max(spent.get(kind, 0), max((record.id for record in records), default=0))

    def _new_id(self, kind: str) -> int:
        self._tenant.spent[kind] += 1
        return self._tenant.spent[kind]

    def _newest_stamp(self) -> str:
        found = [contact.modified_on or "" for contact in self._standings["contacts"]]
        for account in self._accounts:
            found += [record.modified_on or "" for record in (account, *(account.locations or []))]
        return max(max(found, default=""), EPOCH.isoformat())

    def _draw(self, candidates: Sequence[T], *changes: Change) -> dict[Change, list[T]]:
        """Draw about 1 % a day of ``candidates`` for each change, at least one a day, none twice.

        Fractions are left to chance; where too few candidates are left to spare any, none is drawn.
        """
        expected = max(1, round(len(candidates) * _SHARE_A_DAY)) * self._days
        if len(candidates) < 2 * len(changes):
            return {change: [] for change in changes}
        counts = {
            change: int(expected) + (self._rng.random() < expected % 1 if expected % 1 else 0) for change in changes
        }
        wanted = [change for n in range(max(counts.values())) for change in changes if n < counts[change]]
        drawn = self._rng.sample(candidates, min(len(candidates), len(wanted)))
        return {
            change: [candidate for candidate, why in zip(drawn, wanted, strict=False) if why == change]
            for change in changes
        }

    def _clients(self) -> list[Account]:
        return [account for account in self._accounts if account.is_active and account.account_type_id in _CLIENT_TYPES]

    # Clients and locations

    def _change_accounts(self) -> None:
        noted = self.changes["clients"]
        drawn = self._draw(self._clients(), "deleted", "deactivated", "renamed", "edited")
        for change, accounts in drawn.items():
            for account in accounts:
                noted.note(change, account.id)
        for account in drawn["deactivated"]:
            account.is_active = False
        for account in drawn["renamed"]:
            # Like companies do: the part people know it by stays.
            known_by = (account.account_name or "Nameless").split()[0]
            account.account_name = f"{known_by} {self._calendar.word()} Holdings Ltd"
            self._renamed_accounts[account.id] = account.account_name
        for account in drawn["edited"]:
            self._edit_account(account)
        for account in (*drawn["deactivated"], *drawn["renamed"], *drawn["edited"]):
            self._calendar.sign(account)
        self._deleted_accounts = {account.id for account in drawn["deleted"]}
        for account in drawn["deleted"]:
            for location in account.locations or []:
                self.changes["locations"].note("deleted", location.id)
        self._accounts = [account for account in self._accounts if account.id not in self._deleted_accounts]
        for _ in drawn["edited"]:
            self._new_account(self._new_id("accounts"))

    def _edit_account(self, account: Account) -> None:
        """Change the website, and the telephone number of the main location, noted as touched."""
        account.website = f"https://{self._calendar.word().lower()}.example"
        location = _main_location(account)
        if location and location.addresses:
            location.addresses[0].phone = self._phone()
            self._calendar.sign(location)
            self.changes["locations"].note("touched", location.id)

    def _new_account(self, account_id: int) -> None:
        name = f"{self._calendar.word()} Freight Ltd"
        account = Account(
            id=account_id,
            account_type_id=1,
            account_type="Customer",
            account_name=name,
            is_active=True,
            is_billing=True,
        )
        account.locations = [self._new_location(is_main=True)]
        self._calendar.sign(account)
        self._accounts.append(account)
        self.changes["clients"].note("new", account_id)

    def _change_locations(self) -> None:
        busy = {*self.changes["locations"].new, *self.changes["locations"].touched}
        candidates = [
            (account, location)
            for account in self._clients()
            for location in account.locations or []
            if location.is_active and location.addresses and location.id not in busy
        ]
        drawn = self._draw(candidates, "deleted", "deactivated", "renamed", "edited", "new")
        for account, location in drawn["deleted"]:
            if _main_location(account) is location:
                self.changes["clients"].note("touched", account.id)
            account.locations = [kept for kept in account.locations or [] if kept is not location]
            self._note_location("deleted", account, location, None)
        for account, location in drawn["deactivated"]:
            location.is_active = False
            self._note_location("deactivated", account, location, location.location_name)
        for account, location in drawn["renamed"]:
            self._note_location("renamed", account, location, f"{self._calendar.word()} Office")
        for account, location in drawn["edited"]:
            for address in location.addresses or []:
                address.address1, address.zip_code = f"{self._calendar.word()} Street 1", "99999"
            self._note_location("edited", account, location, location.location_name)
        for account, _ in drawn["new"]:
            account.locations = [*(account.locations or []), self._new_location(is_main=False)]
            if self._location_bumps_account:
                self._calendar.sign(account)

    def _note_location(self, change: Change, account: Account, location: Location, name: str | None) -> None:
        """Note a change of ``location``, which is called ``name`` from now on, or is gone."""
        self.changes["locations"].note(change, location.id)
        if name != location.location_name:
            self._location_names[location.id] = name
            self._old_location_names[account.id, location.location_name] = name
            location.location_name = name
        self._calendar.sign(location)
        if self._location_bumps_account:
            self._calendar.sign(account)

    def _new_location(self, *, is_main: bool) -> Location:
        location_id = self._new_id("locations")
        address = Address(id=location_id, address1="New Street 1", phone=self._phone(), is_main=True, is_billing=False)
        location = Location(
            id=location_id,
            location_name=f"{self._calendar.word()} Depot",
            is_main=is_main,
            is_active=True,
            addresses=[address],
        )
        self._calendar.sign(location)
        self.changes["locations"].note("new", location_id)
        return location

    # Users

    def _change_employees(self) -> None:
        noted = self.changes["users"]
        employees = self._employees
        drawn = self._draw(
            [employee for employee in employees if employee.is_active], "deleted", "deactivated", "renamed", "edited"
        )
        for change, changed in drawn.items():
            for employee in changed:
                noted.note(change, employee.id)
        for employee in drawn["deactivated"]:
            employee.is_active = False
        for employee in drawn["renamed"]:
            employee.last_name = self._calendar.word()
        for employee in drawn["edited"]:
            employee.email_address = f"{self._calendar.word().lower()}@sandbox-msp.example"
        kept = [employee for employee in employees if employee not in drawn["deleted"]]
        for employee_id in [self._new_id("employees") for _ in drawn["edited"]]:
            word = self._calendar.word()
            kept.append(Employee(id=employee_id, first_name="Nova", last_name=word, username=word, is_active=True))
            noted.note("new", employee_id)
        self._tenant.rows["employees"][:] = [employee.encode() for employee in kept]

    # Contacts and assets

    def _change_children(
        self,
        entity: Literal["contacts", "assets"],
        kind: type[Child],
        edit: Callable[[Child], None],
        rename: Callable[[Child], None],
        make: Callable[[int, Account], Child],
    ) -> None:
        rows, standings, noted = self._tenant.rows[entity], self._standings[entity], self.changes[entity]
        decoder = msgspec.json.Decoder(kind)
        self._carry_along(entity, decoder)
        clients = self._clients()
        homes = {client.id for client in clients}
        active = [n for n, standing in enumerate(standings) if standing.is_active and standing.account_id in homes]
        drawn = self._draw(active, "deleted", "deactivated", "moved", "renamed", "edited")

        def deactivate(record: Child) -> None:
            record.is_active = False

        def move(record: Child) -> None:
            here = record.account_id
            while record.account_id == here:
                self._settle(record, self._rng.choice(clients))

        ways: Mapping[Change, Callable[[Child], None]] = {
            "deactivated": deactivate, "moved": move, "renamed": rename, "edited": edit,
        }  # fmt: skip
        for change, way in ways.items():
            for position in drawn[change]:
                record = decoder.decode(rows[position])
                way(record)
                self._stamp_child(record)
                rows[position] = record.encode()
                noted.note(change, record.id)
        self._delete(entity, drawn["deleted"])
        for record_id in [self._new_id(entity) for _ in drawn["edited"]]:
            record = make(record_id, self._rng.choice(clients))
            self._stamp_child(record)
            rows.append(record.encode())
            noted.note("new", record_id)

    def _carry_along(self, entity: Literal["contacts", "assets"], decoder: msgspec.json.Decoder[Child]) -> None:
        """Remove the records of deleted accounts; set the new names of accounts and locations."""
        rows, standings, noted = self._tenant.rows[entity], self._standings[entity], self.changes[entity]
        changed_homes = {*self._renamed_accounts, *(account_id for account_id, _ in self._old_location_names)}
        for position, standing in enumerate(standings):
            if standing.account_id in changed_homes:
                record = decoder.decode(rows[position])
                record.account_name = self._renamed_accounts.get(standing.account_id, record.account_name)
                if self._follow_location(record):
                    noted.note("touched", record.id)
                rows[position] = record.encode()
        if self._deleted_accounts:
            self._delete(
                entity, [n for n, standing in enumerate(standings) if standing.account_id in self._deleted_accounts]
            )

    def _delete(self, entity: Literal["contacts", "assets"], positions: Sequence[int]) -> None:
        """Remove the records at ``positions``."""
        rows, standings = self._tenant.rows[entity], self._standings[entity]
        for position in positions:
            self.changes[entity].note("deleted", standings[position].id)
        for position in sorted(positions, reverse=True):  # from the end, so the others keep their positions
            del rows[position], standings[position]

    def _follow_location(self, record: Contact | Asset) -> bool:
        """Update the name of the record's location; return whether it changed."""
        if isinstance(record, Contact):
            if record.location_id not in self._location_names:
                return False
            record.location_name = self._location_names[record.location_id]
            return True
        place = record.account_id, record.location_name
        if place not in self._old_location_names:
            return False
        record.location_name = self._old_location_names[place]
        return True

    def _settle(self, record: Contact | Asset, account: Account) -> None:
        """Move the record to ``account``, at its main location."""
        location = _main_location(account)
        record.account_id, record.account_name = account.id, account.account_name
        record.location_name = location.location_name if location else None
        if isinstance(record, Contact):
            record.location_id = location.id if location else None

    def _stamp_child(self, record: Contact | Asset) -> None:
        if isinstance(record, Contact):
            self._calendar.sign(record)

    def _phone(self) -> str:
        return f"+1 555 {self._rng.randrange(10_000_000):07d}"

    def _edit_contact(self, contact: Contact) -> None:
        contact.job_title = f"Head of {self._calendar.word()}"
        if contact.phones:
            contact.phones[0].phone = self._phone()
        else:
            contact.phones = [ContactPhone(id=1, phone=self._phone(), phone_type_id=1, is_default=True)]

    def _rename_contact(self, contact: Contact) -> None:
        contact.last_name = self._calendar.word()

    def _new_contact(self, contact_id: int, account: Account) -> Contact:
        contact = Contact(
            id=contact_id,
            account_id=account.id,
            first_name="Nova",
            last_name=self._calendar.word(),
            is_poc=False,
            is_active=True,
            is_billable=True,
            can_recieve_invoices=False,
            emails=[],
            phones=[],
        )
        self._settle(contact, account)
        return contact

    def _edit_asset(self, asset: Asset) -> None:
        asset.ip_address = f"172.16.{self._rng.randrange(256)}.{self._rng.randrange(256)}"

    def _rename_asset(self, asset: Asset) -> None:
        asset.asset_name = f"{self._calendar.word().upper()}-PC"

    def _new_asset(self, asset_id: int, account: Account) -> Asset:
        word = self._calendar.word().upper()
        asset = Asset(
            id=asset_id,
            category_name="Workstation",
            category_id=1,
            asset_name=f"{word}-NEW",
            serial_number=f"{word}{asset_id:06d}",
            contact_id=0,
            account_id=account.id,
            is_active=True,
        )
        self._settle(asset, account)
        return asset


def mutate(tenant: Tenant, seed: int, *, hours: float = 24, location_bumps_account: bool = True) -> Mutations:
    """Let ``hours`` pass in ``tenant``, in place; return the changes.

    ``location_bumps_account``: whether a changed location is a change of its account. The behaviour of BMS is unknown.
    """
    mutation = _Mutation(tenant, seed, hours / _HOURS_A_DAY, location_bumps_account=location_bumps_account)
    mutation.pass_by()
    return Mutations(seed, mutation.changes)


def _main_location(account: Account) -> Location | None:
    locations = account.locations or []
    return next((location for location in locations if location.is_main), locations[0] if locations else None)


def _standings(rows: Sequence[bytes]) -> list[_Standing]:
    """Decode all rows in one go: one by one takes most of a mutation's time."""
    return msgspec.json.decode(b"[%b]" % b",".join(rows), type=list[_Standing])
