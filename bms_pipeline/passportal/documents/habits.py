"""The forms of a change that this Passportal was seen to take, as ``doctor --write`` proved them.

They stand in for the guesses of the settings. A setting that a person made counts more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.settings import Settings
from bms_pipeline.passportal.documents import encoding
from bms_pipeline.passportal.documents.encoding import Dialect
from bms_pipeline.warehouse import facts
from bms_pipeline.warehouse.facts import Fact


@dataclass(frozen=True)
class WritingHabits:
    """The proven forms by the part of a ``Dialect``, and the prefix of a template's id if it is known.

    ``drops_custom_id``: a ``customId`` that is sent was seen not to be kept. ``keeps_links``: a link that was sent by
    its id was seen to be kept.
    """

    forms: Mapping[str, str]
    prefix: str | None = None
    drops_custom_id: bool = False
    keeps_links: bool = False


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
    custom_id, links = known.get(facts.SENT_CUSTOM_ID), known.get(facts.LINKS)
    return WritingHabits(
        forms,
        None if prefix is None else facts.prefix_in(prefix.value),
        custom_id is not None and custom_id.value != facts.KEPT,
        links is not None and links.value == facts.BY_ID,
    )


def check_marker(dialect: Dialect, habits: WritingHabits) -> None:
    """Raise ``SettingsError`` where the marker would be written to a place that was seen not to keep it."""
    if dialect.marker == "custom_id" and habits.drops_custom_id:
        raise SettingsError(
            "Passportal was seen not to keep the customId that it is sent. Nothing was written.",
            "Set PASSPORTAL_MARKER=notes. Does it keep it by now? `bms-pipeline doctor --write DOCUMENT --yes` looks.",
        )


def dialect_for(settings: Settings, habits: WritingHabits) -> Dialect:
    """Return the forms of the settings, with the proven ones where no person chose a form."""
    proven = {
        name: form for name, form in habits.forms.items() if f"passportal_{name}" not in settings.model_fields_set
    }
    links: Literal["read", "by_id"] = "by_id" if habits.keeps_links else "read"
    return replace(encoding.dialect_of(settings), links=links, **proven)  # type: ignore[arg-type]
