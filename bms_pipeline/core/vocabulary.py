"""The words shared by code, tables, commands and pages, as types. Each has one spelling, in code as in the tables.

The commands, the jobs and the review pages take their choices from here. ``words`` has a term as people read it.
"""

from __future__ import annotations

from enum import StrEnum


class Disposition(StrEnum):
    """What reconciling decided about a record of BMS.

    ``UNMATCHED`` waits for a decision; ``AMBIGUOUS`` too, because several candidates fit. ``BLOCKED``: its client is
    not matched.
    """

    MATCHED = "matched"
    TO_CREATE = "to_create"
    EXCLUDED = "excluded"
    UNMATCHED = "unmatched"
    AMBIGUOUS = "ambiguous"
    OUT_OF_SCOPE = "out_of_scope"
    BLOCKED = "blocked"

    @classmethod
    def _missing_(cls, value: object) -> Disposition | None:
        """Read the spelling of version 0.5, which had blanks."""
        spelled = str(value).strip().lower().replace(" ", "_")
        return next((member for member in cls if member.value == spelled), None)


WAITS_FOR_DECISION = (Disposition.UNMATCHED, Disposition.AMBIGUOUS)
"""The dispositions about which a person decides."""


class Operation(StrEnum):
    """What a load does about a record. ``ADOPT`` links a record already in Passportal."""

    CREATE = "create"
    ADOPT = "adopt"
    UPDATE = "update"
    SKIP = "skip"


class Outcome(StrEnum):
    """The outcome of one operation on its way to Passportal.

    ``UNKNOWN`` is an intent without an outcome: the journal holds NULL. ``NOT_SENT``: it never took effect, and may be
    sent again. ``HANDED_OVER``: it went into a file for a person to import.
    """

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"
    HANDED_OVER = "handed_over"


class Count(StrEnum):
    """The count of each record read: exactly one. ``PENDING`` waits for its plan's load."""

    CREATED = "created"
    ADOPTED = "adopted"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    EXCLUDED = "excluded"
    UNMATCHED = "unmatched"
    AMBIGUOUS = "ambiguous"
    OUT_OF_SCOPE = "out_of_scope"
    BLOCKED = "blocked"
    FAILED = "failed"
    PENDING = "pending"


class Verb(StrEnum):
    """A person's decision about one record.

    ``BRANCH`` links one more BMS account to a Passportal client owned by another account.
    """

    MATCH = "match"
    BRANCH = "branch"
    UNMATCH = "unmatch"
    CREATE = "create"
    EXCLUDE = "exclude"
    INCLUDE = "include"


LINKS = (Verb.MATCH, Verb.BRANCH)
"""The decisions with a record of Passportal."""

UNDO = "undo"
"""The ledger's word for taking a decision back."""


class BulkVerb(StrEnum):
    """A person's decision about all records of an entity still without one."""

    AUTO_MATCH = "auto_match"
    CREATE_UNMATCHED = "create_unmatched"


class FieldOwner(StrEnum):
    """Which side owns a field of a matched record.

    ``LAST_EDIT``: BMS's change is written unless a person edited the field in Passportal since the last load.
    ``BMS_WINS``: BMS's value always. ``PASSPORTAL_WINS``: never written once the record is there. ``FILL_IF_EMPTY``:
    written only where Passportal has nothing.
    """

    LAST_EDIT = "last_edit"
    BMS_WINS = "bms_wins"
    PASSPORTAL_WINS = "passportal_wins"
    FILL_IF_EMPTY = "fill_if_empty"


class RunKind(StrEnum):
    """What started a run: a command, Dagster, or a decision in the review console."""

    COMMAND = "command"
    DAGSTER = "dagster"
    CONSOLE = "console"


class Life(StrEnum):
    """Whether a run is alive. Unknown: it cannot be seen from here, it is silent, and nothing proves its end."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


class OwnVariable(StrEnum):
    """Environment variables between our own processes. No person sets them."""

    ENV_FILE = "BMS_PIPELINE_ENV_FILE"
    ERROR_FILE = "BMS_PIPELINE_ERROR_FILE"
    FOLLOWS = "BMS_PIPELINE_FOLLOWS"


class NewRecords(StrEnum):
    """The reasons why Passportal takes no new records of an entity.

    ``TEMPLATE_UNKNOWN``: their template cannot be determined. ``NO_PLACE_FOR_MARKER``: their template has no field
    for the BMS id.
    """

    TEMPLATE_UNKNOWN = "template_unknown"
    NO_PLACE_FOR_MARKER = "no_place_for_marker"


class Verdict(StrEnum):
    """The meaning of one finding of ``doctor`` for the person who reads it.

    ``BLOCKED``: a sync cannot work before it is repaired. ``DECIDE``: a person should look at it. ``READY``: it fits.
    ``UNKNOWN``: nobody can know it yet.
    """

    BLOCKED = "blocked"
    DECIDE = "decide"
    READY = "ready"
    UNKNOWN = "unknown"


def words(term: str) -> str:
    """Return a term of this page in words for people: ``out_of_scope`` as ``out of scope``."""
    return term.replace("_", " ")
