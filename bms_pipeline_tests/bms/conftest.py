"""A BMS of a few lines on a real socket, whose every answer a test can replace."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from bms_pipeline.bms.client import BmsClient
from bms_pipeline.core.settings import Settings

PASSWORD = "canary-pa55word-é&="
SEED = "JBSWY3DPEHPK3PXP"

Answering = Callable[[Request], Response | None]


def answer(result: object, status: int = 200, **more: object) -> Response:
    body = {"success": True, "error": None, "result": result, **more}
    return Response(json.dumps(body), status, content_type="application/json")


def refusal(message: str, status: int = 200, code: int | None = None) -> Response:
    body = {"success": False, "error": {"code": code, "message": message}, "result": None}
    return Response(json.dumps(body), status, content_type="application/json")


def always(response: Response) -> Answering:
    """Give this answer whatever is asked."""
    return lambda _: response


def text(body: str | bytes, status: int = 200, **headers: str) -> Response:
    return Response(body, status, headers={name.replace("_", "-"): value for name, value in headers.items()})


@dataclass
class FakeBms:
    """Accepts ``PASSWORD`` and its newest token; ``before`` may answer a path instead (``None`` lets it go on)."""

    url: str
    now: float = field(default_factory=time.time)
    lifetime: str = ""
    records: list[dict[str, object]] = field(default_factory=lambda: [{"id": 3, "accountName": "Zoë"}, {"id": 9}])
    before: dict[str, Answering] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    token: str = ""
    tokens_given: int = 0

    def __call__(self, request: Request) -> Response:
        token = request.headers.get("Authorization", "")
        self.asked.append((request.path, dict(request.args), token))
        if request.path in self.before and (replaced := self.before[request.path](request)) is not None:
            return replaced
        if request.path == "/v2/security/authenticate":
            return self._authenticate(request)
        if request.path == "/v2/security/refreshtoken":
            return self._refresh(request)
        if not self.token or token != f"Bearer {self.token}":
            return refusal("Security Error", 401, 978001)
        if request.path == "/v2/security/userinfo":
            return answer({"fullName": "Api User", "businessName": "MSP", "tenantId": 7, "olsonTimeZoneName": "UTC"})
        number = int(request.args.get("PageNumber", "1"))
        return answer(self.records if number == 1 else [], totalRecords=len(self.records))

    def count(self, ending: str) -> int:
        return sum(path.endswith(ending) for path, _, _ in self.asked)

    def _authenticate(self, request: Request) -> Response:
        form = {key: values[0] for key, values in parse_qs(request.get_data(as_text=True)).items()}
        self.forms.append(form)
        if form.get("Password") != PASSWORD:
            return refusal("Invalid user name or password", 401)
        return self._tokens()

    def _refresh(self, request: Request) -> Response:
        form = {key: values[0] for key, values in parse_qs(request.get_data(as_text=True)).items()}
        if form != {"AccessToken": self.token, "RefreshToken": f"refresh-{self.token}"}:
            return refusal("Security Error", 401, 978001)
        return self._tokens()

    def _tokens(self) -> Response:
        self.tokens_given += 1
        self.token = f"canary-token-{self.tokens_given}"
        result = {
            "accessToken": self.token,
            "refreshToken": f"refresh-{self.token}",
            "accessTokenExpireOn": self.lifetime,
        }
        return answer(result)


@pytest.fixture
def bms(httpserver: HTTPServer) -> FakeBms:
    fake = FakeBms(httpserver.url_for("").rstrip("/"))
    httpserver.expect_request(re.compile(".*")).respond_with_handler(fake)
    return fake


@pytest.fixture
def settings(bms: FakeBms, tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,  # a file of the folder in which the tests run is none of theirs
        bms_url=bms.url,
        bms_tenant="My Company",
        bms_username="api.user",
        bms_password=SecretStr(PASSWORD),
        bms_pipeline_home=tmp_path / "home",
    )  # type: ignore[call-arg]


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def connect(bms: FakeBms, settings: Settings, pauses: list[float]) -> Iterator[Callable[..., BmsClient]]:
    """Make clients that never sleep and whose clock is ``bms.now``; settings may be overridden by name."""
    made: list[BmsClient] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        bms.now += seconds

    def make(**overrides: object) -> BmsClient:
        made.append(BmsClient(settings.model_copy(update=overrides), clock=lambda: bms.now, sleep=sleep))
        return made[-1]

    yield make
    for client in made:
        client.close()
