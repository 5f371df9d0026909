"""A month on a virtual clock: hourly syncs of a tenant that changes, with kills, failing calls and an outage.

``python -m bms_pipeline_tests.end_to_end.month --size typical --days 30 --seed 1`` prints the figures;
``month_truth`` says what must hold at the end.

Before each tick its hours pass in BMS, then one sync runs as the schedule starts it, up to a minute late. A sync that
was killed or told an error is run again in the same tick, as Dagster's retries do; where a breaker stops it, a person
looks and allows the plan. Once a day somebody edits a document in Passportal.
"""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Literal

from rich.console import Console
from rich.progress import track

from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.reconcile.sync_settings import store_sync_setting
from bms_pipeline.sync import recovery, whole_sync
from bms_pipeline.warehouse.connection import connect, now, open_warehouse
from bms_pipeline_tests.end_to_end.month_truth import Truth, compare
from bms_pipeline_tests.end_to_end.ticks import Death, Ended, Order, Ticks, Verb, running_ticks
from bms_pipeline_tests.running import Home
from bms_sandbox.process import running_sandbox
from bms_sandbox.tenant import SIZES, Size

START = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
HOUR = 3600.0
HOURS_A_DAY = 24
CALLS_PER_HOUR = 1500
KILLS_A_DAY = 2
OUTAGE_HOURS = 6
FAILING_SHARE = 0.01
RERUNS = 2
EXPECTED_ERRORS = {"ServiceUnreachable", "AnswerUnreadable", "BudgetExhausted"}
"""What a sync may tell while calls fail: the sign-in is not tried twice, and nothing goes over the hourly limit."""

BREAKER = "BreakerOpen"
"""What a sync tells that would change so much that a person has to look: with few records, one renamed location."""


@dataclass
class Figures:
    """What happened in the month. ``defects``: errors that no failing call explains, with their tick."""

    ticks: int = 0
    syncs: int = 0
    allowed: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    failed_ticks: int = 0
    outage_ticks: int = 0
    outage_ticks_failed: int = 0
    failing_calls: int = 0
    refused_calls: int = 0
    mutations: Counter[str] = field(default_factory=Counter)
    edits: int = 0
    done: Counter[str] = field(default_factory=Counter)
    needs_approval: int = 0
    left_at_the_end: int = 0
    most_in_an_hour: dict[str, int] = field(default_factory=dict)
    most_counted: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)
    seconds: float = 0.0
    tick_seconds: list[float] = field(default_factory=list)
    sync_seconds: list[float] = field(default_factory=list)

    @property
    def other_ticks_failed(self) -> int:
        """Ticks outside of the outage in which no sync came to its end."""
        return self.failed_ticks - self.outage_ticks_failed

    def rows(self) -> list[tuple[str, str]]:
        """As a table: what, and how much."""

        def listed(counts: dict[str, int]) -> str:
            return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "none"

        def spread(seconds: list[float]) -> str:
            in_order = sorted(seconds)
            return f"median {statistics.median(seconds):.2f}, p95 {in_order[int(len(in_order) * 0.95)]:.2f}"

        return [
            ("ticks", f"{self.ticks:,}"),
            ("syncs started", f"{self.syncs:,}"),
            ("kills", f"{self.kills.total():,} ({listed(self.kills)})"),
            ("failing calls", f"{self.failing_calls:,}"),
            ("ticks of the outage, of these failed", f"{self.outage_ticks}, {self.outage_ticks_failed}"),
            ("other ticks that failed", f"{self.other_ticks_failed}"),
            ("plans that a person had to allow", f"{self.allowed}"),
            ("errors told", listed(self.errors)),
            ("mutations", listed(self.mutations)),
            ("edits in Passportal", f"{self.edits:,}"),
            ("operations done", listed(self.done)),
            ("operations that a person finished", f"{self.needs_approval:,}"),
            ("operations of the next plan", f"{self.left_at_the_end:,}"),
            ("calls refused for the limit", f"{self.refused_calls:,}"),
            ("most calls in an hour, as BMS counted", listed(self.most_in_an_hour)),
            ("most calls in an hour, as we counted", listed(self.most_counted)),
            ("seconds in all", f"{self.seconds:.0f}"),
            ("seconds a tick", spread(self.tick_seconds)),
            ("seconds a sync that was not disturbed", spread(self.sync_seconds)),
        ]


