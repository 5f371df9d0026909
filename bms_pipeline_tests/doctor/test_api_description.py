"""The tenant's own page about its API settles the forms of writes: from the same host, in three calls at most."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor.api_description import described
from bms_pipeline.doctor.passportal import API_PAGE, API_PAGE_BYTES
from bms_pipeline_tests.doctor.examining import Examined, examined, new_home
from bms_pipeline_tests.stranger.bms import BmsHabits
from bms_pipeline_tests.stranger.passportal import PassportalHabits
from bms_pipeline_tests.stranger.serving import Answer, Request, as_json

FILE = "/api/documentation/v2/files/swagger.json"
TEXT = {"type": "string"}
ELEMENT = {"type": "object", "properties": {"name": TEXT, "value": {"type": "object"}}}


def item(value: dict[str, Any]) -> dict[str, Any]:
    details = {"type": "object", "additionalProperties": value}
    return {"type": "object", "properties": {"templateUid": TEXT, "title": TEXT, "details": details}}


def in_array(value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item(value)}


def in_object(value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"documents": in_array(value)}}


def swagger_2(body: dict[str, Any], *puts: str) -> dict[str, Any]:
    """A description as Swagger 2 writes it, with its schema behind a reference."""
    post = {"parameters": [{"in": "header", "name": "x-access-token"},
                           {"in": "body", "name": "body", "schema": {"$ref": "#/definitions/Body"}}]}  # fmt: skip
    paths = {"/api/v2/documents": {"get": {}, "post": post}, **{path: {"put": {}} for path in puts}}
    return {"swagger": "2.0", "paths": paths, "definitions": {"Body": body}}


def openapi_3(body: dict[str, Any], *puts: str) -> dict[str, Any]:
    """The same as OpenAPI 3 writes it, with the version in the server's address."""
    schema = {"$ref": "#/components/schemas/Body"}
    post = {"requestBody": {"content": {"application/json": {"schema": schema}}}}
    paths: dict[str, Any] = {"/documents": {"post": post}}
    for path in puts:
        paths.setdefault(path.removeprefix("/api/v2"), {})["put"] = {}
    return {"openapi": "3.0.1", "paths": paths, "components": {"schemas": {"Body": body}}}


@pytest.mark.parametrize("written", [swagger_2, openapi_3])
@pytest.mark.parametrize(
    ("body", "form", "values"),
    [
        (in_array(TEXT), "array", "text"),
        (in_array(ELEMENT), "array", "element"),
        (in_object(TEXT), "object", "text"),
        (in_object(ELEMENT), "object", "element"),
        (item(TEXT), None, None),
        ({"type": "object"}, None, None),
    ],
)
def test_the_forms_of_a_write_are_read(
    written: Callable[..., dict[str, Any]], body: dict[str, Any], form: str | None, values: str | None
) -> None:
    found = described(written(body, "/api/v2/documents/{id}"))

    assert (found.body, found.values, found.update) == (form, values, "one")


def test_calls_that_would_lift_a_limit_are_listed() -> None:
    description = swagger_2(in_array(TEXT), "/api/v2/documents")
    description["paths"] |= {"/api/v2/documents/{docId}": {"delete": {}, "patch": {}}, "/api/v2/clients": {"post": {}}}

    found = described(description)

    assert found.update == "batch"
    assert found.other_calls == ("DELETE /documents/{}", "PATCH /documents/{}", "POST /clients")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "x", "array", "body", "#/definitions/Body"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["paths", "/documents", "post", "parameters", "in", "schema", "$ref", "definitions", "Body",
                         "requestBody", "content", "application/json", "type", "properties", "items", "details"]),
        inner, max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@given(paths=st.dictionaries(st.sampled_from(["/documents", "/x"]), _JSON), more=_JSON)
def test_a_description_of_any_shape_is_only_data(paths: dict[str, Any], more: Any) -> None:
    described({"paths": paths, "definitions": more, "components": more})


def with_page(pages: dict[str, Answer], *, token: bool = False) -> Callable[..., Callable[[Request], Answer]]:
    """A Passportal that has these pages, too; with ``token``, only for a signed-in key."""

    def wrapped(answer: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
        def answered(request: Request) -> Answer:
            usual = answer(request)
            if request.path not in pages:
                return usual
            if token and not request.headers.get("x-access-token"):
                return as_json({"success": False, "message": "invalid token"}, 401)
            return pages[request.path]

        return answered

    return wrapped


def html(text: str) -> Answer:
    return Answer(200, text.encode(), {"Content-Type": "text/html"})


def look(folder: Path, pages: dict[str, Answer], *, token: bool = False, **settings: Any) -> Examined:
    wrapped = with_page(pages, token=token)
    habits = PassportalHabits(details_form="labels")
    return examined(new_home(folder), BmsHabits(), habits, wrapped=wrapped, environment=settings)


def calls_for_the_page(seen: Examined) -> int:
    return sum("documentation" in call or "swagger" in call for call in seen.passportal_calls)


DESCRIBED = as_json(swagger_2(in_object(TEXT), "/api/v2/documents/{id}"))


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize(
    "pages",
    [
        {API_PAGE: DESCRIBED},
        {API_PAGE: html(f'<script>SwaggerUIBundle({{url: "{FILE}"}})</script>'), FILE: DESCRIBED},
        {API_PAGE: html("<script>const ui = {url: './files/swagger.json'}</script>"), FILE: DESCRIBED},
    ],
    ids=["the page itself", "a file that the page names", "a relative name"],
)  # fmt: skip
def test_the_page_is_read_and_a_setting_that_contradicts_it_is_a_decision(
    tmp_path: Path, pages: dict[str, Answer], token: bool
) -> None:
    seen = look(tmp_path, pages, token=token)

    (finding,) = [finding for finding in seen.report.findings if finding.code == "PP-WRITES"]
    assert finding.verdict is Verdict.DECIDE
    assert finding.next_step == "Set PASSPORTAL_BODY=object"
    assert finding.value == "body object, values text, update one"
    assert calls_for_the_page(seen) <= 3
    assert len(seen.passportal_calls) <= 16


def test_settings_that_agree_with_the_page_are_ready(tmp_path: Path) -> None:
    seen = look(tmp_path, {API_PAGE: DESCRIBED}, passportal_body="object")

    assert [finding.verdict for finding in seen.report.findings if finding.code == "PP-WRITES"] == [Verdict.READY]


@pytest.mark.parametrize(
    "page",
    [
        html('<script>ui({url: "https://elsewhere.example/swagger.json"})</script>'),
        html('<script>ui({url: "//elsewhere.example/swagger.json"})</script>'),
        html("<p>Nothing here</p>"),
        as_json({"success": True}),
        Answer(200, json.dumps({"paths": {}, "fill": "x" * API_PAGE_BYTES}).encode(), {}),
        Answer(302, b"", {"Location": "https://elsewhere.example/"}),
        Answer(500, b"", {}),
    ],
    ids=["another host", "another host without a scheme", "no file", "no description", "too large", "redirect", "500"],
)
def test_without_a_usable_page_nobody_knows_and_no_other_host_is_asked(tmp_path: Path, page: Answer) -> None:
    seen = look(tmp_path, {API_PAGE: page})

    assert seen.report.value("PP-WRITES") is None
    assert [finding.verdict for finding in seen.report.findings if finding.code == "PP-WRITES"] in (
        [Verdict.UNKNOWN],
        [],  # its call failed
    )
    assert seen.report.exit_code == 2, "the missing file of users waits for a person, and nothing is in the way"
    assert calls_for_the_page(seen) <= 3
