"""Assets: devices of a client, matched by a real serial number, then by name inside the client."""

from __future__ import annotations

from bms_sandbox.population.draft import Casting, Client, Draft, Scenario
from bms_sandbox.population.naming import disguised, nearly_asset
from bms_sandbox.population.truth import Paired, Single
from bms_sandbox.records import Asset

_INACTIVE = 0.04
_KINDS = (
    (1, "Workstation", "PC"),
    (2, "Laptop", "LT"),
    (3, "Server", "SRV"),
    (4, "Printer", "PRN"),
    (5, "Network Switch", "SW"),
    (6, "Firewall", "FW"),
)
_JUNK = (
    None,
    "",
    " ",
    "0",
    "To Be Filled By O.E.M.",
    "Default string",
    "System Serial Number",
    "0000000",
    "N/A",
    "abc",
)
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"


class Assets:
    """Makes the assets of clients."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._serials = 0
        self._moved_away: Asset | None = None
        self._casting = Casting(
            draft.rng,
            (
                Scenario(self._identical, 1, 440),
                Scenario(self._identical_by_name, 1, 100),
                Scenario(self._identical_by_serial, 1, 20),
                Scenario(self._new, 1, 330),
                Scenario(self._near, 1, 30),
                Scenario(self._inactive, 1, 30),
                Scenario(self._twins_of_two_serials, 2, 3),
                Scenario(self._twins_one_held, 2, 3),
                Scenario(self._twins_without_serial, 2, 3),
                Scenario(self._twins_held_by_another_serial, 2, 3),
                Scenario(self._twins_not_held, 2, 3),
                Scenario(self._one_name_two_serials, 1, 3),
                Scenario(self._twice_in_passportal, 1, 3),
                Scenario(self._twice_in_passportal_told_apart, 1, 3),
                Scenario(self._one_serial_twice_in_bms, 2, 3),
                Scenario(self._one_serial_twice_in_passportal, 1, 3),
                Scenario(self._names_swapped, 2, 3),
                Scenario(self._name_taken_by_serial, 2, 3),
                Scenario(self._moves_away, 1, 3),
                Scenario(self._arrives, 0, 3),
                Scenario(self._inactive_twin, 2, 3),
                Scenario(self._unnamed, 1, 3),
                Scenario(self._hollow, 1, 1),
                Scenario(self._only_in_passportal, 0, 30),
            ),
        )

    def of(self, client: Client, count: int) -> None:
        """``count`` assets for ``client``."""
        verdict = client.verdict
        if verdict is None:
            self._casting.fill(client, count)
        else:
            for _ in range(count):
                self._alike(client, verdict)

    def leftovers(self, client: Client) -> None:
        """The scenarios that no client had room for."""
        self._casting.finish(client)

    def _serial(self) -> str:
        """A real serial number that nothing else bears, written in one of the usual ways."""
        self._serials += 1
        rng = self._draft.rng
        text = "".join(_ALPHABET[int(rng.random() * 34)] for _ in range(4)) + f"{self._serials:06d}"
        return text if rng.random() < 0.8 else f"{text[:3]}-{text[3:].lower()}"

    def _junk(self) -> str | None:
        return self._draft.pick(_JUNK)

    def _draw(self, client: Client, serial: str | None, name: str | None = None, *, active: bool = True) -> Asset:
        """An asset not yet kept; without ``name`` under a fresh one that no other asset of ``client`` resembles."""
        draft = self._draft
        kind_id, kind, code = draft.pick(_KINDS)
        if name is None:
            client.assets_named += 1
            name = f"{client.prefix}-{code}-{client.assets_named:04d}"
            attack = draft.hostile["assets"].turn()
            name = attack(name) if attack else name
        has_contact = draft.chance(0.4)
        host = int(draft.rng.random() * 65_000)
        return Asset(
            id=draft.new_id("asset"),
            category_name=None if draft.chance(0.01) else kind,
            category_id=kind_id,
            location_name=draft.pick(client.location_names)[1] if client.location_names else None,
            asset_name=name,
            serial_number=serial,
            machine_group_id=f"group.{client.prefix.lower()}" if draft.chance(0.5) else None,
            ip_address=f"10.{client.account_id % 250}.{host >> 8}.{host & 255}" if draft.chance(0.85) else None,
            contact_id=1 + int(draft.rng.random() * 9999) if has_contact else 0,
            contact_name=draft.pick(draft.pools.people[0].last) if has_contact else None,
            account_id=client.account_id,
            account_name=client.name,
            is_active=active,
        )

    def _put(self, category: Single, *assets: Asset) -> None:
        """BMS has these assets, and they have no one counterpart."""
        for each in assets:
            self._draft.add("assets", each)
            self._draft.put("assets", category, each.id)

    def _pair(self, category: Paired, asset: Asset, passportal_id: str) -> None:
        """BMS has ``asset``, and Passportal has it too."""
        self._draft.add("assets", asset)
        self._draft.pair("assets", category, asset.id, passportal_id)

    def _hold(self, client: Client, asset: Asset, name: str | None, serial: str | None) -> str:
        """Passportal has ``asset`` under ``name`` and ``serial``, its other values mostly as in BMS."""
        values = {
            "name": name,
            "serial_number": serial,
            "type": asset.category_name,
            "primary_ip": "192.0.2.1" if self._draft.chance(0.1) else asset.ip_address,
            "location": asset.location_name,
            "assigned_user": asset.contact_name,
        }
        return self._draft.hold("assets", client.passportal_id, values)

    def _alike(self, client: Client, verdict: Single) -> None:
        """Any asset of a client whose children all end the same way."""
        draft = self._draft
        serial = self._junk() if draft.chance(0.15) else self._serial()
        asset = self._draw(client, serial, active=not draft.chance(_INACTIVE))
        self._put(verdict if asset.is_active else "out_of_scope", asset)
        if client.passportal_id and draft.chance(0.6):
            self._hold(client, asset, asset.asset_name, serial)

    def _identical(self, client: Client) -> None:
        serial = self._serial()
        asset = self._draw(client, serial)
        held = self._hold(client, asset, asset.asset_name, serial.lower() if self._draft.chance(0.1) else serial)
        asset.asset_name = disguised(asset.asset_name or "", self._draft.disguises["assets"].turn())
        self._pair("identical", asset, held)

    def _identical_by_name(self, client: Client) -> None:
        real, junk = self._serial(), self._junk()
        ours, theirs = self._draft.pick(((real, junk), (junk, real), (junk, junk)))
        asset = self._draw(client, ours)
        self._pair("identical", asset, self._hold(client, asset, asset.asset_name, theirs))

    def _identical_by_serial(self, client: Client) -> None:
        serial = self._serial()
        asset = self._draw(client, serial)
        self._pair("identical", asset, self._hold(client, asset, f"was {asset.asset_name} before", serial))

    def _new(self, client: Client) -> None:
        self._put("new", self._draw(client, self._junk() if self._draft.chance(0.15) else self._serial()))

    def _near(self, client: Client) -> None:
        asset = self._draw(client, self._junk())
        name = nearly_asset(self._draft.rng, asset.asset_name or "")
        self._pair("near", asset, self._hold(client, asset, name, self._junk()))

    def _inactive(self, client: Client) -> None:
        serial = self._serial()
        asset = self._draw(client, serial, active=False)
        self._hold(client, asset, asset.asset_name, serial)
        self._put("out_of_scope", asset)

    def _twins(self, client: Client, first: str | None, second: str | None) -> tuple[Asset, Asset]:
        """Two assets of one name."""
        asset = self._draw(client, first)
        return asset, self._draw(client, second, asset.asset_name)

    def _twins_of_two_serials(self, client: Client) -> None:
        for each in self._twins(client, self._serial(), self._serial()):
            self._pair("identical", each, self._hold(client, each, each.asset_name, each.serial_number))

    def _twins_one_held(self, client: Client) -> None:
        one, other = self._twins(client, self._serial(), self._serial())
        self._pair("identical", one, self._hold(client, one, one.asset_name, one.serial_number))
        self._put("new", other)

    def _twins_without_serial(self, client: Client) -> None:
        one, other = self._twins(client, self._junk(), self._junk())
        self._hold(client, one, one.asset_name, self._junk())
        self._put("ambiguous", one, other)

    def _twins_held_by_another_serial(self, client: Client) -> None:
        one, other = self._twins(client, self._serial(), self._serial())
        self._hold(client, one, one.asset_name, self._draft.pick((self._serial(), None)))
        self._put("ambiguous", one, other)

    def _twins_not_held(self, client: Client) -> None:
        self._put("new", *self._twins(client, self._serial(), self._junk()))

    def _one_name_two_serials(self, client: Client) -> None:
        asset = self._draw(client, self._serial())
        self._hold(client, asset, asset.asset_name, self._serial())
        self._put("ambiguous", asset)

    def _twice_in_passportal(self, client: Client) -> None:
        asset = self._draw(client, self._junk())
        self._hold(client, asset, asset.asset_name, None)
        self._hold(client, asset, asset.asset_name, None)
        self._put("ambiguous", asset)

    def _twice_in_passportal_told_apart(self, client: Client) -> None:
        asset = self._draw(client, self._serial())
        self._hold(client, asset, asset.asset_name, None)
        self._pair("identical", asset, self._hold(client, asset, asset.asset_name, asset.serial_number))

    def _one_serial_twice_in_bms(self, client: Client) -> None:
        serial = self._serial()
        one, other = self._draw(client, serial), self._draw(client, serial)
        self._pair("identical", one, self._hold(client, one, one.asset_name, serial))
        self._put("new", other)

    def _one_serial_twice_in_passportal(self, client: Client) -> None:
        serial = self._serial()
        asset = self._draw(client, serial)
        self._pair("identical", asset, self._hold(client, asset, asset.asset_name, serial))
        self._hold(client, asset, f"spare of {asset.asset_name}", serial)

    def _names_swapped(self, client: Client) -> None:
        one, other = self._draw(client, self._serial()), self._draw(client, self._serial())
        self._pair("identical", one, self._hold(client, one, other.asset_name, one.serial_number))
        self._pair("identical", other, self._hold(client, other, one.asset_name, other.serial_number))

    def _name_taken_by_serial(self, client: Client) -> None:
        one, other = self._draw(client, self._serial()), self._draw(client, self._junk())
        self._pair("identical", one, self._hold(client, one, other.asset_name, one.serial_number))
        self._put("new", other)

    def _moves_away(self, client: Client) -> None:
        self._moved_away = self._draw(client, self._serial())
        self._put("new", self._moved_away)

    def _arrives(self, client: Client) -> None:
        """Passportal has the last asset that moved away, but inside this client."""
        asset, self._moved_away = self._moved_away, None
        if asset is not None and asset.account_id != client.account_id:
            self._hold(client, asset, f"moved {asset.asset_name}", asset.serial_number)

    def _inactive_twin(self, client: Client) -> None:
        serial = self._serial()
        retired, asset = self._draw(client, serial, active=False), self._draw(client, serial)
        retired.asset_name = asset.asset_name
        self._put("out_of_scope", retired)
        self._pair("identical", asset, self._hold(client, asset, asset.asset_name, serial))

    def _unnamed(self, client: Client) -> None:
        self._put("unnamed", self._draw(client, self._junk(), self._draft.pick(("", "  "))))

    def _hollow(self, client: Client) -> None:
        """Null wherever the vendor allows it."""
        asset = Asset(
            id=self._draft.new_id("asset"), category_id=0, contact_id=0, account_id=client.account_id, is_active=True
        )
        self._put("unnamed", asset)

    def _only_in_passportal(self, client: Client) -> None:
        gone = self._draw(client, self._serial())
        self._hold(client, gone, gone.asset_name, gone.serial_number)
