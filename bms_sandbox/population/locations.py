"""Locations with their addresses: they travel inside the account that they belong to."""

from __future__ import annotations

from bms_sandbox.population.draft import Casting, Client, Draft, Scenario
from bms_sandbox.population.naming import disguised, nearly_location
from bms_sandbox.population.pools import LOCATION_KINDS
from bms_sandbox.population.truth import Paired, Single
from bms_sandbox.records import Address, Location

_INACTIVE = 0.04
_COUNTRIES = ((1, "United States"), (2, "United Kingdom"), (3, "Germany"), (4, "France"), (5, "日本"))
_STATES = ("NY", "CA", "TX", "Bayern", "Île-de-France", "Ontario")


def fax_or_phone(draft: Draft) -> str:
    """A telephone number as people type it."""
    number = int(draft.rng.random() * 10_000_000)
    return draft.pick(("+1 555 {:07d}", "(020) {:07d}", "+49 89 {:07d}", "{:07d}")).format(number)


class Locations:
    """Makes the locations of clients."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._made: list[Location] = []
        self._casting = Casting(
            draft.rng,
            (
                Scenario(self._identical, 1, 52),
                Scenario(self._new, 1, 34),
                Scenario(self._near, 1, 5),
                Scenario(self._twice_in_passportal, 1, 1),
                Scenario(self._twice_in_bms, 2, 1),
                Scenario(self._twice_in_bms_only, 2, 1),
                Scenario(self._inactive, 1, 3),
                Scenario(self._inactive_twin, 2, 1),
                Scenario(self._unnamed, 1, 0.5),
                Scenario(self._hollow, 1, 0.2),
            ),
        )

    def of(self, client: Client, count: int) -> list[Location]:
        """``count`` locations for ``client``, the first one its main location."""
        self._made = []
        verdict = client.verdict
        if verdict is None:
            self._casting.fill(client, count)
        else:
            for _ in range(count):
                self._alike(client, verdict)
        return self._finished(client)

    def leftovers(self, client: Client) -> list[Location]:
        """Further locations for ``client``: the scenarios that no client had room for."""
        self._made = []
        self._casting.finish(client)
        return self._finished(client)

    def _finished(self, client: Client) -> list[Location]:
        made, self._made = self._made, []
        if made and not client.location_names:
            made[0].is_main = True
        client.location_names += [(each.id, each.location_name) for each in made]
        return made

    def address(self, client: Client) -> Address:
        """One address, with the gaps that addresses have."""
        draft = self._draft
        country_id, country = draft.pick(_COUNTRIES)
        address = Address(
            id=draft.new_id("address"),
            address1=None if draft.chance(0.03) else draft.pick(draft.pools.streets),
            address2=f"Floor {1 + int(draft.rng.random() * 30)}" if draft.chance(0.2) else draft.pick((None, "")),
            city=draft.pick(draft.pools.cities),
            state=None if draft.chance(0.3) else draft.pick(_STATES),
            zip_code=None if draft.chance(0.05) else f"{int(draft.rng.random() * 100_000):05d}",
            country_id=country_id,
            country=country,
            phone=None if draft.chance(0.2) else fax_or_phone(draft),
            fax=fax_or_phone(draft) if draft.chance(0.2) else None,
            email_address=None if draft.chance(0.4) else f"office@{client.domain}",
            is_main=True,
            is_billing=draft.chance(0.5),
            address_type_id=1,
            address_type="Business",
        )
        if draft.chance(0.3):
            address.latitude = round(draft.rng.uniform(-60, 70), 6)
            address.longitude = round(draft.rng.uniform(-180, 180), 6)
        draft.sign(address)
        return address

    def _fresh_name(self, client: Client) -> str:
        """A name that no other location of ``client`` resembles."""
        draft = self._draft
        while True:
            city = int(draft.rng.random() * len(draft.pools.cities))
            kind = int(draft.rng.random() * len(LOCATION_KINDS))
            if (-1, city, kind) not in client.used:
                client.used.add((-1, city, kind))
                name = f"{draft.pools.cities[city]} {LOCATION_KINDS[kind]}"
                attack = draft.hostile["locations"].turn()
                return attack(name) if attack else name

    def _draw(self, client: Client, name: str | None, *, active: bool = True) -> Location:
        draft = self._draft
        location = Location(
            id=draft.new_id("location"),
            location_name=name,
            is_main=False,
            is_active=active,
            time_zone_id=None if draft.chance(0.2) else 5,
            date_format_id=1,
            time_format_id=1,
            addresses=[self.address(client)],
        )
        if draft.chance(0.08):
            second = self.address(client)
            second.is_main = False
            location.addresses = [second, *(location.addresses or [])]
        elif draft.chance(0.04):
            location.addresses = draft.pick((None, []))
        draft.sign(location)
        self._made.append(location)
        return location

    def _hold(self, client: Client, location: Location, name: str) -> str:
        """Passportal has ``location`` under ``name``, with most of its values."""
        addresses = location.addresses or []
        main = next((each for each in addresses if each.is_main), addresses[0] if addresses else None)
        values: dict[str, str | None] = {"name": name}
        if main:
            values |= {
                "address_1": main.address1,
                "address_2": main.address2,
                "city": main.city,
                "state": None if self._draft.chance(0.3) else main.state,
                "postal_code": main.zip_code,
                "country": main.country,
                "phone": "see notes" if self._draft.chance(0.1) else main.phone,
                "fax": main.fax,
            }
        return self._draft.hold("locations", client.passportal_id, values)

    def _pair(self, category: Paired, location: Location, passportal_id: str) -> None:
        self._draft.pair("locations", category, location.id, passportal_id)

    def _put(self, category: Single, *locations: Location) -> None:
        for each in locations:
            self._draft.put("locations", category, each.id)

    def _alike(self, client: Client, verdict: Single) -> None:
        """Any location of a client whose children all end the same way."""
        name = self._fresh_name(client)
        location = self._draw(client, name, active=not self._draft.chance(_INACTIVE))
        self._put(verdict if location.is_active else "out_of_scope", location)
        if client.passportal_id and self._draft.chance(0.6):
            self._hold(client, location, name)

    def _identical(self, client: Client) -> None:
        name = self._fresh_name(client)
        location = self._draw(client, disguised(name, self._draft.disguises["locations"].turn()))
        self._pair("identical", location, self._hold(client, location, name))

    def _new(self, client: Client) -> None:
        self._put("new", self._draw(client, self._fresh_name(client)))

    def _near(self, client: Client) -> None:
        name = self._fresh_name(client)
        location = self._draw(client, name)
        self._pair("near", location, self._hold(client, location, nearly_location(self._draft.rng, name)))

    def _twice_in_passportal(self, client: Client) -> None:
        name = self._fresh_name(client)
        location = self._draw(client, name)
        self._hold(client, location, name)
        self._hold(client, location, name.upper())
        self._put("ambiguous", location)

    def _twice_in_bms(self, client: Client) -> None:
        name = self._fresh_name(client)
        twins = self._draw(client, name), self._draw(client, f"{name} ")
        self._hold(client, twins[0], name)
        self._put("ambiguous", *twins)

    def _twice_in_bms_only(self, client: Client) -> None:
        name = self._fresh_name(client)
        self._put("new", self._draw(client, name), self._draw(client, name))

    def _inactive(self, client: Client) -> None:
        name = self._fresh_name(client)
        location = self._draw(client, name, active=False)
        self._hold(client, location, name)
        self._put("out_of_scope", location)

    def _inactive_twin(self, client: Client) -> None:
        name = self._fresh_name(client)
        self._put("out_of_scope", self._draw(client, name, active=False))
        location = self._draw(client, name)
        self._pair("identical", location, self._hold(client, location, name))

    def _unnamed(self, client: Client) -> None:
        self._put("unnamed", self._draw(client, self._draft.pick((None, "", "  "))))

    def _hollow(self, client: Client) -> None:
        """Null wherever the vendor allows it."""
        address = Address(id=self._draft.new_id("address"), is_main=True, is_billing=False)
        location = Location(id=self._draft.new_id("location"), is_main=False, is_active=True, addresses=[address])
        self._made.append(location)
        self._put("unnamed", location)
