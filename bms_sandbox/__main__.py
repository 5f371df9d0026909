"""``python -m bms_sandbox``: generate a tenant unless the folder holds one, and serve it."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from bms_sandbox.behaviour import Behaviour
from bms_sandbox.bms_server import serve
from bms_sandbox.security import MFA_SECRET, MFA_USER, PASSWORD, TENANT, USER
from bms_sandbox.tenant import SIZES, Tenant, generate


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON line with the address and the (public) credentials when ready, then serve."""
    # Read first, to notice the parent's end even while a tenant is generated.
    parent = os.getppid()
    options = _options(arguments)
    tenant = open_tenant(options.folder, options.size, options.seed)
    serve(
        tenant,
        Behaviour().changed(json.loads(options.behaviour)),
        port=options.port,
        ready=_announce,
        parent=parent if options.exit_with_parent else None,
    )


def open_tenant(folder: Path, size: str, seed: int) -> Tenant:
    """Load the tenant in ``folder``, as it was left; generate one if there is none."""
    if (folder / "truth.json").exists():
        return Tenant.load(folder)
    tenant = generate(size, seed)  # type: ignore[arg-type]  # argparse knows the choices
    tenant.save(folder)
    return tenant


def _announce(url: str) -> None:
    login = {"tenant": TENANT, "username": USER, "password": PASSWORD}
    mfa_login = {**login, "username": MFA_USER, "mfa_secret": MFA_SECRET}
    print(json.dumps({"url": url, "login": login, "mfa_login": mfa_login}), flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bms_sandbox", description=main.__doc__)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--folder", type=Path, required=True, help="where the tenant lives")
    parser.add_argument("--behaviour", default="{}", help="switches as JSON")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when the starting process is gone")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
