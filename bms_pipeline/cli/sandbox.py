"""The commands for the sandbox: stand-ins for both services with a made-up tenant."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bms_pipeline.cli.on_demand import (
    read_settings,
)
from bms_pipeline.cli.output import (  # fmt: skip
    err,
    out,
    print_json,
)
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.lifeline import Child

app = typer.Typer()

Size = Annotated[str, typer.Option(help="small, typical (500 clients, 50,000 assets) or large (10,000 clients).")]
Seed = Annotated[int, typer.Option(help="The same seed makes the same tenant.")]
SandboxHome = Annotated[
    Path | None, typer.Option("--home", help="Where it lives; default .bms_pipeline/sandbox-SIZE-SEED.")
]
CallsPerHour = Annotated[int, typer.Option(help="The limit per endpoint that the sandbox enforces.")]
SandboxTarget = Annotated[
    str, typer.Option("--target", help="embedded, or documents_api for a stand-in of Passportal's own API.")
]

Language = Annotated[
    str, typer.Option(help="The language of the documents_api's templates: de; default: English, Passportal's own.")
]
TemplatesFile = Annotated[
    Path | None,
    typer.Option("--templates", help="A TOML file with the documents_api's templates, in place of --language."),
]


class FaultName(StrEnum):
    """A fault of the sandbox BMS to watch; ``bms_sandbox.behaviour.NAMED_FAULTS`` has the same names."""

    OUTAGE = "outage"
    REFUSED_LOGIN = "refused-login"
    BUSY = "busy"
    HALVED_TENANT = "halved-tenant"
    SLOW = "slow"


Faults = Annotated[
    list[FaultName] | None,
    typer.Option(
        "--fault",
        help="Let the sandbox BMS fail, to see breakers and messages; repeat for more. outage: every call is 503."
        " refused-login: no login works. busy: 429 from the second call of each kind on. halved-tenant: every second"
        " record is gone (sync without it first). slow: each answer takes 2 seconds.",
    ),
]


_MODULES = ("bms_sandbox", "faker", "pyotp", "python_multipart")


@app.callback()
def check_installed() -> None:
    """Stand-ins for Kaseya BMS and Passportal with a made-up tenant, to try everything on."""
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"The sandbox is not installed: {', '.join(missing)} cannot be found.",
            "Install it with `pip install 'bms_pipeline[sandbox]'`.",
        )


@app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def sandbox_run(
    context: typer.Context,
    size: Size = "typical",
    seed: Seed = 1,
    home: SandboxHome = None,
    calls_per_hour: CallsPerHour = 1500,
    port: Annotated[int, typer.Option(help="0: any free port.")] = 0,
    target: SandboxTarget = "embedded",
    fault: Faults = None,
    language: Language = "",
    templates: TemplatesFile = None,
) -> None:
    """Run a command with the sandbox behind it: `bms-pipeline sandbox run -- bms-pipeline preview`.

    The command finds all settings in its environment. Without a command the sandbox just serves until Ctrl-C.
    """
    if target not in {"embedded", "documents_api"}:
        raise SettingsError(f"There is no target {target!r}.", "Choose embedded or documents_api.")
    if (language or templates) and target != "documents_api":
        raise SettingsError("Only the Documents API has templates.", "Add --target documents_api.")
    home = (home or Path(".bms_pipeline") / f"sandbox-{size}-{seed}").absolute()
    _check_size(size)
    _serve(context.args, home, target, calls_per_hour, port, fault or (), size, seed, language, templates)


@app.command("replay", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def sandbox_replay(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file made by `bms-pipeline support`.")],
    home: Annotated[Path | None, typer.Option(help="Where it lives; default .bms_pipeline/replay-BUNDLE.")] = None,
    calls_per_hour: CallsPerHour = 1500,
    port: Annotated[int, typer.Option(help="0: any free port.")] = 0,
) -> None:
    """Run a command with a bundle's tenant behind it: `bms-pipeline sandbox replay F.zip -- bms-pipeline preview`.

    Matches, decisions and settings of the bundle are in the fresh home folder before the command starts.
    """
    from bms_sandbox.replay import read_bundle

    replay = read_bundle(file)
    home = (home or Path(".bms_pipeline") / f"replay-{replay.name}").absolute()
    replay.prepare(home)
    _serve(context.args, home, replay.target, calls_per_hour, port)


def _serve(
    command: Sequence[str],
    home: Path,
    target: str,
    calls_per_hour: int,
    port: int,
    faults: Sequence[FaultName] = (),
    size: str = "small",
    seed: int = 1,
    language: str = "",
    templates: Path | None = None,
) -> None:
    """Serve the tenant in ``home``, generated there if there is none, while ``command`` runs, or until Ctrl-C."""
    _check_no_lake()
    with ExitStack() as stack:
        environment = stack.enter_context(_sandbox(size, seed, home, calls_per_hour, port, faults))
        environment |= stack.enter_context(_sandbox_passportal(target, home, language, templates))
        environment |= _nothing_of_a_real_tenant(home)
        if command:
            # In our own session: it shares the terminal, and Ctrl-C reaches it as it reaches us.
            child = Child(command, env={**os.environ, **environment}, own_session=False)
            try:
                code = child.process.wait()
            finally:
                child.end()
            raise typer.Exit(code)
        err.print("The sandbox serves until Ctrl-C. In another terminal:", highlight=False)
        for name, value in environment.items():
            out.print(f"export {name}='{value}'", highlight=False, soft_wrap=True)
        while True:
            time.sleep(3600)


def _check_size(size: str) -> None:
    from bms_sandbox.tenant import SIZES

    if size not in SIZES:
        raise SettingsError(f"There is no sandbox of size {size!r}.", f"Choose one of {', '.join(SIZES)}.")


@app.command("mutate")
def sandbox_mutate(
    url: Annotated[str, typer.Option(envvar="BMS_URL", help="The running sandbox.")],
    seed: Annotated[int, typer.Option(help="The same seed makes the same changes.")] = 1,
) -> None:
    """Let a day pass in a running sandbox: records appear, are renamed, move, are deactivated and deleted."""
    from bms_sandbox.process import mutate

    print_json(mutate(url, seed))


@app.command("import-files")
def sandbox_import_files(
    url: Annotated[str, typer.Option(envvar="PASSPORTAL_URL", help="The running sandbox Passportal.")],
    users_file: Annotated[
        Path, typer.Option(envvar="PASSPORTAL_USERS_FILE", help="Where the users are exported afterwards.")
    ],
) -> None:
    """Do a person's part in a running sandbox: import each file of import_files/ once, then export the users."""
    from bms_sandbox.process import export_users, import_new_files

    folder = read_settings().bms_pipeline_home / "import_files"
    imported = import_new_files(url, folder)
    export_users(url, users_file)
    for file in imported:
        out.print(f"Imported {file.name}.", highlight=False)
    if not imported:
        out.print(f"There is no new file in {os.path.relpath(folder)}.", highlight=False, soft_wrap=True)
    out.print(f"Exported the users to {os.path.relpath(users_file)}.", highlight=False, soft_wrap=True)


