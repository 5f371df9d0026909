"""Pages for set-up: your name, the connection to both services, the sync toggles, and Authenticate."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from pydantic import SecretStr
from starlette.responses import RedirectResponse

from bms_pipeline.bms.address import api_base_candidates
from bms_pipeline.console.context import Console, ConsoleDep, FormDep, redirect_with_flash
from bms_pipeline.console.security import Attempt, SubmittedForm
from bms_pipeline.console.walk import after_reading
from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.core.errors import PipelineError, ServiceUnreachable, SettingsError
from bms_pipeline.core.files import atomic_write
from bms_pipeline.core.settings import (
    PASSPORTAL_NEEDS,
    SECRETS_OF,
    Settings,
    check_given,
    missing_settings,
    needed_settings,
    set_by_environment,
    store_settings,
)
from bms_pipeline.core.vocabulary import words
from bms_pipeline.guard.door import cleaned_name, is_local
from bms_pipeline.passportal import snapshots
from bms_pipeline.passportal.documents.client import base_address
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
    "PASSPORTAL_USERS_FILE": "File with the users as exported from Passportal (CSV): its path, or upload it below",
    "PASSPORTAL_MARKER": "Where a document holds the id of its BMS record",
}
OF_DOCUMENTS = tuple(name for name in PASSPORTAL_FIELDS if name != "PASSPORTAL_TARGET")
"""Fields that only the Documents API uses."""
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
USERS_FILE = "passportal_users.csv"
"""Name of the uploaded users' file in the home folder."""


@router.get("/name")
def ask_name(request: Request, console: ConsoleDep) -> Response:
    """Ask for the name of the person who decides in this browser."""
    is_missing, then = "missing" in request.query_params, request.query_params.get("then", "")
    return console.page(
        request,
        "name.html.j2",
        suggested="" if is_missing else request.state.name or getpass.getuser(),
        missing=is_missing,
        then=then if is_local(then) else "",
    )


