"""``/healthz`` and ``/metrics``, for monitoring: no log-in, and nothing but counts, moments and words of ours.

Like every address of the console they answer on the loopback address only, and only where the request names it, so no
page of another site reads them through a browser (``guard.door``).
"""

from __future__ import annotations

import logging
import time

import duckdb
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from bms_pipeline.console.context import Console
from bms_pipeline.core.errors import PipelineError
from bms_pipeline.reports import metrics
from bms_pipeline.state.opening import open_state
from bms_pipeline.sync.state_file import read_state

_log = logging.getLogger(__name__)

router = APIRouter()

STATE_UNREADABLE = "state_file_unreadable"
"""The reason of a 503: the file that each run leaves for others cannot be read. The console's log names it."""
COPY_UNREADABLE = "copy_unreadable"
"""The reason of a 503: the console's own copy of the warehouse cannot be read. The console's log says why."""


@router.api_route("/healthz", methods=["GET", "HEAD"])
def healthz(request: Request) -> Response:
    """Answer 200 while the console serves and the state of the last run can be read, else 503 with the reason.

    ``last_success_age_seconds`` is null where no run has succeeded so far; that is no fault of the console's. So is
    ``initial_sync_finished`` where no run has left its state.
    """
    console, reason = _console(request), STATE_UNREADABLE
    try:
        state = read_state(open_state(console.started_with))
        reason = COPY_UNREADABLE
        succeeded = console.reading.copy.cached("last_success", lambda: _last_success(console))
    except (PipelineError, duckdb.Error) as error:
        _log.warning("%s: %s", reason, error)
        return JSONResponse({"status": "unavailable", "reason": reason}, status_code=503)
    return JSONResponse(
        {
            "status": "ok",
            "last_success_age_seconds": None if succeeded is None else round(max(0.0, time.time() - succeeded)),
            "initial_sync_finished": None if state is None else state.initial_sync_finished,
        }
    )


@router.get("/metrics")
def scraped(request: Request) -> Response:
    """Return the metrics of this home folder in Prometheus' text format."""
    console = _console(request)
    try:
        samples = [
            *console.reading.copy.cached("metrics", lambda: _of_warehouse(console)),
            *metrics.home_samples(console.started_with),
        ]
    except (PipelineError, duckdb.Error) as error:
        _log.warning("%s", error)
        return PlainTextResponse(f"# {type(error).__name__}: see the console's log\n", status_code=503)
    text = metrics.prometheus_text(samples, metrics.tenant_of(console.started_with))
    return Response(text, media_type=metrics.CONTENT_TYPE)


def _console(request: Request) -> Console:
    """Return the console without renewing its copy: it follows the warehouse by itself, and nobody waits here."""
    console: Console = request.app.state.console
    return console


def _last_success(console: Console) -> float | None:
    with console.reading.copy.open() as connection:
        return metrics.last_success(connection)


def _of_warehouse(console: Console) -> list[metrics.Sample]:
    with console.reading.copy.open() as connection:
        return metrics.warehouse_samples(connection)