def _check_no_lake() -> None:
    """Raise ``SettingsError`` where the environment or ``.env`` has a tenant's lake: it would get made-up records."""
    settings = read_settings()
    if settings.bms_pipeline_lake or settings.bms_pipeline_state.get_secret_value():
        raise SettingsError(
            "BMS_PIPELINE_LAKE and BMS_PIPELINE_STATE are set, so the sandbox's records would land in that lake.",
            "Start the sandbox in a folder whose .env has neither, and export neither of them.",
        )


def _nothing_of_a_real_tenant(home: Path) -> dict[str, str]:
    """Return the environment that keeps a real tenant's secrets and Dagster's home out of the sandbox.

    An exported ``DAGSTER_HOME`` counts.
    """
    from bms_pipeline.core.settings import SECRETS

    dagster_home = Path(os.environ.get("DAGSTER_HOME") or home / "dagster")
    dagster_home.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Empty counts as not set.
    files = ("BMS_PIPELINE_SECRETS", *(f"{secret}_FILE" for secret in sorted(SECRETS)))
    return {"DAGSTER_HOME": str(dagster_home.absolute()), **{name: "" for name in files if name in os.environ}}


@contextmanager
def _sandbox(
    size: str, seed: int, home: Path, calls_per_hour: int, port: int, faults: Sequence[FaultName]
) -> Iterator[dict[str, str]]:
    """Start the sandbox BMS; yield the environment to reach it."""
    # Imported only here: a sync of a real tenant must neither wait for the sandbox nor run it.
    from bms_sandbox.behaviour import switches_of
    from bms_sandbox.process import running_sandbox

    with ExitStack() as stack:
        name = os.environ.get("BMS_PIPELINE_NAME", "")
        named = f" for {name}" if name else ""
        is_there = (home / "tenant" / "truth.json").exists()
        tenant = "the tenant there" if is_there else f"a {size} tenant (seed {seed})"
        with err.status(f"Starting a sandbox BMS with {tenant}{named} in {home}"):
            behaviour = {"hourly_limit": calls_per_hour, **switches_of(faults)}
            running = stack.enter_context(running_sandbox(size, seed, home / "tenant", behaviour, port=port))
        if faults:
            err.print(f"[yellow]The sandbox BMS fails on purpose: {', '.join(faults)}.[/]", highlight=False)
        yield {
            "BMS_URL": running.url,
            "BMS_TENANT": running.login["tenant"],
            "BMS_USERNAME": running.login["username"],
            "BMS_PASSWORD": running.login["password"],
            "BMS_CALLS_PER_HOUR": str(calls_per_hour),
            "BMS_PIPELINE_HOME": str(home),
            **({"BMS_PIPELINE_NAME": name} if name else {}),
        }


@contextmanager
def _sandbox_passportal(target: str, home: Path, language: str, templates: Path | None) -> Iterator[dict[str, str]]:
    """Fill a Passportal on first use, and start it if it is a service; yield the environment to reach it."""
    from bms_sandbox.passportal import fill_passportal
    from bms_sandbox.process import running_passportal

    if target == "embedded":
        from bms_pipeline.core.settings import Settings

        settings = Settings(_env_file=None, bms_pipeline_home=home)  # type: ignore[call-arg]  # pydantic adds it
        fill_passportal(settings.passportal_file, home / "tenant")
        yield {"PASSPORTAL_TARGET": target}
    else:
        folder = home / "passportal"
        with running_passportal(folder, home / "tenant", language=language, templates=templates) as running:
            yield running.environment()
