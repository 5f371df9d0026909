"""Signing in, pages, and answers that are none: what a person is told, and what is never taken for "no documents"."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from bms_pipeline.core.errors import (
    AccessRefused,
    AnswerUnreadable,
    LoginRefused,
    PipelineError,
    RedirectRefused,
    ServiceError,
    ServiceUnreachable,
    SettingsError,
)
from bms_pipeline.core.settings import Settings
from bms_pipeline.passportal.documents.client import DOCUMENTS, TOKEN, DocumentsClient
from bms_pipeline_tests.passportal.conftest import ACME, BETA, Service

CANARY = "canary-s3cret-é"


def everything(client: DocumentsClient, kind: str, **how: Any) -> list[int]:
    """The ids of all documents of a type, in the order they came."""
    return [row["id"] for page in client.pages(kind, **how) for row in page]


# Who and where


def test_a_key_that_is_right_says_what_it_opens(service: Service) -> None:
    with service.client() as client:
        access = client.check()
    assert (access.url, access.clients, access.has_documents) == (service.url, 2, True)


def test_a_wrong_secret_is_told_as_that(service: Service) -> None:
    with pytest.raises(LoginRefused, match="1001") as refusal:
        service.client(passportal_secret=SecretStr(CANARY)).check()
    assert refusal.value.next_step.startswith("The secret is wrong. Set PASSPORTAL_SECRET")
    assert CANARY not in str(refusal.value)


def test_a_wrong_key_is_told_first_where_it_may_be_either(service: Service) -> None:
    for switches, settings in (
        ({}, {"passportal_key_id": "another"}),
        ({"same_login_error": True}, {"passportal_secret": SecretStr(CANARY)}),
    ):
        service.behave(**switches)
        with pytest.raises(LoginRefused, match="1000") as refusal:
            service.client(**settings).check()
        assert refusal.value.next_step.startswith("Check PASSPORTAL_KEY_ID first")
        assert "PASSPORTAL_SECRET is wrong" in refusal.value.next_step


@pytest.mark.parametrize("with_200", [False, True])
def test_a_user_without_documentation_manager_is_told_so(service: Service, with_200: bool) -> None:
    service.behave(documentation_manager=False, refused_with_200=with_200)
    with pytest.raises(AccessRefused, match="no access to Documentation Manager"):
        service.client().check()


def test_clients_that_the_key_does_not_see_are_named(service: Service) -> None:
    service.behave(hidden_clients=[BETA])
    wanted = {"passportal_expected_clients": f"Acme & Söhne, 100% +; {BETA}; Beta"}
    with pytest.raises(AccessRefused, match=rf"no access to 2 of the clients in .*: {BETA}; Beta\."):
        service.client(**wanted).check()
    service.behave(hidden_clients=[])
    assert service.client(**wanted).check().clients == 2
    service.behave(hidden_clients=[ACME, BETA])
    with pytest.raises(AccessRefused, match="access to no client"):
        service.client().check()


@pytest.mark.parametrize("missing", ["passportal_key_id", "passportal_secret"])
def test_what_is_not_set_is_named_before_any_call(service: Service, missing: str) -> None:
    empty = SecretStr("") if missing == "passportal_secret" else ""
    with pytest.raises(SettingsError, match=f"^{missing.upper()} is not set"):
        service.client(**{missing: empty}).check()
    assert service.calls() == {}


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("", "not set"),
        ("http://passportal.example", "not https"),
        ("https://user:pass@passportal.example", "user name"),
        ("https://10.0.0.7", "private address"),
    ],
)
def test_an_address_that_may_not_be_used_is_a_setting_to_correct(service: Service, url: str, wrong: str) -> None:
    with pytest.raises(SettingsError, match=wrong) as error:
        service.client(passportal_url=url)
    assert "PASSPORTAL_" in str(error.value)
    assert "pass@" not in str(error.value)


def test_an_address_is_used_up_to_its_host(service: Service) -> None:
    assert service.client(passportal_url=f"{service.url}/desk/").check().url == service.url


def test_nobody_at_the_address(service: Service) -> None:
    with pytest.raises(ServiceUnreachable, match=r"Passportal at 127\.0\.0\.1 cannot be reached"):
        service.client(passportal_url="http://127.0.0.1:9").check()


# The token


def test_a_token_is_renewed_before_it_expires_and_when_it_is_refused(service: Service) -> None:
    service.behave(token_lifetime_seconds=100)
    client = service.client()
    everything(client, "asset")
    service.calls()
    service.now += 80
    everything(client, "asset")
    assert service.calls()[f"POST {TOKEN}"] == 1, "before it expires"
    client = service.client()
    pages = client.pages("asset", page_size=1)
    assert [each["id"] for each in next(pages)] == [101]
    service.behave(token_lifetime_seconds=3300)
    client._clock = lambda: 0  # a clock so wrong that the token seems good for ever
    service.now += 200
    assert [each["id"] for page in pages for each in page] == []
    assert service.calls()[f"POST {TOKEN}"] == 2, "in the middle of a list"


def test_a_token_without_a_usable_expiry_serves_until_it_is_refused(web: Web) -> None:
    web.token = {"access_token": "t", "expiry_time": "soon"}
    assert everything(web.client(), "asset") == []
    assert web.paths.count(TOKEN) == 1


# Pages


@pytest.mark.parametrize("cap", [1, 2, 3, 1000])
def test_a_list_is_read_to_its_empty_page_however_few_rows_a_page_has(service: Service, cap: int) -> None:
    for number in range(5):
        service.hold(200 + number, "asset", f"PC-{number}", 79)
    service.behave(page_cap=cap)
    assert everything(service.client(), "asset") == [101, 200, 201, 202, 203, 204]
    assert everything(service.client(), "asset", newest_first=True) == [204, 203, 202, 201, 200, 101]


@pytest.mark.parametrize("list_path", ["documents", "all"])
@pytest.mark.parametrize("refused_with_200", [False, True])
def test_a_list_is_found_where_it_is(service: Service, list_path: str, refused_with_200: bool) -> None:
    service.behave(list_path=list_path, refused_with_200=refused_with_200)
    assert everything(service.client(), "contact") == [102]


def test_a_page_that_repeats_the_one_before_ends_with_an_error(web: Web) -> None:
    web.answers[DOCUMENTS] = lambda request: {"results": [{"id": 1}, {"id": 2}]}
    with pytest.raises(AnswerUnreadable, match="page 2 of the assets with the page before it once more"):
        everything(web.client(), "asset")


# Answers that are none


HOSTILE = {
    "html": ("<html><title>Log in</title></html>", "an HTML page"),
    "empty": ("", "an empty body"),
    "cut": ('{"success": true, "results": [', "cut"),
    "no success": ('{"results": []}', "neither success nor failure"),
    "success null": ('{"success": null, "results": []}', "neither success nor failure"),
    "success false": ('{"success": false, "results": []}', "no reason given"),
    "success text": ('{"success": "false", "message": "Nope"}', "Nope"),
    "success one": ('{"success": 1, "results": []}', "no reason given"),
    "no results": ('{"success": true}', "no list of documents"),
    "results text": ('{"success": true, "results": "[]"}', "no list of documents"),
    "rows without ids": ('{"success": true, "results": [{}]}', "no list of documents"),
    "not a number": ('{"success": true, "results": [{"id": NaN}]}', "not valid JSON"),
    "deep": ('{"success": true, "results": ' + "[" * 100_000 + "]" * 100_000 + "}", "not valid JSON"),
    "digits": ('{"success": true, "results": [{"id": ' + "9" * 5000 + "}]}", "not valid JSON"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_answer_never_reads_as_no_documents(web: Web, case: str) -> None:
    body, said = HOSTILE[case]
    web.answers[DOCUMENTS] = lambda request: Response(body, content_type="application/json")
    with pytest.raises(ServiceError, match=said) as error:
        everything(web.client(), "asset")
    assert "page 1 of the assets" in str(error.value) or case == "cut"


@pytest.mark.parametrize("broken", ["", '{"success": true, "results": [{"id": 1},,]}'])
def test_an_answer_that_is_broken_in_passing_is_asked_for_again(web: Web, broken: str) -> None:
    pages = [broken, '{"success": true, "results": []}']
    web.answers[DOCUMENTS] = lambda request: Response(pages.pop(0), content_type="application/json")
    assert everything(web.client(), "asset") == []


@pytest.mark.parametrize("failure", [{"code": 500}, {"code": "503"}, {"status": 502}])
def test_a_200_that_says_that_the_service_failed_is_asked_for_again(web: Web, failure: dict[str, object]) -> None:
    failed = json.dumps({"success": False, "message": "server error", **failure})
    pages = [failed, failed, '{"success": true, "results": []}']
    web.answers[DOCUMENTS] = lambda request: Response(pages.pop(0), content_type="application/json")
    assert everything(web.client(), "asset") == []
    web.answers[DOCUMENTS] = lambda request: Response(failed, content_type="application/json")
    with pytest.raises(ServiceUnreachable, match="server error"):
        everything(web.client(), "asset")


def _same(answer: Response, _: Request) -> Response:
    return answer


def test_a_host_that_is_no_passportal_is_told_as_that(web: Web) -> None:
    for answer in (Response("<html>Hello</html>"), Response("Not here", 404), Response("[]")):
        web.answers[TOKEN] = partial(_same, answer)
        with pytest.raises(AnswerUnreadable, match="is not Passportal's API") as error:
            web.client().check()
        assert "PASSPORTAL_URL" in error.value.next_step


def test_a_redirect_is_not_followed(web: Web) -> None:
    web.answers[TOKEN] = lambda request: Response("", 307, headers={"Location": "https://elsewhere.invalid/x?y=1"})
    with pytest.raises(RedirectRefused, match=r"redirects to https://elsewhere\.invalid;"):
        web.client().check()
    assert web.paths == [TOKEN]


def test_reads_are_tried_again_and_writes_are_not(service: Service) -> None:
    service.behave(faults=[{"route": f"GET {DOCUMENTS}", "kind": "status", "status": 503, "times": 2}])
    assert everything(service.client(), "asset") == [101]
    assert len(service.pauses) == 2
    service.calls()
    service.behave(faults=[{"route": f"POST {DOCUMENTS}", "kind": "status", "status": 503}])
    with pytest.raises(ServiceUnreachable, match="503"):
        service.client().create([{}])
    assert service.calls()[f"POST {DOCUMENTS}"] == 1


def test_a_write_that_the_service_says_it_did_not_take_is_sent_again(service: Service) -> None:
    service.behave(faults=[{"route": f"POST {DOCUMENTS}", "kind": "status", "status": 429, "times": 2}])
    service.client().create([{"templateUid": "tpl-79", "clientId": ACME, "title": "PC-2"}])
    assert service.titles("asset") == ["PC-1", "PC-2"]


def test_a_document_that_is_not_there_is_none_and_one_that_may_not_be_seen_too(service: Service) -> None:
    client = service.client()
    for refused_with_200 in (False, True):
        service.behave(hidden_clients=[ACME], refused_with_200=refused_with_200)
        assert [client.document(each) for each in ("999", "101", "x")] == [None, None, None]
    service.behave(hidden_clients=[], documentation_manager=False)
    with pytest.raises(AccessRefused):
        client.document("101")


def test_a_document_without_named_fields_is_not_understood_and_so_never_written(web: Web) -> None:
    web.answers[f"{DOCUMENTS}/1"] = lambda request: {"id": 1, "details": [{"name": "Phone"}]}
    with pytest.raises(AnswerUnreadable, match="document 1 "):
        web.client().document("1")


# Secrets


def test_no_secret_is_in_any_error_or_repr(web: Web) -> None:
    def quoting(request: Request) -> Response:
        said = f"You sent {CANARY} and {dict(request.headers)}"
        return Response(json.dumps({"success": False, "message": said, "code": 1}), 401)

    refused: list[tuple[DocumentsClient, PipelineError]] = []
    for path in (TOKEN, DOCUMENTS):
        web.answers = {path: quoting}
        client = web.client()
        with pytest.raises(PipelineError) as error:
            everything(client, "asset")
        refused.append((client, error.value))
    for client, error_raised in refused:
        chain: BaseException | None = error_raised
        while chain is not None:
            shown = f"{chain!r} {chain} {vars(chain)}"
            assert CANARY not in shown
            assert "canary-token" not in shown
            chain = chain.__cause__ or chain.__context__
        assert CANARY not in repr(client)
        assert "canary-token" not in f"{client!r} {client._token!r}"
        assert client._settings.passportal_secret.get_secret_value() == CANARY


class Web:
    """A service of a few lines, whose answer to a path a test can replace."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.settings = settings.model_copy(update={"passportal_url": url, "passportal_secret": SecretStr(CANARY)})
        self.token: dict[str, Any] = {"access_token": "canary-token", "expiry_time": 0}
        self.answers: dict[str, Callable[[Request], Any]] = {}
        self.paths: list[str] = []

    def client(self) -> DocumentsClient:
        return DocumentsClient(self.settings, sleep=lambda seconds: None)

    def __call__(self, request: Request) -> Response:
        self.paths.append(request.path)
        if request.path in self.answers:
            answer = self.answers[request.path](request)
            if isinstance(answer, Response):
                return answer
        else:
            answer = self.token if request.path == TOKEN else {"results": []}
        return Response(json.dumps({"success": True, **answer}), content_type="application/json")


