"""Every error raised on purpose by this project.

::

    PipelineError
    ├── SettingsError            a setting is missing, malformed or unsafe
    ├── ServiceError             a call to BMS or Passportal failed
    │   ├── ServiceUnreachable   no connection, no answer in time, or 5xx after every retry
    │   ├── CertificateRefused   the TLS certificate is not trusted
    │   ├── RedirectRefused      the service redirected us to another address
    │   ├── AnswerUnreadable     not the promised JSON: HTML, a cut body, a wrong shape
    │   ├── RequestRefused       the service understood the request and refused it
    │   │   ├── LoginRefused     wrong user name, password, tenant or MFA code
    │   │   └── AccessRefused    this user may not read this module
    │   ├── FilterIgnored        the service was asked for one client and sent records of others
    │   ├── ClientNotFound       BMS shows no client of this id or name, or several of this name
    │   └── BudgetExhausted      the hourly limit of calls is used up
    ├── SweepIncomplete          a plan rests on a list that was not read to a provable end
    ├── LandingError             landed pages do not fit the declared fields; nothing was replaced
    ├── WarehouseError           the database file cannot be used
    │   ├── WarehouseBusy        another process holds it
    │   ├── WarehouseDamaged     its content is damaged, proved by reading it
    │   ├── WarehouseUnproved    its content looks damaged, but this process has it open
    │   ├── WarehouseNewer       a newer version of this program, or of DuckDB, wrote it
    │   ├── WarehouseUnreachable PostgreSQL, or the place of the data, does not answer
    │   ├── DecisionsMissing     it lacks decisions of people
    │   ├── StorageFull          the disk is full
    │   ├── StorageRefused       the system does not allow it: rights, a path, a read-only disk, a limit
    │   ├── StorageBroken        the disk reports an error
    │   └── MemoryFull           not enough memory
    ├── StageMissing             a stage needs another that never ran in this home folder
    ├── PlanError                a plan cannot be made or loaded
    │   ├── PlanMissing          no plan was ever made
    │   ├── PlanWaits            a person has to approve it first
    │   ├── PlanDiscarded        a person discarded it
    │   ├── PlanKept             it cannot be discarded: it was loaded, or its outcome is unknown
    │   ├── PlanStale            its inputs changed since it was made
    │   │   └── PlanNotCurrent   a later plan exists
    │   └── BreakerOpen          more than the configured share of an entity would be updated, or is gone
    ├── DecisionError            decisions were not accepted; nothing was applied
    │   ├── DecisionRefused      they would break a rule: one-to-one, the client boundary, a duplicate name
    │   ├── DecisionOvertaken    their records changed since the person looked at them
    │   └── DecisionFileInvalid  the decision file has mistakes, each with its line
    ├── ApprovalRefused          a launch that anybody could have forged would approve or decide
    ├── NoticeError              a notification could not be sent
    ├── RecordsUnexplained       read ≠ the sum of the outcomes: a defect, never ignored
    ├── StateUnreachable         PostgreSQL, which holds the state of runs, does not answer
    └── RunLocked                another run of this pipeline is working in the same home folder
        └── LockLost             this run lost its lock, so it writes nothing more

Each has what happened (with where: entity, id, page, file) and the next step; ``str(error)`` shows both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path


class PipelineError(Exception):
    """What happened and what you can do about it, for the person who reads it.

    ``message``: what happened and where. ``next_step``: what to do; empty if nothing can be done.
    """

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message, next_step)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message}\n→ {self.next_step}" if self.next_step else self.message


class SettingsError(PipelineError):
    """A setting is missing, malformed or unsafe. ``problems``: setting → what is wrong with it, where known."""

    def __init__(self, message: str, next_step: str = "", problems: Mapping[str, str] | None = None) -> None:
        super().__init__(message, next_step)
        self.problems = dict(problems or {})


class ServiceError(PipelineError):
    """A call to BMS or Passportal failed."""


class ServiceUnreachable(ServiceError):
    """No connection, no answer in time, or 5xx after every retry. ``status``: the 5xx, if there was one."""

    status: int | None = None


class CertificateRefused(ServiceError):
    """The TLS certificate is not trusted."""


class RedirectRefused(ServiceError):
    """The service redirected us to another address. Secrets are never sent there."""


class AnswerUnreadable(ServiceError):
    """The answer is not the JSON of the API. ``found``: what it is instead, as far as is known."""

    found: str = ""


class RequestRefused(ServiceError):
    """The service understood the request and refused it. ``reason``: why, in the service's own words."""

    reason: str = ""


class LoginRefused(RequestRefused):
    """Wrong user name, password, tenant or MFA code."""


