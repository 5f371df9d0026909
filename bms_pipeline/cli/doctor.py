"""The command ``doctor``: show the report of an examination on one screen."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bms_pipeline.cli.on_demand import read_settings
from bms_pipeline.cli.output import AsJson, print_json, safe, say
from bms_pipeline.core.vocabulary import Verdict

if TYPE_CHECKING:
    from bms_pipeline.doctor.findings import Examination, Finding

app = typer.Typer()

LINES = 25
COLUMNS = 80
UNKNOWN_LINES = 4
"""Lines kept free for what nobody can know yet."""
TITLES = {
    Verdict.BLOCKED: "[bold red]In the way[/]",
    Verdict.DECIDE: "[bold yellow]You decide[/]",
    Verdict.READY: "[bold green]Ready[/]",
    Verdict.UNKNOWN: "[bold]Nobody can know yet[/]",
}


@app.command()
def doctor(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every check, and how it was seen.")] = False,
    as_json: AsJson = False,
    write: Annotated[
        str | None,
        typer.Option(metavar="DOCUMENT", help="Try changes on this document of Passportal, and put it back."),
    ] = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="Put back every document that a stopped trial left changed.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --write: write. Without it, nothing is written.")] = False,
) -> None:
    """Look at both services and say what fits, what you decide, and what nobody can know yet; changes nothing there.

    At most 40 calls, half a minute. Exit code 0: nothing is in the way; 2: you should decide something; 1: a sync
    cannot work.

    Only --write --yes changes anything: one document that you name and made for it, which is put back at the end.
    """
    from bms_pipeline.cli import one_write
    from bms_pipeline.doctor.examine import examine

    if restore and write is not None:
        raise typer.BadParameter("Give either --write or --restore.")
    if yes and write is None:
        raise typer.BadParameter("--yes belongs to --write DOCUMENT.")
    if restore or write is not None:
        code = one_write.restore(as_json=as_json) if write is None else one_write.write(write, yes=yes, as_json=as_json)
        raise typer.Exit(code)
    report = examine(read_settings())
    if as_json:
        print_json(_as_json(report))
    else:
        for line in screen(report, verbose=verbose):
            say(line)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _as_json(report: Examination) -> dict[str, Any]:
    return {
        "exit_code": report.exit_code,
        "calls": report.calls,
        "seconds": round(report.seconds, 1),
        "findings": [finding_as_json(finding) for finding in report.findings],
        "not_checked": list(report.hidden),
        "not_stored": report.not_stored,
    }


def finding_as_json(finding: Finding) -> dict[str, Any]:
    """Return a finding for a script."""
    return {
        "code": finding.code,
        "verdict": finding.verdict,
        "text": finding.text,
        "next_step": finding.next_step,
        "value": finding.value,
        "how": finding.how,
        "since": finding.since,
        "was": finding.was,
    }


def screen(report: Examination, *, verbose: bool = False) -> list[str]:
    """Return the lines of the report, with markup: all of it, or at most ``LINES`` lines of ``COLUMNS`` columns."""
    foot = _foot(report, verbose=verbose)
    room = sys.maxsize if verbose else LINES - len(foot) - sum(map(bool, report.groups.values()))
    kept_free = {
        Verdict.BLOCKED: 0,
        Verdict.DECIDE: 0,
        Verdict.READY: UNKNOWN_LINES,
        Verdict.UNKNOWN: 0,
    }
    lines: list[str] = []
    for group, findings in report.groups.items():
        shown = _fitting([block(finding, verbose=verbose) for finding in findings], findings, room - kept_free[group])
        room -= sum(map(len, shown))
        left_out = len(findings) - len(shown)
        more = f" [dim](and {left_out} more)[/]" if left_out else ""
        lines += [f"{TITLES[group]}{more}", *chain.from_iterable(shown)] if findings else []
    return [*lines, *foot]


def _fitting(blocks: Sequence[list[str]], findings: Sequence[Finding], room: int) -> list[list[str]]:
    """Return the blocks that fit into ``room`` lines in their order, those for the first screen first."""
    taken: set[int] = set()
    for place in sorted(range(len(blocks)), key=lambda place: not findings[place].is_short):
        if len(blocks[place]) <= room:
            taken.add(place)
            room -= len(blocks[place])
    return [block for place, block in enumerate(blocks) if place in taken]


def block(finding: Finding, *, verbose: bool) -> list[str]:
    """Return the lines of one finding."""
    lines = wrapped(finding.text, f"  {finding.code:18} ")
    if finding.next_step:
        lines += wrapped(finding.next_step, f"  {'':18} → ")
    if verbose and finding.since:
        seen = f"seen by: {finding.how}; since {finding.since:%Y-%m-%d %H:%M} UTC"
        lines += [f"[dim]{line}[/]" for line in wrapped(seen, f"  {'':18} ")]
    return lines


def wrapped(text: str, before: str = "") -> list[str]:
    """Return a text in lines of at most ``COLUMNS`` columns, safe for a terminal."""
    lines = textwrap.wrap(text, COLUMNS, initial_indent=before, subsequent_indent=" " * len(before))
    return [safe(line) for line in lines]


def _foot(report: Examination, *, verbose: bool) -> list[str]:
    calls = " and ".join(f"{calls} calls to {service}" for service, calls in report.calls.items())
    lines = wrapped(f"{calls}, {report.seconds:.1f} s; nothing was written there.")
    if report.hidden:
        lines += wrapped(textwrap.shorten(f"Not checked, for want of an answer: {', '.join(report.hidden)}", 150))
    if report.not_stored:
        lines += wrapped(f"Not kept for later: {report.not_stored}")
    return lines if verbose else [*lines, "Every check, and how it was seen: bms-pipeline doctor -v"]