@pytest.fixture
def web(httpserver: HTTPServer, tmp_path: Path) -> Web:
    made = Web(httpserver.url_for("").rstrip("/"), Settings(_env_file=None, passportal_key_id="key"))  # type: ignore[call-arg]
    httpserver.expect_request(re.compile(".*")).respond_with_handler(made)
    return made


@pytest.mark.parametrize("refused_with_200", [False, True])
@pytest.mark.parametrize("sign_in", ["json", "form"])
def test_a_sign_in_that_has_to_be_a_form_is_one(service: Service, sign_in: str, refused_with_200: bool) -> None:
    service.behave(sign_in=sign_in, refused_with_200=refused_with_200)
    assert service.client().check().clients == 2
    calls = service.calls()["POST /api/v2/auth/client_token"]
    assert calls == (1 if sign_in == "json" else 2)


def test_a_list_that_ends_with_the_text_null_has_ended(service: Service) -> None:
    service.behave(end_of_pages="text")
    assert list(service.client().clients().values()) == ["Acme & Söhne, 100% +", "Beta"]
    assert [len(page) for page in service.client().pages("contact")] == [1, 0]


@pytest.mark.parametrize("status", [408, 499])
def test_a_gateway_that_gives_up_on_a_sign_in_is_no_refused_key(service: Service, status: int) -> None:
    service.behave(faults=[{"route": "auth", "kind": "status", "status": status}])
    with pytest.raises(ServiceUnreachable):
        service.client().clients()