class AccessRefused(RequestRefused):
    """The user may not read this module."""


class FilterIgnored(ServiceError):
    """The service was asked for the records of one client and sent those of others. Nothing of it was stored."""


class ClientNotFound(ServiceError):
    """BMS shows no client of this id or name, or several of this name. The run concluded nothing."""


class BudgetExhausted(ServiceError):
    """The hourly limit of calls is used up. Everything read so far is kept."""


class SweepIncomplete(PipelineError):
    """A plan rests on a list not read to a provable end. Nothing of it was loaded."""


class LandingError(PipelineError):
    """Landed pages do not fit the declared fields. Nothing was replaced."""


class WarehouseError(PipelineError):
    """The database file cannot be used."""


class WarehouseBusy(WarehouseError):
    """Another process holds the database file."""


class WarehouseDamaged(WarehouseError):
    """The content of the file is damaged, proved by reading it while nobody held it."""


class WarehouseUnproved(WarehouseError):
    """Content of ``file`` is invalid (``text``). This process has it open, so no check can read it whole."""

    def __init__(self, message: str, next_step: str, file: Path, text: str) -> None:
        super().__init__(message, next_step)
        self.file = file
        self.text = text


class WarehouseNewer(WarehouseError):
    """A newer version of this program, or of DuckDB, wrote the file. Nothing was written into it."""


class WarehouseUnreachable(WarehouseError):
    """PostgreSQL, or the place of the data, does not answer."""


class DecisionsMissing(WarehouseError):
    """The database lacks decisions of people, so no conclusion from it is safe."""


class StorageFull(WarehouseError):
    """The disk is full."""


class Stage(StrEnum):
    """A stage of one entity; other stages need it."""

    BMS = "bms"
    PASSPORTAL = "passportal"
    RECONCILED = "reconciled"


class StageMissing(PipelineError):
    """A stage needs another which never ran in this home folder. ``missing``: those stages with their entities."""

    def __init__(self, message: str, next_step: str, missing: Sequence[tuple[Stage, str]]) -> None:
        super().__init__(message, next_step)
        self.missing = tuple(missing)


class StorageRefused(WarehouseError):
    """The system does not allow it: rights, a path, a read-only disk, a limit on open files."""


class StorageBroken(WarehouseError):
    """The disk reports an error."""


class MemoryFull(WarehouseError):
    """The process needs more memory than it may have."""


class PlanError(PipelineError):
    """A plan cannot be made or loaded."""


class PlanMissing(PlanError):
    """No plan was ever made."""


class PlanWaits(PlanError):
    """A person has to approve the plan first."""


class PlanDiscarded(PlanError):
    """A person discarded the plan, so it cannot be approved or loaded any more."""


class PlanKept(PlanError):
    """The plan cannot be discarded: it was loaded, the outcome of a write is unknown, or it has no operations."""


class PlanStale(PlanError):
    """The plan's inputs changed since it was made."""


class PlanNotCurrent(PlanStale):
    """A later plan exists, or no plan has this hash."""


class BreakerOpen(PlanError):
    """More than the configured share of an entity would be updated, or is gone from BMS."""


class RecordNotFound(PipelineError):
    """BMS never listed a record of this id."""


class DecisionError(PipelineError):
    """Decisions were not accepted. Nothing was applied."""


class DecisionRefused(DecisionError):
    """The decisions would break a rule: one-to-one, the client boundary, a duplicate name."""


class DecisionOvertaken(DecisionError):
    """The records of the decisions changed since the person looked at them."""


class DecisionFileInvalid(DecisionError):
    """The decision file has mistakes, each with its line."""


class ApprovalRefused(PipelineError):
    """A launch that anybody could have forged would approve or decide. Nothing was changed."""


class NoticeError(PipelineError):
    """A notification could not be sent. The event it reports remains valid."""


class RecordsUnexplained(PipelineError):
    """The records read are not the sum of the outcomes."""


class StateUnreachable(PipelineError):
    """PostgreSQL, which holds the state of runs, does not answer, or refuses. The run concluded nothing."""


class RunLocked(PipelineError):
    """Another run of this pipeline is working in the same home folder."""


class LockLost(RunLocked):
    """The run lost its lock with the connection. It writes nothing more."""


def describe(error: BaseException) -> tuple[str, str]:
    """Return the message and next step shown to people for any error."""
    if isinstance(error, PipelineError):
        return error.message, error.next_step
    # Not its text: only our own errors are known to contain no secret.
    return f"It stopped with {type(error).__name__}.", "What was done is kept; run the same again to continue."
