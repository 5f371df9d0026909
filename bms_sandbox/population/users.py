"""Users: the MSP's own employees, matched across the whole tenant by first and last name."""

from __future__ import annotations

from bms_sandbox.population.draft import Draft
from bms_sandbox.population.naming import nearly_person
from bms_sandbox.population.people import Person, draw_person, in_disguise
from bms_sandbox.population.truth import Paired, Single
from bms_sandbox.records import Employee

_DOMAIN = "sandbox-msp.example"
_HELD = 0.55


class Users:
    """Makes the employees."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._used: set[tuple[int, int, int]] = set()

    def populate(self, count: int) -> None:
        """``count`` employees: one of each awkward kind, the rest identical or new."""
        self._near()
        self._twice_in_passportal()
        self._twice_in_bms()
        self._inactive()
        self._one_name()
        self._hollow()
        for _ in range(count // 25):
            self._twice_in_bms(held=False)
            self._near()
        rest = max(3, count - len(self._draft.rows["employees"]))
        identical = round(rest * _HELD) + 1
        for _ in range(identical):
            self._identical()
        for _ in range(rest - identical):
            self._new()
        self._passportal_only()

    def _draw(self, person: Person, *, active: bool | None = True) -> Employee:
        draft = self._draft
        employee = Employee(
            id=draft.new_id("employee"),
            first_name=person.first,
            last_name=person.last,
            email_address=None if draft.chance(0.1) else person.email(_DOMAIN),
            username=f"user.{person.number}",
            job_title=None if draft.chance(0.2) else draft.pick(draft.pools.job_titles),
            is_active=active,
        )
        draft.add("employees", employee)
        return employee

    def _person(self) -> Person:
        return draw_person(self._draft, self._used, "users")

    def _hold(self, person: Person, name: str | None = None) -> str:
        values = {
            "name": name or person.name,
            "first_name": person.first,
            "last_name": person.last,
            "email": None if self._draft.chance(0.2) else person.email(_DOMAIN),
        }
        return self._draft.hold("users", None, values)

    def _pair(self, category: Paired, employee: Employee, passportal_id: str) -> None:
        self._draft.pair("users", category, employee.id, passportal_id)

    def _put(self, category: Single, *employees: Employee) -> None:
        for each in employees:
            self._draft.put("users", category, each.id)

    def _identical(self) -> None:
        person = self._person()
        written = in_disguise(self._draft, person, "users")
        self._pair("identical", self._draw(written, active=self._draft.pick((True, True, None))), self._hold(person))

    def _new(self) -> None:
        self._put("new", self._draw(self._person()))

    def _near(self) -> None:
        person = self._person()
        self._pair(
            "near", self._draw(person), self._hold(person, nearly_person(self._draft.rng, person.first, person.last))
        )

    def _twice_in_passportal(self) -> None:
        person = self._person()
        self._hold(person)
        self._hold(person)
        self._put("ambiguous", self._draw(person))

    def _twice_in_bms(self, *, held: bool = True) -> None:
        person = self._person()
        if held:
            self._hold(person)
        self._put("ambiguous", self._draw(person), self._draw(person))

    def _inactive(self) -> None:
        person = self._person()
        self._hold(person)
        self._put("out_of_scope", self._draw(person, active=False))

    def _one_name(self) -> None:
        """A user with no first name."""
        person = self._person()
        employee = Employee(id=self._draft.new_id("employee"), last_name=person.last, is_active=True)
        self._draft.add("employees", employee)
        self._put("new", employee)

    def _hollow(self) -> None:
        """Null wherever the vendor allows it; unknown activity counts as active."""
        employee = Employee(id=self._draft.new_id("employee"))
        self._draft.add("employees", employee)
        self._put("unnamed", employee)

    def _passportal_only(self) -> None:
        self._hold(self._person())
