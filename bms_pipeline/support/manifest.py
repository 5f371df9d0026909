"""The first file of a bundle: what is inside, what never is, and what the proof found, for the person who sends it."""

from __future__ import annotations

from collections.abc import Sequence

from bms_pipeline.support.proof import Difference
from bms_pipeline.support.selection import Request

MANIFEST = "MANIFEST.txt"
_SHOWN = 50
_TEXT = """\
Support bundle {name}

Read this before you send the file to anybody. Nothing was sent anywhere.

ALWAYS INSIDE (report.json)
  versions and platform; the settings by name (of most only: set, or not set); habits of both services as far as they
  were seen; your mapping, its words and constants replaced as below; names and labels of Passportal's templates; how
  many records have which disposition and reason; the last runs and their errors; calls of this hour; sizes of files.
  Errors keep only the words of this program. Other words are x, and names are replaced as below.
{records}
NEVER INSIDE
  secrets, tokens, .env, hosts, the tenant's name, the names of people who decided, webhooks, databases or logs as
  files, whole records of clients that you did not ask about.

HOW NAMES ARE REPLACED
  Each word has one stand-in in this bundle, made with a key that stays in your home folder. Length, case, accents,
  scripts, legal forms and placeholders stay, because matching looks at them. Dates are shifted, ids get other numbers,
  in order. Notes are x, line by line. `bms-pipeline support whois WORD` shows only you which original a word has.

WHAT WAS PROVED
{proof}
  Every original name, e-mail address, serial number, host and secret of four characters or more was searched for in
  every file of this ZIP: none was found.
"""
_RECORDS = """
INSIDE THIS ONE (tenant/)
  {about}
  That is {records} records of BMS with their counterparts in Passportal, matches and decisions, all with other names.
  {related} more share a name, a serial number or an id with one of these: they have only what matching looks at.
  To see what happens with them: bms-pipeline sandbox replay FILE.zip -- bms-pipeline preview
"""


def manifest(name: str, request: Request, records: int, related: int, differences: Sequence[Difference]) -> str:
    """Return the manifest of the bundle ``name``."""
    inside = _RECORDS.format(about=_about(request), records=records, related=related) if request.has_records else ""
    return _TEXT.format(name=name, records=inside, proof=_proof(request, records, differences))


def _about(request: Request) -> str:
    if request.whole:
        return "Every record of the tenant."
    clients = f"{len(request.clients)} of your clients with everything inside" if request.clients else ""
    single = f"{len(request.about)} single records" if request.about else ""
    return f"You asked about {' and '.join(filter(None, (clients, single)))}."


def _proof(request: Request, records: int, differences: Sequence[Difference]) -> str:
    if not request.has_records:
        return "  This bundle has no records."
    if not differences:
        return f"  Reconciled alone, all {records} records have the same disposition and reason as in your home folder."
    shown = "".join(
        f"    {difference.entity} {difference.bms_id}: {' '.join(difference.was)} became"
        f" {' '.join(difference.becomes) if difference.becomes else 'nothing'}\n"
        for difference in differences[:_SHOWN]
    )
    more = f"    and {len(differences) - _SHOWN} more\n" if len(differences) > _SHOWN else ""
    return (
        f"  Reconciled alone, {len(differences)} of {records} records have another disposition or reason than in your"
        f" home folder:\n{shown}{more}".rstrip()
    )
