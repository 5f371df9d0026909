"""Accounts: the clients in scope with everything inside them, and the accounts that are none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from bms_sandbox.population.assets import Assets
from bms_sandbox.population.contacts import Contacts
from bms_sandbox.population.draft import TENANT_NAME, Client, ClientStanding, Draft
from bms_sandbox.population.locations import Locations, fax_or_phone
from bms_sandbox.population.naming import disguised, loose_key, nearly_company
from bms_sandbox.records import Account, AccountType, Address, Location

ACCOUNT_TYPES = (
    AccountType(id=1, name="Customer", is_active=True, is_client=True, is_vendor=False),
    AccountType(id=2, name="Prospect", is_active=True, is_client=False, is_vendor=False),
    AccountType(id=3, name="Vendor", is_active=True, is_client=False, is_vendor=True),
    AccountType(id=4, name="Own Company", is_active=True, is_client=False, is_vendor=False),
    AccountType(id=5, name="Managed Services", is_active=True, is_client=True, is_vendor=False),
    AccountType(id=6, name=None, is_active=False, is_client=False, is_vendor=False),
)
_CUSTOMER, _PROSPECT, _VENDOR, _OWN, _MANAGED = ACCOUNT_TYPES[:5]

_TRADES = (
    "Freight", "Dental", "Logistics", "Law", "Foods", "Plumbing", "Insurance", "Architects", "Motors", "Pharma",
    "Hotels", "Textiles", "Robotics", "Consulting", "Accounting", "Farms", "Energy", "Media", "Optics", "Security",
    "Steel", "Travel", "Veterinary", "Wines", "Printing", "Recycling", "Ceramics", "Aviation", "Timber", "Studios",
)  # fmt: skip
_SUFFIXES = ("Ltd", "Limited", "Inc", "LLC", "GmbH", "Corp", "PLC", "AG", "Pty", "")


@dataclass(frozen=True)
class Extent:
    """How much a tenant holds; children count those of clients in scope."""

    clients: int
    users: int
    locations: int
    contacts: int
    assets: int


def company_name(rng: Random, last_names: tuple[str, ...], taken: set[str]) -> str:
    """A company name that nothing in ``taken`` resembles; it is taken then."""
    while True:
        owner = rng.choice(last_names)
        if rng.random() < 0.15:
            owner = f"{owner} {rng.choice(('&', 'and'))} {rng.choice(last_names)}"
        name = " ".join(filter(None, (owner, rng.choice(_TRADES), rng.choice(_SUFFIXES))))
        key = loose_key(name)
        if key not in taken:
            taken.add(key)
            return name


def _shares(rng: Random, total: int, parts: int) -> list[int]:
    """``total`` divided among ``parts``, unevenly."""
    weights = [rng.lognormvariate(0, 1.1 if parts > 100 else 0.5) for _ in range(parts)]
    scale = total / sum(weights)
    shares, done, running = [], 0, 0.0
    for weight in weights:
        running += weight * scale
        shares.append(round(running) - done)
        done = round(running)
    return shares


class Clients:
    """Makes the accounts."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._locations = Locations(draft)
        self._contacts = Contacts(draft)
        self._assets = Assets(draft)
        self._taken: set[str] = set()

    def populate(self, extent: Extent) -> None:
        """All accounts: about 60 % of the clients are in Passportal too, and 5 % more accounts are out of scope."""
        clients = self._in_scope(extent.clients)
        self._draft.rng.shuffle(clients)
        for entity, total in (
            ("locations", extent.locations),
            ("contacts", extent.contacts),
            ("assets", extent.assets),
        ):
            for client, share in zip(clients, _shares(self._draft.rng, total, len(clients)), strict=True):
                client.children[entity] = share
        last = max(position for position, client in enumerate(clients) if client.standing == "identical")
        for position, client in enumerate(clients):
            self._settle(client, leftovers=position == last)
        for each in self._out_of_scope(max(6, extent.clients // 20), clients):
            client, account = each
            client.children = dict.fromkeys(("locations", "contacts", "assets"), self._draft.rng.randrange(1, 4))
            self._settle(client, account)
        self._hollow()
        self._only_in_passportal(max(1, extent.clients // 30))

    def _in_scope(self, count: int) -> list[Client]:
        rare = max(1, count // 250)
        near = max(1, count // 25)
        held = round(count * 0.6)
        identical = held - near - 2 * rare
        clients: list[Client] = []
        for _ in range(rare):
            clients += [self._twice_in_passportal(), *self._twice_in_bms(), *self._twice_in_bms(held=False)]
        clients += [self._near() for _ in range(near)]
        clients += [self._identical() for _ in range(identical)]
        clients += [self._new() for _ in range(count - len(clients))]
        return clients

    def _name(self, *, plain: bool = False) -> str:
        name = company_name(self._draft.rng, self._draft.pools.people[0].last, self._taken)
        attack = None if plain else self._draft.hostile["clients"].turn()
        return attack(name) if attack else name

    def _client(self, name: str, standing: ClientStanding, passportal_id: str | None = None) -> Client:
        account_id = self._draft.new_id("account")
        words = loose_key(name).split()
        prefix = (
            "".join(each for each in max(words, key=len).upper() if each.isascii() and each.isalpha())[:4] or "SITE"
        )
        return Client(account_id, name, standing, passportal_id, f"client{account_id}.example", prefix)

    def _hold(self, name: str) -> str:
        values = {
            "name": name,
            "phone": fax_or_phone(self._draft) if self._draft.chance(0.5) else None,
            "email": None,
        }
        return self._draft.hold("clients", None, values)

    def _identical(self) -> Client:
        name = self._name()
        held = self._hold(name)
        client = self._client(disguised(name, self._draft.disguises["clients"].turn()), "identical", held)
        self._draft.pair("clients", "identical", client.account_id, held)
        return client

    def _near(self) -> Client:
        name = self._name(plain=True)
        held = self._hold(nearly_company(self._draft.rng, name))
        client = self._client(name, "near", held)
        self._draft.pair("clients", "near", client.account_id, held)
        return client

    def _new(self) -> Client:
        client = self._client(self._name(), "new")
        self._draft.put("clients", "new", client.account_id)
        return client

    def _twice_in_passportal(self) -> Client:
        name = self._name()
        held = self._hold(name)
        self._hold(name.upper())
        client = self._client(name, "ambiguous", held)
        self._draft.put("clients", "ambiguous", client.account_id)
        return client

    def _twice_in_bms(self, *, held: bool = True) -> tuple[Client, Client]:
        name = self._name()
        passportal_id = self._hold(name) if held else None
        twins = self._client(name, "ambiguous", passportal_id), self._client(f"{name}  ", "ambiguous")
        for each in twins:
            self._draft.put("clients", "ambiguous", each.account_id)
        return twins

    def _out_of_scope(self, count: int, clients: list[Client]) -> Iterable[tuple[Client, Account]]:
        """Vendors, prospects, inactive clients and the MSP itself; one prospect bears the name of a real client."""
        namesake = next(each.name for each in clients if each.standing == "identical")
        reasons = (_OWN, _PROSPECT, _VENDOR, _CUSTOMER, _PROSPECT, _MANAGED)
        for n in range(count):
            kind = _VENDOR if n > len(reasons) and reasons[n % len(reasons)] is _OWN else reasons[n % len(reasons)]
            name = TENANT_NAME if kind is _OWN else self._name()
            client = self._client(namesake if n == 1 else name, "out_of_scope")
            account = self._account(client, kind)
            account.is_active = not kind.is_client
            self._draft.put("clients", "out_of_scope", client.account_id)
            yield client, account

    def _account(self, client: Client, kind: AccountType) -> Account:
        draft = self._draft
        account = Account(
            id=client.account_id,
            parent_id=None,
            account_code=f"A{client.account_id:06d}" if draft.chance(0.8) else None,
            account_type_id=kind.id,
            account_type=kind.name,
            account_name=client.name,
            business_type_id=2,
            business_type="Corporation",
            account_manager_id=int(draft.rng.random() * 9) + 1 if draft.chance(0.7) else None,
            account_manager_user_name="user.1" if draft.chance(0.5) else None,
            currency_id=1,
            currency_name="USD",
            credit_limit=float(int(draft.rng.random() * 50) * 1000) if draft.chance(0.4) else None,
            net_days=30.0 if draft.chance(0.6) else None,
            website=f"https://www.{client.domain}" if draft.chance(0.6) else None,
            description='Line one\r\nLine "two"; three' if draft.chance(0.1) else None,
            is_active=True,
            is_billing=draft.chance(0.9),
            acquired_date=draft.stamp() if draft.chance(0.5) else None,
            tenant_name=TENANT_NAME,
        )
        draft.sign(account)
        return account

    def _settle(self, client: Client, account: Account | None = None, *, leftovers: bool = False) -> None:
        """Make everything inside ``client`` and keep its account."""
        account = account or self._account(client, _CUSTOMER if self._draft.chance(0.8) else _MANAGED)
        account.locations = self._locations.of(client, client.children["locations"])
        self._contacts.of(client, client.children["contacts"])
        self._assets.of(client, client.children["assets"])
        if leftovers:
            account.locations += self._locations.leftovers(client)
            self._contacts.leftovers(client)
            self._assets.leftovers(client)
        if not account.locations:
            account.locations = self._draft.pick((None, []))
        self._draft.add("accounts", account)

    def _hollow(self) -> None:
        """An account that is null wherever the vendor allows it, and one whose location is."""
        draft = self._draft
        address = Address(id=draft.new_id("address"), is_main=True, is_billing=False)
        location = Location(id=draft.new_id("location"), is_main=True, is_active=False, addresses=[address])
        for locations in (None, [location]):
            account = Account(id=draft.new_id("account"), is_active=False, is_billing=False, locations=locations)
            draft.add("accounts", account)
            draft.put("clients", "out_of_scope", account.id)
        draft.put("locations", "out_of_scope", location.id)

    def _only_in_passportal(self, count: int) -> None:
        for _ in range(count):
            self._hold(self._name())
