"""Shared parts of every page: the console's state, the frame around a page, and error pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

import jinja2
from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse
from markupsafe import Markup
from starlette.responses import RedirectResponse

from bms_pipeline.console.examinations import Examinations
from bms_pipeline.console.read_replica import ReadReplica
from bms_pipeline.console.runs import Runs
from bms_pipeline.console.security import Failure, Guard, Session, SubmittedForm
from bms_pipeline.console.walk import WalkState, name_of, walk_on
from bms_pipeline.core.entities import BY_NAME, ENTITIES, Entity
from bms_pipeline.core.errors import (
    DecisionError,
    DecisionOvertaken,
    PipelineError,
    PlanError,
    PlanStale,
    RunLocked,
    ServiceError,
    SettingsError,
    WarehouseBusy,
)
from bms_pipeline.core.settings import Settings, read_settings
from bms_pipeline.core.vocabulary import WAITS_FOR_DECISION
from bms_pipeline.guard.door import ENTER, Door, is_local
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.reports import plan_preview, stories
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import named_rows

PER_PAGE = 50
FAILED = "/failed/"
_HEADINGS = {
    403: "Refused",
    404: "No such page",
    405: "No such page",
    413: "Too large",
    500: "The console failed",
    503: "This has to wait",
}
Row = TypeVar("Row")

_COUNTS = "SELECT disposition, count(*) AS records FROM sync.reconciled_{entity} GROUP BY ALL"


class NotFound(PipelineError):
    """A request for a page the console does not have."""


_HEADINGS_OF: dict[type[PipelineError], str] = {
    NotFound: "No such page",
    RunLocked: "This has to wait",
    WarehouseBusy: "This has to wait",
    DecisionOvertaken: "Decided by someone else since",
    DecisionError: "Not decided",
    PlanStale: "The plan has changed",
    PlanError: "No change to this plan",
    SettingsError: "Not saved",
    ServiceError: "No answer from the service",
}
"""Kind of error → heading of its page. A more specific kind precedes the kinds it belongs to."""


@dataclass
class Console:
    """One running console. ``kept``: results kept beyond one state of the copy, by name.

    Set-up writes to ``env_file``. ``started_with`` holds the constant settings.
    """

    started_with: Settings
    env_file: Path
    port: int

    def __post_init__(self) -> None:
        """Open the copy."""
        self.reading = ReadReplica(self.started_with)
        self.kept: dict[str, Any] = {}
        self.runs = Runs(self.started_with, self.env_file.absolute().parent)
        self.examinations = Examinations(self.started_with, self.env_file.absolute().parent)
        self.guard = Guard(Door.of(self.started_with, self.port), self.refused)

    @property
    def settings(self) -> Settings:
        """The current settings, in this console's home folder."""
        home = {"bms_pipeline_home": self.started_with.bms_pipeline_home}
        return read_settings(self.env_file).model_copy(update=home)

    @property
    def origin(self) -> str:
        """The console's address, without any code."""
        return f"http://127.0.0.1:{self.port}"

    def new_address(self) -> str:
        """Return an address to open, with a one-time code."""
        return f"{self.origin}{ENTER}?code={self.guard.door.store.new_code()}"

    def page(self, request: Request, template: str, *, code: int = 200, **content: Any) -> Response:  # noqa: ANN401  # of any page
        """Return ``template`` filled with ``content``, in the frame."""
        session: Session | None = getattr(request.state, "session", None)
        told = session.told[:] if session else []
        if session:
            session.told.clear()
        frame = {
            "path": request.url.path,
            "tenant": self.started_with.bms_pipeline_name if session else "",
            "name": getattr(request.state, "name", ""),
            "told": told,
            "csrf": lambda action: self.guard.csrf(session, action) if session else "",
            "entities": ENTITIES,
            "labels": self.labels() if session else {},
            "waiting": self.waiting() if session else {},
            "run": self.runs.current() if session else None,
            "walk": walk_on(request.url.path, request.query_params.get("then", ""), self.walk_state())
            if session
            else None,
            "page_address": lambda page: "?" + urlencode({**request.query_params, "page": page}),
            "as_of": self.reading.copy.as_of,
            "is_behind": self.reading.copy.is_behind(self.reading.warehouse),
        }
        return HTMLResponse(self._templates.get_template(template).render(frame | content), status_code=code)

    def labels(self) -> dict[str, dict[str, str]]:
        """Return entity → field → its label in Passportal, by the stored mapping."""

        def ask() -> dict[str, dict[str, str]]:
            with self.reading.copy.open() as connection:
                return plan_preview.labels_by_entity(connection)

        return self.reading.copy.cached("labels", ask)

    def waiting(self) -> dict[str, int]:
        """Return entity → the records waiting for a person."""
        counts = self.dispositions()
        return {
            name: sum(count.get(disposition, 0) for disposition in WAITS_FOR_DECISION) for name, count in counts.items()
        }

    def dispositions(self) -> dict[str, dict[str, int]]:
        """Return entity → disposition → records."""

        def ask() -> dict[str, dict[str, int]]:
            with self.reading.copy.open() as connection:
                return {
                    entity.name: dict(connection.execute(_COUNTS.format(entity=entity.name)).fetchall())
                    for entity in ENTITIES
                }

        return self.reading.copy.cached("dispositions", ask)

    def walk_state(self) -> WalkState:
        """Return how far this home is on the way to its first finish."""

        def ask() -> WalkState:
            row = self.rows(sql.read("console/walk"))[0]
            with self.reading.copy.open() as connection:
                settings = read_sync_settings(connection)
            return WalkState(
                has_read=row["has_read"],
                synced=settings.sync,
                waiting=self.waiting(),
                to_load=row["to_load"],
                is_approved=row["is_approved"],
                is_finished=settings.initial_sync_finished,
            )

        return self.reading.copy.cached("walk", ask)

    def rows(self, query: str, parameters: Any = ()) -> list[dict[str, Any]]:  # noqa: ANN401  # as DuckDB takes them
        """Return the rows ``query`` finds in the copy."""
        with self.reading.copy.open() as connection:
            return named_rows(connection, query, parameters)

    def refused(self, request: Request, status: int, message: str, next_step: str) -> Response:
        """Return the page explaining why the requested one is not shown."""
        return self.page(
            request,
            "error.html.j2",
            code=status,
            heading=_HEADINGS.get(status, "Not done"),
            message=message,
            next_step=next_step,
            action="",
            again=None,
            back=None,
        )

    def failed(self, request: Request, error: PipelineError) -> Response:
        """Return an error page. A failed form leads to the page's own address: a reload sends nothing again."""
        form: SubmittedForm | None = getattr(request.state, "form", None)
        again = [field for field in form.fields if field[0] != "csrf"] if form and _may_be_sent_again(error) else None
        failure = Failure(request.url.path, error, again, form.get("back") if form else None)
        if request.method != "POST":
            return self.failure_page(request, failure)
        number = request.state.session.remember(failure)
        return RedirectResponse(f"{FAILED}{number}", status_code=303)

    def failure_page(self, request: Request, failure: Failure) -> Response:
        """Return the page about a failure. For a form it includes everything entered, to send it again."""
        return self.page(
            request,
            "error.html.j2",
            code=_status(failure.error),
            heading=_heading(failure.error),
            message=failure.error.message,
            next_step=failure.error.next_step,
            action=failure.path,
            again=failure.again,
            back=failure.back,
        )

    @cached_property
    def _templates(self) -> jinja2.Environment:
        pages = jinja2.Environment(
            loader=jinja2.ChoiceLoader(
                [jinja2.PackageLoader("bms_pipeline.console"), jinja2.PackageLoader("bms_pipeline.reports")]
            ),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        plan_preview.add_words(pages)
        pages.filters |= {"moment": time_element, "day": day_element, "step_name": name_of, "counted": with_noun}
        pages.tests["local"] = is_local
        return pages


def console_of(request: Request) -> Console:
    """Return the console a request came to, with its copy as new as possible without waiting."""
    console: Console = request.app.state.console
    console.reading.refresh()
    return console


def submitted_form(request: Request) -> SubmittedForm:
    """Return the form of a POST, which the guard has checked."""
    form: SubmittedForm = request.state.form
    return form


ConsoleDep = Annotated[Console, Depends(console_of)]
"""A page's parameter: the console of its request."""
FormDep = Annotated[SubmittedForm, Depends(submitted_form)]
"""A page's parameter: the form of a request for a change, after its check."""


def entity_of(name: str) -> Entity:
    """Return the entity in an address. Raises ``NotFound``."""
    if name not in BY_NAME:
        raise NotFound("There is no such list.", f"Choose from {', '.join(BY_NAME)}.")
    return BY_NAME[name]


def redirect_with_flash(request: Request, address: str, *told: str) -> Response:
    """Redirect to ``address``, one of our own, and show the messages there."""
    request.state.session.told += told
    return RedirectResponse(address if is_own(address) else "/", status_code=303)


def one_page(request: Request, rows: Sequence[Row]) -> tuple[Sequence[Row], dict[str, int]]:
    """Return the rows of the page in the address, with ``this_page`` and the number of ``pages``."""
    pages = max(1, -(-len(rows) // PER_PAGE))
    page = min(number_in(request.query_params.get("page", ""), 1), pages)
    return rows[(page - 1) * PER_PAGE : page * PER_PAGE], {"this_page": page, "pages": pages}


def time_element(moment: datetime | str) -> Markup:
    """Return a moment in UTC as ``<time>``: the filter ``moment``. A script shows it by the reader's clock.

    ``moment`` is what DuckDB returns, or a run's time as text.
    """
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    at = at.astimezone(UTC) if at.tzinfo else at
    return _element("moment", at, f"{at:%Y-%m-%d %H:%M} UTC")


def day_element(moment: datetime) -> Markup:
    """Return a moment in UTC as its day in a sentence, ``on 25 Nov 2026``: the filter ``day``."""
    return _element("moment day", moment, stories.day(moment))


def _element(classes: str, at: datetime, text: str) -> Markup:
    return Markup(
        '<time class="{}" datetime="{:%Y-%m-%dT%H:%M:%SZ}" title="{:%Y-%m-%d %H:%M:%S} UTC">{}</time>'
    ).format(classes, at, at, text)


is_own = is_local
"""Whether an address in a form leads to the console and nowhere else."""


def number_in(text: str, least: int = 0, most: int = 2**62) -> int:
    """Return the whole number in ``text``, limited to ``least`` and ``most``; ``least`` where there is none."""
    digits = text.strip()
    return max(least, min(int(digits), most)) if digits.isascii() and digits.isdigit() and len(digits) <= 20 else least


def with_noun(number: int, noun: str) -> str:
    """Return ``number`` with ``noun``, which takes an s in the plural."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _may_be_sent_again(error: PipelineError) -> bool:
    return isinstance(error, RunLocked | WarehouseBusy)


def _status(error: PipelineError) -> int:
    match error:
        case NotFound():
            return 404
        case RunLocked() | WarehouseBusy():
            return 503
        case DecisionError() | PlanError():
            return 409
        case _:
            return 422


def _heading(error: PipelineError) -> str:
    """Return the heading of the page about ``error``."""
    return next((heading for kind, heading in _HEADINGS_OF.items() if isinstance(error, kind)), "Not done")
