"""The figures that a monitoring system collects, as text in Prometheus' format.

Moments are Unix times and no ages: ``time() - bms_pipeline_last_success_timestamp_seconds`` is the age, also where a
file with the metrics is no longer written. Labels hold words of the vocabulary and the tenant; no metric has a name, an
id or any other value of a record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import duckdb

from bms_pipeline.bms.budget import Budget
from bms_pipeline.core.entities import ENTITIES, LIST_CALLS
from bms_pipeline.core.files import atomic_write, refused_by_system
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.version import VERSION
from bms_pipeline.core.vocabulary import RunKind
from bms_pipeline.plan import standings
from bms_pipeline.plan.standings import Standing
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.recording import read_status
from bms_pipeline.sync.state_file import read_state
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import now

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The type of the text, for an HTTP answer."""


class MetricKind(StrEnum):
    """The kind of a metric, in Prometheus' words."""

    GAUGE = "gauge"
    COUNTER = "counter"


class Metric(NamedTuple):
    """A metric's declaration: its name without the prefix, its help, its labels but ``tenant``, and its kind."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: MetricKind = MetricKind.GAUGE

    @property
    def full_name(self) -> str:
        """The name as it is scraped."""
        return f"bms_pipeline_{self.name}"


INFO = Metric("info", "Always 1; its label is the version of bms-pipeline.", ("version",))
SCHEMA = Metric("schema_version", "The number of the newest migration of the warehouse.")
FINISHED = Metric("initial_sync_finished", "1 after the first finish, else 0.")
LAST_SUCCESS = Metric(
    "last_success_timestamp_seconds", "When the last run that read BMS ended without an error (Unix time)."
)
LAST_READ = Metric("last_read_timestamp_seconds", "When a list of BMS was last read and landed (Unix time).", ("list",))
LAST_COMPLETE_READ = Metric(
    "last_complete_read_timestamp_seconds", "When a list of BMS was last read to a provable end (Unix time).", ("list",)
)
RECORDS = Metric("records", "Records by their standing now.", ("entity", "standing"))
DISPOSITIONS = Metric("dispositions", "Records by what reconciling decided about them.", ("entity", "disposition"))
OUTCOMES = Metric(
    "last_sync_records",
    "Records of the newest plan of everything, by the outcome that they count under.",
    ("entity", "outcome"),
)
WAITING = Metric("waiting_records", "Records that wait for a person's decision.", ("entity",))
FAILED = Metric("failed_records", "Records whose last operation Passportal refused.", ("entity",))
ORPHANED = Metric("orphaned_records", "Matched records that are gone from BMS and kept in Passportal.", ("entity",))
UNKNOWN_WRITES = Metric("unknown_writes", "Writes to Passportal whose answer was lost.")
PLAN_WAITS = Metric("plan_waiting_operations", "Operations of the current plan that only a person's finish may load.")
DETAILS_WAITING = Metric("details_waiting_records", "Assets whose details are to be read.")
DUPLICATES = Metric("duplicate_markers", "BMS ids that are in several records of Passportal.")
BACKUP_FAILED = Metric("backup_failed", "1 where the last run could not copy people's decisions, else 0.")
CALLS_LEFT = Metric("calls_left", "Calls to BMS that are possible now, by list.", ("list",))
CALLS_LIMIT = Metric("calls_limit", "Calls to BMS in any hour, by list.", ("list",))
RUNS = Metric("runs_total", "Runs that ended, by their result.", ("result",), MetricKind.COUNTER)
LAST_RUN_SECONDS = Metric("last_run_seconds", "How long the last ended run took.")
LAST_RUN_SUCCEEDED = Metric("last_run_succeeded", "1 where the last ended run succeeded, else 0.")
RUN_ACTIVE = Metric("run_active", "1 while a run is at work, else 0.")

METRICS = (
    INFO, SCHEMA, FINISHED, LAST_SUCCESS, LAST_READ, LAST_COMPLETE_READ, RECORDS, DISPOSITIONS, OUTCOMES, WAITING,
    FAILED, ORPHANED, UNKNOWN_WRITES, PLAN_WAITS, DETAILS_WAITING, DUPLICATES, BACKUP_FAILED, CALLS_LEFT, CALLS_LIMIT,
    RUNS, LAST_RUN_SECONDS, LAST_RUN_SUCCEEDED, RUN_ACTIVE,
)  # fmt: skip
"""Every metric, in the order of the text."""


@dataclass(frozen=True)
class Sample:
    """One value of a metric with its labels."""

    metric: Metric
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def warehouse_samples(connection: duckdb.DuckDBPyConnection) -> list[Sample]:
    """Return the samples that the warehouse has, or the console's copy of it."""
    return [
        *_of_state(connection),
        *_of_records(connection),
        *_of_runs(connection),
    ]


def home_samples(settings: Settings) -> list[Sample]:
    """Return the samples that the files next to the warehouse have: the calls left, the state, the active run.

    Raises ``PipelineError`` where one of them cannot be read.
    """
    return [*_of_calls(settings), *_of_state_file(settings)]


def last_success(connection: duckdb.DuckDBPyConnection) -> float | None:
    """Return when the last run that read BMS ended without an error, as Unix time; None where none did."""
    row = connection.execute(sql.read("reports/metrics_last_success"), {"now": now()}).fetchone()
    return None if row is None or row[0] is None else float(row[0])


