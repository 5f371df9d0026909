"""Contacts: people at a client, matched inside it by full name, then by e-mail address."""

from __future__ import annotations

from bms_sandbox.population.draft import Casting, Client, Draft, Scenario
from bms_sandbox.population.locations import fax_or_phone
from bms_sandbox.population.naming import nearly_person
from bms_sandbox.population.people import Person, draw_person, in_disguise
from bms_sandbox.population.truth import Paired, Single
from bms_sandbox.records import Contact, ContactEmail, ContactPhone

_INACTIVE = 0.04


class Contacts:
    """Makes the contacts of clients."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._casting = Casting(
            draft.rng,
            (
                Scenario(self._identical, 1, 540),
                Scenario(self._new, 1, 330),
                Scenario(self._near, 1, 40),
                Scenario(self._inactive, 1, 30),
                Scenario(self._twins_told_apart_by_email, 2, 3),
                Scenario(self._twins_one_held, 2, 3),
                Scenario(self._twins_one_held_other_unlike, 2, 3),
                Scenario(self._twins_of_one_email, 2, 3),
                Scenario(self._twins_held_without_email, 2, 3),
                Scenario(self._twins_not_held, 2, 3),
                Scenario(self._twice_in_passportal_told_apart, 1, 3),
                Scenario(self._twice_in_passportal, 1, 3),
                Scenario(self._inactive_twin, 2, 3),
                Scenario(self._unnamed, 1, 3),
                Scenario(self._hollow, 1, 1),
                Scenario(self._only_in_passportal, 0, 30),
            ),
        )

    def of(self, client: Client, count: int) -> None:
        """``count`` contacts for ``client``."""
        verdict = client.verdict
        if verdict is None:
            self._casting.fill(client, count)
        else:
            for _ in range(count):
                self._alike(client, verdict)

    def leftovers(self, client: Client) -> None:
        """The scenarios that no client had room for."""
        self._casting.finish(client)

    def _person(self, client: Client) -> Person:
        return draw_person(self._draft, client.used, "contacts")

    def _draw(
        self, client: Client, person: Person, emails: tuple[str, ...] | None = None, *, active: bool = True
    ) -> Contact:
        """A contact of ``client``; without ``emails`` with whatever people have."""
        draft = self._draft
        location_id, location_name = draft.pick(client.location_names or [(None, None)])
        addresses = self._addresses(client, person) if emails is None else emails
        defaults = 2 if draft.chance(0.01) else 1
        contact = Contact(
            id=draft.new_id("contact"),
            account_id=client.account_id,
            account_name=client.name,
            location_id=location_id,
            location_name=location_name,
            first_name=person.first,
            last_name=person.last,
            job_title=None if draft.chance(0.2) else draft.pick(draft.pools.job_titles),
            is_poc=draft.chance(0.05),
            is_active=active,
            effective_date=draft.stamp() if draft.chance(0.3) else None,
            is_billable=draft.chance(0.7),
            can_recieve_invoices=draft.chance(0.1),
            emails=[self._email(each, default=n < defaults) for n, each in enumerate(addresses)],
            phones=self._phones(),
        )
        if not contact.emails and draft.chance(0.3):
            contact.emails = None
        draft.sign(contact)
        draft.add("contacts", contact)
        return contact

    def _addresses(self, client: Client, person: Person) -> tuple[str, ...]:
        chance = self._draft.rng.random()
        if chance < 0.06:
            return ()
        own = person.email(client.domain)
        return (own, f"private.{own}") if chance > 0.9 else (own,)

    def _email(self, address: str | None, *, default: bool) -> ContactEmail:
        draft = self._draft
        email = ContactEmail(
            id=draft.new_id("email"), email_address=address, email_type_id=1, email_type="Work", is_default=default
        )
        draft.sign(email)
        return email

    def _phones(self) -> list[ContactPhone] | None:
        draft = self._draft
        chance = draft.rng.random()
        if chance < 0.15:
            return [] if chance < 0.1 else None
        kinds = ((1, "Work"),) if chance < 0.6 else ((1, "Work"), (2, "Mobile"))
        phones = []
        for n, (kind_id, kind) in enumerate(kinds):
            phone = ContactPhone(
                id=draft.new_id("phone"),
                phone=fax_or_phone(draft),
                phone_type_id=kind_id,
                phone_type=kind,
                is_default=n == 0,
            )
            draft.sign(phone)
            phones.append(phone)
        return phones

    def _hold(self, client: Client, person: Person, email: str | None, like: Contact | None = None) -> str:
        """Passportal has ``person`` with ``email``, its other values mostly as in BMS."""
        return self._hold_as(client, person.name, person, email, like)

    def _hold_as(self, client: Client, name: str, person: Person, email: str | None, like: Contact | None) -> str:
        values: dict[str, str | None] = {
            "name": name,
            "first_name": person.first,
            "last_name": person.last,
            "email": email,
        }
        if like is not None:
            phones = like.phones or []
            values |= {
                "job_title": "Office manager" if self._draft.chance(0.1) else like.job_title,
                "phone": phones[0].phone if phones else None,
                "mobile_phone": next((each.phone for each in phones if each.phone_type == "Mobile"), None),
                "location": like.location_name,
                "primary_contact": "Yes" if like.is_poc else "No",
            }
        return self._draft.hold("contacts", client.passportal_id, values)

    def _known_email(self, contact: Contact) -> str | None:
        """The default e-mail as Passportal may hold it: the same, in capitals, or not at all."""
        emails = contact.emails or []
        address = next((each.email_address for each in emails if each.is_default), None)
        chance = self._draft.rng.random()
        if address is None or chance < 0.2:
            return None
        return f" {address.upper()}" if chance > 0.9 else address

    def _pair(self, category: Paired, contact: Contact, passportal_id: str) -> None:
        self._draft.pair("contacts", category, contact.id, passportal_id)

    def _put(self, category: Single, *contacts: Contact) -> None:
        for each in contacts:
            self._draft.put("contacts", category, each.id)

    def _alike(self, client: Client, verdict: Single) -> None:
        """Any contact of a client whose children all end the same way."""
        person = self._person(client)
        contact = self._draw(client, person, active=not self._draft.chance(_INACTIVE))
        self._put(verdict if contact.is_active else "out_of_scope", contact)
        if client.passportal_id and self._draft.chance(0.6):
            self._hold(client, person, self._known_email(contact), contact)

    def _identical(self, client: Client) -> None:
        person = self._person(client)
        contact = self._draw(client, in_disguise(self._draft, person, "contacts"))
        self._pair("identical", contact, self._hold(client, person, self._known_email(contact), contact))

    def _new(self, client: Client) -> None:
        self._put("new", self._draw(client, self._person(client)))

    def _near(self, client: Client) -> None:
        person = self._person(client)
        contact = self._draw(client, person)
        name = nearly_person(self._draft.rng, person.first, person.last)
        self._pair("near", contact, self._hold_as(client, name, person, self._known_email(contact), contact))

    def _inactive(self, client: Client) -> None:
        person = self._person(client)
        contact = self._draw(client, person, active=False)
        self._hold(client, person, self._known_email(contact), contact)
        self._put("out_of_scope", contact)

    def _two_emails(self, client: Client, person: Person) -> tuple[str, str]:
        own = person.email(client.domain)
        return own, f"other.{own}"

    def _twins_told_apart_by_email(self, client: Client) -> None:
        person = self._person(client)
        for email in self._two_emails(client, person):
            contact = self._draw(client, person, (email,))
            self._pair("identical", contact, self._hold(client, person, email.title(), contact))

    def _twins_one_held(self, client: Client) -> None:
        person = self._person(client)
        own, other = self._two_emails(client, person)
        contact = self._draw(client, person, (own,))
        self._pair("identical", contact, self._hold(client, person, own, contact))
        self._put("new", self._draw(client, person, (other,)))

    def _twins_one_held_other_unlike(self, client: Client) -> None:
        person = self._person(client)
        own, other = self._two_emails(client, person)
        contact = self._draw(client, person, (own,))
        self._pair("identical", contact, self._hold(client, person, own, contact))
        self._hold(client, person, f"third.{own}")
        self._put("ambiguous", self._draw(client, person, (other,)))

    def _twins_of_one_email(self, client: Client) -> None:
        person = self._person(client)
        own, _ = self._two_emails(client, person)
        twins = self._draw(client, person, (own,)), self._draw(client, person, (f"{own} ",))
        self._hold(client, person, own)
        self._put("ambiguous", *twins)

    def _twins_held_without_email(self, client: Client) -> None:
        person = self._person(client)
        own, _ = self._two_emails(client, person)
        twins = self._draw(client, person, (own,)), self._draw(client, person, ())
        self._hold(client, person, self._draft.pick((None, "")))
        self._put("ambiguous", *twins)

    def _twins_not_held(self, client: Client) -> None:
        person = self._person(client)
        own, other = self._two_emails(client, person)
        self._put(
            "new", self._draw(client, person, (own,)), self._draw(client, person, (self._draft.pick((own, other)),))
        )

    def _twice_in_passportal_told_apart(self, client: Client) -> None:
        person = self._person(client)
        own, other = self._two_emails(client, person)
        contact = self._draw(client, person, (own,))
        self._hold(client, person, other)
        self._pair("identical", contact, self._hold(client, person, own, contact))

    def _twice_in_passportal(self, client: Client) -> None:
        person = self._person(client)
        own, other = self._two_emails(client, person)
        self._hold(client, person, other)
        self._hold(client, person, own)
        self._put("ambiguous", self._draw(client, person, ()))

    def _inactive_twin(self, client: Client) -> None:
        person = self._person(client)
        self._put("out_of_scope", self._draw(client, person, active=False))
        contact = self._draw(client, person)
        self._pair("identical", contact, self._hold(client, person, self._known_email(contact), contact))

    def _unnamed(self, client: Client) -> None:
        blank = Person("", " ", 0)
        self._put("unnamed", self._draw(client, blank, (f"info@{client.domain}",)))

    def _hollow(self, client: Client) -> None:
        """Null wherever the vendor allows it."""
        draft = self._draft
        contact = Contact(
            id=draft.new_id("contact"),
            account_id=client.account_id,
            is_poc=False,
            is_active=True,
            is_billable=False,
            can_recieve_invoices=False,
            emails=[ContactEmail(id=draft.new_id("email"), email_type_id=1, is_default=False)],
            phones=[ContactPhone(id=draft.new_id("phone"), phone_type_id=1, is_default=False)],
        )
        draft.add("contacts", contact)
        self._put("unnamed", contact)

    def _only_in_passportal(self, client: Client) -> None:
        person = self._person(client)
        self._hold(client, person, person.email(client.domain))
