"""The forms of a change that this Passportal was seen to take, as ``doctor --write`` proved them.

They stand in for the guesses of the settings. A setting that a person made counts more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from bms_pipeline.core.settings import Settings
from bms_pipeline.passportal.documents import encoding
from bms_pipeline.passportal.documents.encoding import Dialect
from bms_pipeline.warehouse import facts
from bms_pipeline.warehouse.facts import Fact


@dataclass(frozen=True)
class WritingHabits:
    """The proven forms by their setting (``passportal_values``), and the prefix of a template's id if it is known."""

    forms: Mapping[str, str]
    prefix: str | None = None


@runtime_checkable
class LearnsForms(Protocol):
    """A target that can write in several forms."""

    def learn(self, habits: WritingHabits) -> None:
        """Write in the forms that were seen to be taken, where no person chose a form."""


NOTHING_KNOWN = WritingHabits({})


def habits_in(known: Mapping[str, Fact]) -> WritingHabits:
    """Return what the facts say about changes."""
    codes = {"update": facts.UPDATE, "body": facts.BODY, "values": facts.VALUES}
    forms = {name: known[code].value for name, code in codes.items() if code in known}
    prefix = known.get(facts.TEMPLATE_PREFIX)
    return WritingHabits(forms, None if prefix is None else facts.prefix_in(prefix.value))


def dialect_for(settings: Settings, habits: WritingHabits) -> Dialect:
    """Return the forms of the settings, with the proven ones where no person chose a form."""
    proven = {
        name: form for name, form in habits.forms.items() if f"passportal_{name}" not in settings.model_fields_set
    }
    return replace(encoding.dialect_of(settings), **proven)  # type: ignore[arg-type]
