"""A stranger with an access key who calls the stand-in for Passportal, without a socket and by a clock of the test."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bms_pipeline_tests.sandbox.calling import Caller, Clock
from bms_sandbox.documents_api.behaviour import PassportalBehaviour
from bms_sandbox.documents_api.server import create_app
from bms_sandbox.documents_api.store import Store

KEY, SECRET = "sandbox-access-key", "sandbox-secret-access-key"
TOKEN, DOCUMENTS = "/api/v2/auth/client_token", "/api/v2/documents"


def signed(content: str, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), content.encode(), hashlib.sha256).hexdigest()


@dataclass
class Stranger(Caller):
    """Knows the reference, and nothing of the stand-in's code."""

    def ask_for_token(self, key: str = KEY, secret: str = SECRET, content: str = "any text") -> httpx.Response:
        return self.post(
            TOKEN,
            json={"scope": "docs_api", "content": content},
            headers={"x-key": key, "x-hash": signed(content, secret)},
        )

    def sign_in(self) -> None:
        self.headers["x-access-token"] = self.ask_for_token().json()["access_token"]

    def behave(self, **switches: Any) -> None:
        assert self.post("/sandbox/behaviour", json=switches).status_code == 200

    def page(self, path: str = DOCUMENTS, **query: Any) -> list[dict[str, Any]]:
        answer = self.get(path, query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["results"] or [])

    def all_pages(self, path: str = DOCUMENTS, size: int = 100, **query: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        number = 1
        while page := self.page(path, **{"resultsPerPage": size, "pageNum": number, "orderBy": "id", **query}):
            rows += page
            number += 1
        return rows

    def document(self, document_id: int) -> dict[str, Any]:
        answer = self.get(f"{DOCUMENTS}/{document_id}")
        assert answer.status_code == 200, answer.text
        found = answer.json()
        return dict(found.get("results", found))

    def values(self, document_id: int) -> dict[str, str]:
        """What is not blank of a document: label → text, from elements in either form."""
        elements = self.document(document_id)["details"].values()
        return {each["name"]: each["value"]["text"] for each in elements if each["value"]["text"]}

    def record(self, **wanted: str) -> dict[str, Any]:
        """The one record of the steering dump with these columns."""
        (found,) = (each for each in self.records() if all(each[name] == value for name, value in wanted.items()))
        return found

    def records(self) -> list[dict[str, Any]]:
        return list(self.get("/sandbox/records").json())

    def put(self, document_id: int, document: dict[str, Any]) -> httpx.Response:
        return self.request("PUT", f"{DOCUMENTS}/{document_id}", json=document)


def stranger(file: Path, **switches: Any) -> Stranger:
    """Signed in to the Passportal in ``file``."""
    clock = Clock()
    made = Stranger(create_app(Store(file), PassportalBehaviour().changed(switches), clock), clock)
    made.sign_in()
    return made
