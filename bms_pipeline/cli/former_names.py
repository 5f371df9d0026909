"""Commands and options as version 0.5 called them: still understood, with a note, until the version after this one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

COMMANDS = {
    "details": "fetch-details",
    "hand-over-again": "reissue-import",
    "hand-overs": "pending-imports",
    "notify-test": "test-notification",
}
OPTIONS = {
    "--beside": "--allow-duplicate",
    "--last": "--limit",
    "--most": "--limit",
    "--only-what-is-new": "--incremental",
    "--try": "--dry-run",
}


def translated(arguments: Sequence[str], note: Callable[[str], None]) -> list[str]:
    """Return ``arguments`` with the names of this version; ``note`` gets a line for each former one.

    What stands after ``--`` belongs to another command and stays as it is.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    found = list(arguments)
    for place, argument in enumerate(found[:end]):
        name, equals, value = argument.partition("=")
        former = COMMANDS if place == 0 else OPTIONS
        if name in former:
            found[place] = f"{former[name]}{equals}{value}"
            note(f"{name} is called {former[name]} now; the former name ends with the next version.")
    return found