@router.post("/name")
def keep_name(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Remember the name of the person who decides in this browser, and go on to the page they wanted."""
    name, then = cleaned_name(form.get("name")), form.get("then")
    then = then if is_local(then) else ""
    if not name:
        return RedirectResponse(f"/name?missing=1&then={quote(then, safe='/')}", status_code=303)
    response = RedirectResponse(then or "/", status_code=303)
    console.guard.door.remember_name(response, name)
    return response


@router.get("/setup")
def show(request: Request, console: ConsoleDep) -> Response:
    """Show the connection, the toggles and Authenticate, and what was entered and not accepted."""
    session = request.state.session
    if "stored" in request.query_params:
        session.attempts.clear()
    settings = console.settings
    connection, sign_in = session.attempts.get("connection"), session.attempts.get("authenticate")
    upload = session.attempts.get("users-file")
    missing = missing_settings(settings, needed_settings(settings))
    return console.page(
        request,
        "setup.html.j2",
        groups={"Kaseya BMS": BMS_FIELDS, "Passportal": PASSPORTAL_FIELDS},
        of_documents=OF_DOCUMENTS,
        needed=(*needed_settings(settings), *PASSPORTAL_NEEDS),
        values={name: _shown(settings, name) for name in FIELDS if not _is_secret(name)}
        | (connection.entered if connection else {}),
        secrets={name: bool(_shown(settings, name)) for name in FIELDS if _is_secret(name)},
        held=set(connection.secrets) if connection else set(),
        fixed={name for name in FIELDS if set_by_environment(name, settings)},
        choices=CHOICES,
        toggles=figures.sync_settings(console.reading.copy),
        problems={**_problems(sign_in), **_problems(connection)},
        connection=connection,
        sign_in=sign_in,
        upload=upload,
        labels_of={name: label.partition(":")[0] for name, label in FIELDS.items()},
        missing=[FIELDS[name].partition(":")[0] for name in missing],
        main="save" if missing else "next" if session.is_authenticated else "authenticate",
        examinations=console.examinations,
        findings_shown=console.examinations.report,
    )


@router.get("/setup/examination")
def show_examination(request: Request, console: ConsoleDep) -> Response:
    """Show the last report of doctor, or that it is at work. No service is asked."""
    shown = console.examinations
    return console.page(request, "examination.html.j2", examinations=shown, findings_shown=shown.report)


def _can_call(request: Request, console: Console) -> bool:
    """Return whether no setting is missing that a call to either service needs; the page names those that are."""
    try:
        check_given(console.settings, needed_settings(console.settings))
    except SettingsError as error:
        request.state.session.attempts["authenticate"] = Attempt(error, is_incomplete=True)
        return False
    return True


@router.post("/setup/examine")
def examine(request: Request, console: ConsoleDep) -> Response:
    """Look at both services in the background, and show how far it is."""
    if not _can_call(request, console):
        return redirect_with_flash(request, "/setup#authenticate")
    console.examinations.start()
    return redirect_with_flash(request, "/setup#examination")


@router.post("/setup/connection")
def store_connection(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Store the connection's settings. A secret left empty keeps its value."""
    session, settings = request.state.session, console.settings
    entered = _entered(form, session.attempts.pop("connection", None))
    secrets = {name: text for name, text in entered.items() if _is_secret(name) and text}
    changes = {
        name: text
        for name, text in entered.items()
        if not set_by_environment(name, settings) and (text or not _is_secret(name))
    }
    changes |= {
        name: ""
        for name in FIELDS
        if _is_secret(name) and f"forget.{name}" in form and not set_by_environment(name, settings)
    }
    try:
        _check_length(entered)
        _check_content(console, entered)
        forgotten = store_settings(console.env_file, changes)
    except PipelineError as error:
        texts = {name: text for name, text in entered.items() if not _is_secret(name)}
        session.attempts["connection"] = Attempt(error, texts, secrets)
        return redirect_with_flash(request, "/setup#connection")
    session.attempts.clear()
    session.is_authenticated = False
    if console.settings != settings:
        console.examinations.forget()
    asked = [f"{name} belonged to the former address and is forgotten: enter it again." for name in forgotten]
    return redirect_with_flash(request, "/setup", "The connection is saved.", *asked)


@router.post("/setup/users-file")
def upload_users(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Take the users' file. It replaces the former one once the reader of the path setting has read it."""
    session, file = request.state.session, console.started_with.bms_pipeline_home.absolute() / USERS_FILE
    session.attempts.pop("users-file", None)
    try:
        content = form.files.get("file", b"")
        if not content:
            raise SettingsError("No file was chosen.", "Choose the file that you exported from Passportal.")
        with atomic_write(file) as unfinished:
            unfinished.write_bytes(content)
            users = snapshots.users_in(unfinished, name="The uploaded file")
        store_settings(console.env_file, {"PASSPORTAL_USERS_FILE": str(file)})
    except PipelineError as error:
        session.attempts["users-file"] = Attempt(error)
        return redirect_with_flash(request, "/setup#users-file")
    return redirect_with_flash(request, "/setup", f"The file with {len(users):,} users is saved.")


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
        return redirect_with_flash(request, "/setup", "No change: these settings are already set.")
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

    Changes nothing. Doctor then looks at both in the background.
    """
    session = request.state.session
    session.attempts.pop("authenticate", None)
    session.is_authenticated = False
    try:
        found = _within(AUTHENTICATE_SECONDS, console.settings)
    except PipelineError as error:
        is_incomplete = isinstance(error, SettingsError) and bool(error.problems)
        session.attempts["authenticate"] = Attempt(error, is_incomplete=is_incomplete)
        return redirect_with_flash(request, "/setup#authenticate")
    session.is_authenticated = True
    bms, passportal = found.bms, found.passportal
    told = [f"BMS answers at {bms.api_url} as {bms.full_name} of {bms.business_name} (time zone {bms.time_zone})."]
    if passportal:
        documents = "documents" if passportal.has_documents else "no document yet"
        told.append(f"Passportal answers at {passportal.url} with {passportal.clients:,} clients and {documents}.")
    console.examinations.start()
    return redirect_with_flash(request, "/setup", *told)


@router.post("/setup/read")
def read(request: Request, console: ConsoleDep) -> Response:
    """Read both sides in a run of its own, so that the lists of users and clients have records to show."""
    if not _can_call(request, console):
        return redirect_with_flash(request, "/setup#authenticate")
    console.runs.start("preview")
    following = after_reading(console.walk_state())
    return redirect_with_flash(request, f"/runs?then={following.address}")


def _entered(form: SubmittedForm, earlier: Attempt | None) -> dict[str, str]:
    """Return the form's fields: texts without outer blanks, secrets as they are.

    A secret entered ``earlier`` and left empty now counts as entered, unless its address changed in between.
    """
    entered = {name: form.get(name) if _is_secret(name) else form.get(name).strip() for name in FIELDS if name in form}
    for name, text in (earlier.secrets if earlier else {}).items():
        addresses = [address for address, secrets in SECRETS_OF.items() if name in secrets and address in entered]
        is_same = earlier and all(entered[address] == earlier.entered.get(address) for address in addresses)
        if is_same and not entered.get(name):
            entered[name] = text
    return entered


def _check_length(entered: Mapping[str, str]) -> None:
    long = [name for name, text in entered.items() if len(text) > LONGEST_VALUE]
    if long:
        raise SettingsError(
            f"{long[0]} is too long.",
            f"At most {LONGEST_VALUE:,} characters.",
            dict.fromkeys(long, f"is longer than {LONGEST_VALUE:,} characters"),
        )


def _check_content(console: Console, entered: Mapping[str, str]) -> None:
    """Raise ``SettingsError`` where an address that was entered is none, or the users' file cannot be read."""
    settings = console.settings
    stored, target = _shown(settings, "PASSPORTAL_USERS_FILE"), entered.get("PASSPORTAL_TARGET")
    for name, check in (
        ("BMS_URL", api_base_candidates),
        ("PASSPORTAL_URL", lambda text: base_address(settings.model_copy(update={"passportal_url": text}))),
        ("PASSPORTAL_USERS_FILE", lambda text: text == stored or snapshots.users_in(_users_file(console, text))),
    ):
        is_used = name not in OF_DOCUMENTS or (target or settings.passportal_target) == "documents_api"
        if not entered.get(name) or not is_used:
            continue
        try:
            check(entered[name])
        except SettingsError as error:
            problems = {name: "does not fit, for the reason given above"}
            raise SettingsError(error.message, error.next_step, problems) from None


def _users_file(console: Console, text: str) -> Path:
    """Return the path in ``text`` as the settings read it: below the folder of ``.env``."""
    try:
        return console.env_file.absolute().parent / Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _problems(attempt: Attempt | None) -> dict[str, str]:
    """Return field → what is wrong with it, as far as the error says."""
    error = attempt.error if attempt else None
    return error.problems if isinstance(error, SettingsError) else {}


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
