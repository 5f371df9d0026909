"""The commands for support: make a bundle of a home folder, and look up who a stand-in is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bms_pipeline.cli.on_demand import open_warehouse, read_settings
from bms_pipeline.cli.output import AsJson, print_json, print_table, progress, safe, say
from bms_pipeline.core.entities import chosen

if TYPE_CHECKING:
    from bms_pipeline.support.selection import Request

app = typer.Typer()

About = Annotated[
    tuple[str, int] | None,
    typer.Option("--about", metavar="ENTITY ID", help="Take in this record and its client, as in --about assets 197."),
]
Clients = Annotated[
    list[int] | None,
    typer.Option("--client", metavar="ID", help="Take in this client (BMS account id) and everything inside."),
]


@app.callback(invoke_without_command=True)
def support(
    context: typer.Context,
    about: About = None,
    client: Clients = None,
    everything: Annotated[bool, typer.Option("--all", help="Take in every record of the tenant.")] = False,
    to: Annotated[Path | None, typer.Option(help="The file to write; default: support/ in the home folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a file for the person who helps you: what happened, with every name replaced. Nothing is sent anywhere.

    Without --about, --client or --all it has no record at all. Read MANIFEST.txt in it before you send it.
    """
    if context.invoked_subcommand is not None:
        return
    from bms_pipeline.support.bundle import default_file, make_bundle
    from bms_pipeline.warehouse.connection import now

    settings = read_settings()
    request = _request(about, client or [], everything=everything)
    file = (to or default_file(settings.bms_pipeline_home, now())).absolute()
    if to is None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with progress() as stages:
        bundle = make_bundle(settings, open_warehouse(settings), request, file, stages)
    if as_json:
        print_json(
            {
                "file": str(bundle.file),
                "bundle": bundle.name,
                "records": bundle.records,
                "related": bundle.related,
                "differences": bundle.differences,
            }
        )
        return
    say(f"{safe(bundle.file)}: {bundle.records} records, every name replaced; no original was found in it.")
    if bundle.differences:
        say(f"{len(bundle.differences)} records stand otherwise in the copy; MANIFEST.txt names them.")
    say("Read MANIFEST.txt in it before you send it. Who is who: bms-pipeline support whois WORD")


@app.command()
def whois(
    stand_in: Annotated[str, typer.Argument(metavar="WORD", help="A word, value or id of a bundle.")],
    as_json: AsJson = False,
) -> None:
    """Show which original a stand-in has, in the bundles made in this home folder."""
    from bms_pipeline.support.whois import look_up

    found = look_up(read_settings().bms_pipeline_home, stand_in)
    if as_json:
        print_json([vars(known) for known in found])
    else:
        rows = [(known.stand_in, known.kind, known.original, known.bundle) for known in found]
        print_table("Who is who", ("Stand-in", "Kind", "Original", "Bundle"), rows)


def _request(about: tuple[str, int] | None, clients: list[int], *, everything: bool) -> Request:
    from bms_pipeline.support.selection import Request

    records = [(chosen([about[0]])[0].name, about[1])] if about else []
    return Request(tuple(records), tuple(clients), everything)