class Month:
    """One month under way."""

    def __init__(self, home: Home, ticks: Ticks, *, days: int, ticks_a_day: int, seed: int, kept_open: bool) -> None:
        self.figures = Figures()
        self.moved: Counter[tuple[str, int]] = Counter()
        self.edits: dict[str, str] = {}
        self._home = home
        self._ticks = ticks
        self._kept_open = kept_open
        self._ticks_a_day = ticks_a_day
        self._hours_a_tick = HOURS_A_DAY / ticks_a_day
        self._rng = Random(f"month/{seed}")
        self._moment = START
        self._kills_owed = 0
        self._steps: dict[str, int] = {}
        self._typical_seconds = 1.0
        self._all_ticks = range(days * ticks_a_day)
        day = range(ticks_a_day)
        self._kills = {n * ticks_a_day + each for n in range(days) for each in self._rng.sample(day, KILLS_A_DAY)}
        long = math.ceil(OUTAGE_HOURS / self._hours_a_tick)
        begins = self._rng.randrange(len(self._all_ticks) // 4, len(self._all_ticks) - 2 * long)
        self._outage = range(begins, begins + long)
        self._edit_tick = self._rng.choice(day)

    @property
    def start_warehouse(self) -> Path:
        """What was known when nothing had been loaded yet."""
        return self._home.folder / "start_warehouse.duckdb"

    def begin(self) -> None:
        """The initial sync, looked at and finished by a person; from then on everything new is created by rule."""
        self._must(self._run("prepare"))
        shutil.copyfile(self._home.settings.warehouse_file, self.start_warehouse)
        with open_warehouse(self._home.settings).transaction() as connection:
            # Stored beside the plan, which it does not change before the first finish: that one is about all there is.
            store_sync_setting(connection, "auto_create", {each.name: True for each in ENTITIES}, now())
        self._must(self._run("finish"))
        self._home.sandbox.behave(failing_share=FAILING_SHARE, failing_seed=self._rng.randrange(2**31))

    def go_by(self) -> None:
        """Every tick."""
        for tick in track(self._all_ticks, "Ticks", console=Console(stderr=True)):
            began = time.perf_counter()
            self._tick(tick)
            self.figures.tick_seconds.append(time.perf_counter() - began)

    def end(self) -> None:
        """Quiet: calls succeed, a full sweep is due, and a person decides about what no rule creates."""
        figures, sandbox = self.figures, self._home.sandbox
        sandbox.behave(failing_share=0)
        self._moment += 25 * HOUR
        self._note(-1, self._run("scheduled"), None)
        self._moment += 2 * HOUR
        self._must(self._run("prepare"))
        figures.needs_approval = self._must(self._run("finish")).operations
        self._moment += 2 * HOUR
        figures.left_at_the_end = self._must(self._run("look")).operations
        found = sandbox.figures()
        figures.failing_calls, figures.most_in_an_hour = found["failed"], found["most_in_an_hour"]
        figures.refused_calls = sum(found["refused"].values())

    def _tick(self, tick: int) -> None:
        figures = self.figures
        figures.ticks += 1
        self._moment = START + (tick + 1) * self._hours_a_tick * HOUR + self._rng.uniform(0, 60)
        self._change(tick)
        in_outage = tick in self._outage
        if in_outage or tick - 1 in self._outage:
            self._home.sandbox.behave(failing_share=1 if in_outage else FAILING_SHARE)
        self._kills_owed += tick in self._kills
        succeeded = self._sync_until_it_succeeds(tick)
        figures.failed_ticks += not succeeded
        figures.outage_ticks += in_outage
        figures.outage_ticks_failed += in_outage and not succeeded

    def _change(self, tick: int) -> None:
        """Hours pass in BMS; once a day somebody edits a document in Passportal."""
        seed = self._rng.randrange(2**31)
        for entity, changes in self._home.sandbox.mutate(seed, self._hours_a_tick).items():
            for change, ids in changes.items():
                self.figures.mutations[change] += len(ids)
                if change == "moved":
                    self.moved.update((entity, each) for each in ids)
        if tick % self._ticks_a_day == self._edit_tick:
            self._edit()

    def _edit(self) -> None:
        """What a person does in Passportal's own pages: a job title, in a document that stays from now on as it is."""
        text = f"Edited on day {self.figures.edits + 1}"
        with closing(connect(self._home.settings.passportal_file)) as connection:
            documents = connection.execute("SELECT id FROM records WHERE type = 'contact' ORDER BY id").fetchall()
            document = self._rng.choice(documents)[0]
            connection.execute(
                "UPDATE records SET details = map_concat(details, MAP {'Job Title': $text}) WHERE id = $id",
                {"text": text, "id": document},
            )
        self.edits[document] = text
        self.figures.edits += 1

    def _sync_until_it_succeeds(self, tick: int) -> bool:
        """Whether the sync of this tick came to its end, by itself or run again."""
        for attempt in range(1 + RERUNS):
            death = self._death() if self._kills_owed and not attempt else None
            began = time.perf_counter()
            ended = self._run("scheduled", death)
            seconds = time.perf_counter() - began
            self._note(tick, ended, death)
            if ended.waits or ended.error == BREAKER:
                self._allow()
                return True
            if ended.succeeded:
                if not attempt:
                    self.figures.sync_seconds.append(seconds)
                    self._steps, self._typical_seconds = ended.steps, seconds
                return True
            self._moment += max(60.0, seconds + 1)
        return False

    def _note(self, tick: int, ended: Ended, death: Death | None) -> None:
        figures = self.figures
        figures.syncs += 1
        figures.done.update(ended.done)
        if ended.killed and death:
            figures.kills[death.kind] += 1
            self._kills_owed -= 1
        if ended.error:
            figures.errors[ended.error] += 1
        if (
            ended.defect
            or (ended.error and ended.error not in {*EXPECTED_ERRORS, BREAKER})
            or (ended.killed and not death)
        ):
            figures.defects.append(f"tick {tick}: {ended.defect or ended.message or 'killed'}")
        for endpoint, used in ended.used.items():
            figures.most_counted[endpoint] = max(figures.most_counted[endpoint], used)

    def _allow(self) -> None:
        """A person looks at the plan that the last sync did not load, and finishes it."""
        self.figures.done.update(self._must(self._run("finish")).done)
        self.figures.allowed += 1

    def _death(self) -> Death:
        """A random moment of a sync like the last one. One that comes too late is made up for in the next tick."""
        kinds: tuple[Literal["file", "commit", "seconds"], ...] = ("file", "commit", "seconds")
        kind = self._rng.choice(kinds)
        if kind == "seconds" or not self._steps.get(kind):
            return Death("seconds", self._rng.uniform(0, self._typical_seconds))
        return Death(kind, self._rng.randint(1, self._steps[kind]))

    def _run(self, verb: Verb, death: Death | None = None) -> Ended:
        environment = self._home.environment.items()
        settings = {name.lower(): value for name, value in environment if name.startswith("BMS_")}
        self._home.sandbox.set_clock(self._moment)
        kept_open = self._kept_open and self._home.settings.warehouse_file.exists()
        return self._ticks.run(Order(verb, settings, self._moment, death, kept_open))

    def _must(self, ended: Ended) -> Ended:
        if not ended.succeeded:
            raise AssertionError(ended.defect or ended.message or "killed")
        return ended


def simulate(
    folder: Path, size: Size, *, days: int, seed: int, ticks_a_day: int = HOURS_A_DAY, kept_open: bool = False
) -> tuple[Figures, Truth]:
    """Such a month in ``folder``: what happened, and what is true at its end (``kept_open``: see ``Order``)."""
    began = time.perf_counter()
    limits = {"BMS_CALLS_PER_HOUR": str(CALLS_PER_HOUR)}
    with (
        running_sandbox(size, seed, folder / "tenant", {"hourly_limit": CALLS_PER_HOUR}) as sandbox,
        running_ticks() as ticks,
    ):
        home = Home(folder / "home", sandbox, limits)
        month = Month(home, ticks, days=days, ticks_a_day=ticks_a_day, seed=seed, kept_open=kept_open)
        month.begin()
        month.go_by()
        month.end()
        fresh = folder / "fresh"
        fresh.mkdir()
        shutil.copyfile(home.settings.passportal_file, fresh / "passportal.duckdb")
        fresh_home = Home(fresh, sandbox, {"BMS_CALLS_PER_HOUR": "100000"})
        sandbox.behave(hourly_limit=None)
        recovery.rebuild(fresh_home.settings)  # else a new database stops where it meets our own markers
        whole_sync.prepare(fresh_home.settings, full=True)
        truth = compare(home, fresh_home, month.start_warehouse, month.moved, month.edits)
    month.figures.seconds = time.perf_counter() - began
    return month.figures, truth


def report(figures: Figures, truth: Truth) -> str:
    """The figures as a table, and what is wrong below it."""
    lines = [f"{what:<42} {much}" for what, much in [*figures.rows(), *truth.rows()]]
    return "\n".join([*lines, *figures.defects, *truth.problems()])


def main() -> None:
    """Print the figures of a month."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="typical")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ticks-a-day", type=int, default=HOURS_A_DAY)
    parser.add_argument("--kept-open", action="store_true", help="databases stay open in a tick: faster, else the same")
    parser.add_argument("--folder", type=Path, help="keep everything there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        figures, truth = simulate(
            options.folder or Path(temporary),
            options.size,
            days=options.days,
            seed=options.seed,
            ticks_a_day=options.ticks_a_day,
            kept_open=options.kept_open,
        )
    print(report(figures, truth))


if __name__ == "__main__":
    main()
