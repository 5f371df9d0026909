"""Pages for set-up: your name, the connection to both services, the sync toggles, and Authenticate."""

from __future__ import annotations

import getpass
from concurrent.futures import ThreadPoolExecutor

from fastapi import APIRouter, Request, Response
from pydantic import SecretStr
from starlette.responses import RedirectResponse

from bms_pipeline.console.context import Console, ConsoleDep, FormDep, redirect_with_flash
from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.core.errors import ServiceUnreachable, SettingsError
from bms_pipeline.core.settings import Settings, set_by_environment, store_settings
from bms_pipeline.core.vocabulary import words
from bms_pipeline.guard.door import cleaned_name
from bms_pipeline.reports import figures
from bms_pipeline.sync import deciding, services

router = APIRouter()


AUTHENTICATE_SECONDS = 30.0
LONGEST_VALUE = 2_000

BMS_FIELDS = {
    "BMS_URL": "Portal URL (cloud) or FQDN (on-prem)",
    "BMS_TENANT": "Tenant: the company name under My Settings in BMS",
    "BMS_USERNAME": "User name",
    "BMS_PASSWORD": "Password",
    "BMS_MFA_SECRET": "MFA seed, only for a user with MFA: the authenticator's secret, not a code",
}
PASSPORTAL_FIELDS = {
    "PASSPORTAL_TARGET": "Target",
    "PASSPORTAL_URL": "Passportal's address",
    "PASSPORTAL_KEY_ID": "API key id",
    "PASSPORTAL_SECRET": "API secret",
    "PASSPORTAL_USERS_FILE": "File with the users as exported from Passportal (CSV)",
    "PASSPORTAL_MARKER": "Where a document bears the id of its BMS record",
}
CHOICES = {
    "PASSPORTAL_TARGET": {"embedded": "embedded store (a DuckDB file)", "documents_api": "Passportal's Documents API"},
    "PASSPORTAL_MARKER": {
        "notes": "last line of Notes",
        "id_fields": "fields ID and Integration Type",
        "custom_id": "customId (fewest calls, where your tenant keeps it)",
    },
}
FIELDS = BMS_FIELDS | PASSPORTAL_FIELDS
TOGGLES = ("sync", "auto_create")


@router.get("/name")
def ask_name(request: Request, console: ConsoleDep) -> Response:
    """Ask for the name of the person who decides in this browser."""
    return console.page(request, "name.html.j2", suggested=request.state.name or getpass.getuser(), missing=False)


@router.post("/name")
def keep_name(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Remember the name of the person who decides in this browser."""
    name = cleaned_name(form.get("name"))
    if not name:
        return console.page(request, "name.html.j2", code=422, suggested="", missing=True)
    response = RedirectResponse("/", status_code=303)
    console.guard.door.remember_name(response, name)
    return response


@router.get("/setup")
def show(request: Request, console: ConsoleDep) -> Response:
    """Show the connection, the toggles and Authenticate."""
    return _page(request, console)


@router.post("/setup/connection")
def store_connection(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Store the connection's settings. A secret left empty keeps its value."""
    changes = {}
    settings = console.settings
    for name in FIELDS:
        text = form.get(name)
        text = text if _is_secret(name) else text.strip()
        if len(text) > LONGEST_VALUE:
            raise SettingsError(f"{name} is too long.", f"At most {LONGEST_VALUE:,} characters.")
        if name in form and not set_by_environment(name, settings) and (text or not _is_secret(name)):
            changes[name] = text
        if _is_secret(name) and f"forget.{name}" in form and not set_by_environment(name, settings):
            changes[name] = ""
    try:
        forgotten = store_settings(console.env_file, changes)
    except SettingsError as error:
        typed = {name: form.get(name) for name in FIELDS if not _is_secret(name)}
        return _page(request, console, code=422, error=error, typed=typed)
    asked = [f"{name} belonged to the address of before and is forgotten: enter it again." for name in forgotten]
    return redirect_with_flash(request, "/setup", "The connection is stored.", *asked)


@router.post("/setup/toggles")
def store_toggles(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Change which entities are synced and created automatically: only the toggles switched on this page."""
    wanted = {}
    for kind in TOGGLES:
        for entity in ENTITIES:
            name = f"{kind}.{entity.name}"
            shown, is_on = form.get(f"was.{name}"), "on" if name in form else "off"
            is_available = kind == "sync" or f"sync.{entity.name}" in form
            if shown in ("on", "off") and shown != is_on and is_available:
                wanted[name] = is_on
    if not wanted:
        return redirect_with_flash(request, "/setup", "These toggles are so already.")
    with console.reading.writing(request.state.name) as warehouse:
        changed = deciding.change_settings(warehouse, wanted, request.state.name)
    told = [f"{setting.name}: {_worded(setting.before)} → {_worded(setting.after)}" for setting in changed.settings]
    records = [
        f"{change.records:,} {change.entity}: {words(change.was)} → {words(change.becomes)}"
        for change in changed.records
    ]
    return redirect_with_flash(request, "/setup", *told, *records)


@router.post("/setup/authenticate")
def authenticate(request: Request, console: ConsoleDep) -> Response:
    """Log in to BMS, and to Passportal if it is a service, and show which account and address answered.

    Changes nothing.
    """
    found = _within(AUTHENTICATE_SECONDS, console.settings)
    bms, passportal = found.bms, found.passportal
    told = [f"BMS answers at {bms.api_url} as {bms.full_name} of {bms.business_name} (time zone {bms.time_zone})."]
    if passportal:
        documents = "documents" if passportal.has_documents else "no document yet"
        told.append(f"Passportal answers at {passportal.url} with {passportal.clients:,} clients and {documents}.")
    return redirect_with_flash(request, "/setup", *told)


@router.post("/setup/read")
def read(request: Request, console: ConsoleDep) -> Response:
    """Read both sides in a run of its own, so that the lists of users and clients have records to show."""
    console.runs.start("preview")
    return redirect_with_flash(request, "/runs?then=/review/users")


def _page(
    request: Request,
    console: Console,
    *,
    code: int = 200,
    error: SettingsError | None = None,
    typed: dict[str, str] | None = None,
) -> Response:
    settings = console.settings
    return console.page(
        request,
        "setup.html.j2",
        code=code,
        groups={"Kaseya BMS": BMS_FIELDS, "Passportal": PASSPORTAL_FIELDS},
        values={name: _shown(settings, name) for name in FIELDS if not _is_secret(name)} | (typed or {}),
        secrets={name: bool(_shown(settings, name)) for name in FIELDS if _is_secret(name)},
        fixed={name for name in FIELDS if set_by_environment(name, settings)},
        choices=CHOICES,
        toggles=figures.sync_settings(console.reading.copy),
        error=error,
    )


def _shown(settings: Settings, name: str) -> str:
    """Return the text for a setting on the page. A secret gives stars or nothing."""
    value = getattr(settings, name.lower())
    return "" if value is None else str(value)


def _is_secret(name: str) -> bool:
    return Settings.model_fields[name.lower()].annotation is SecretStr


def _within(seconds: float, settings: Settings) -> services.Authenticated:
    """Return the accounts the services know us by.

    Raises ``ServiceUnreachable`` when they do not answer within ``seconds``.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="authenticate")
    try:
        return pool.submit(services.authenticate, settings).result(timeout=seconds)
    except TimeoutError:
        raise ServiceUnreachable(
            f"There was no answer for {seconds:.0f} s.", "See whether the portal opens in a browser, then try again."
        ) from None
    finally:
        pool.shutdown(wait=False)


def _worded(value: object) -> str:
    return {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)