def prometheus_text(samples: Sequence[Sample], tenant: str = "") -> str:
    """Return ``samples`` in Prometheus' text format; each has the label ``tenant`` where it is not empty."""
    common = (("tenant", tenant),) if tenant else ()
    lines = []
    for metric in METRICS:
        found = [sample for sample in samples if sample.metric == metric]
        if found:
            lines.append(f"# HELP {metric.full_name} {_escaped(metric.help)}")
            lines.append(f"# TYPE {metric.full_name} {metric.kind}")
            lines += [_line(sample, common) for sample in found]
    return "".join(f"{line}\n" for line in lines)


def tenant_of(settings: Settings) -> str:
    """Return the tenant's name, or "" where none is set."""
    return str(getattr(settings, "bms_pipeline_name", "") or "")


def write_textfile(text: str, file: Path) -> None:
    """Replace ``file`` for node_exporter, which reads every file of the folder that ends in ``.prom``.

    So the unfinished file ends otherwise, and everybody may read the finished one. Raises ``PipelineError``.
    """
    unfinished = file.with_name(f"{file.name}.unfinished")
    with atomic_write(unfinished) as new:
        new.write_text(text, encoding="utf-8")
        new.chmod(0o644)
    try:
        unfinished.replace(file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise refused_by_system(error.errno or 0, file) from error


def _of_state(connection: duckdb.DuckDBPyConnection) -> Iterator[Sample]:
    yield Sample(INFO, 1, (("version", VERSION),))
    yield Sample(SCHEMA, _row(connection, "SELECT coalesce(max(number), 0) FROM main.migrations")[0])
    yield Sample(FINISHED, int(read_sync_settings(connection).initial_sync_finished))
    succeeded = last_success(connection)
    if succeeded is not None:
        yield Sample(LAST_SUCCESS, succeeded)
    reads = connection.execute(sql.read("reports/metrics_last_reads"), {"now": now()}).fetchall()
    for list_call, landed, complete in reads:
        yield Sample(LAST_READ, landed, (("list", list_call),))
        if complete is not None:
            yield Sample(LAST_COMPLETE_READ, complete, (("list", list_call),))
    yield Sample(UNKNOWN_WRITES, _row(connection, "SELECT count(*) FROM sync.journal WHERE outcome IS NULL")[0])


def _of_records(connection: duckdb.DuckDBPyConnection) -> Iterator[Sample]:
    counted = standings.counts(connection)
    waiting = standings.count_waiting(counted)
    for entity in ENTITIES:
        of_entity = ("entity", entity.name)
        for standing, records in counted[entity.name].items():
            yield Sample(RECORDS, records, (of_entity, ("standing", standing)))
        yield Sample(WAITING, waiting[entity.name], (of_entity,))
        yield Sample(FAILED, counted[entity.name][Standing.REFUSED], (of_entity,))
        yield Sample(ORPHANED, counted[entity.name][Standing.GONE], (of_entity,))
        dispositions = connection.execute(
            f"SELECT disposition, count(*) FROM sync.reconciled_{entity.name} GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        for disposition, records in dispositions:
            yield Sample(DISPOSITIONS, records, (of_entity, ("disposition", disposition)))
    for name, outcome, records in connection.execute(sql.read("reports/metrics_outcomes")).fetchall():
        yield Sample(OUTCOMES, records, (("entity", name), ("outcome", outcome)))


def _of_runs(connection: duckdb.DuckDBPyConnection) -> Iterator[Sample]:
    query = sql.read("reports/metrics_runs").format(console=RunKind.CONSOLE)
    results = ("succeeded", "failed", "killed")
    for result, runs in zip(results, _row(connection, query), strict=True):
        yield Sample(RUNS, runs, (("result", result),))
    row = connection.execute(sql.read("reports/metrics_last_run").format(console=RunKind.CONSOLE)).fetchone()
    if row is not None:
        yield Sample(LAST_RUN_SECONDS, row[0])
        yield Sample(LAST_RUN_SUCCEEDED, int(row[1]))


def _of_calls(settings: Settings) -> Iterator[Sample]:
    endpoints = {list_call.name: f"GET {list_call.path}" for list_call in LIST_CALLS} | {
        f"{entity.name}_details": entity.details.endpoint for entity in ENTITIES if entity.details is not None
    }
    with closing(Budget.of(settings)) as budget:
        for name, endpoint in endpoints.items():
            yield Sample(CALLS_LEFT, budget.left(endpoint), (("list", name),))
            yield Sample(CALLS_LIMIT, budget.limit_of(endpoint), (("list", name),))


def _of_state_file(settings: Settings) -> Iterator[Sample]:
    run = read_status(open_state(settings))
    yield Sample(RUN_ACTIVE, int(run is not None and run.is_running))
    state = read_state(open_state(settings))
    if state is not None:
        yield Sample(PLAN_WAITS, state.plan.waits if state.plan else 0)
        yield Sample(DETAILS_WAITING, state.details_waiting)
        yield Sample(DUPLICATES, state.duplicates)
        yield Sample(BACKUP_FAILED, int(bool(state.backup_problem)))


def _row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101  # each query counts
    return row


def _line(sample: Sample, common: tuple[tuple[str, str], ...]) -> str:
    labels = ",".join(f'{name}="{_quoted(text)}"' for name, text in (*common, *sample.labels))
    return (
        f"{sample.metric.full_name}{{{labels}}} {_number(sample.value)}"
        if labels
        else (f"{sample.metric.full_name} {_number(sample.value)}")
    )


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(text: str) -> str:
    r"""Return a help text on one line: ``\`` and a line break are escaped."""
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    r"""Return a label's text for between its quotes: ``\``, ``"`` and a line break are escaped."""
    return _escaped(text).replace('"', r"\"")
