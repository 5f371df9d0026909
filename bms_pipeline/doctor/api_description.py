"""What a service's description of its own API (Swagger 2 or OpenAPI 3) says about writing documents. It is data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

DEEPEST = 12
"""References followed at most: a description may refer to itself."""
_OURS = {
    *((method, "/documents") for method in ("get", "post", "put")),
    *((method, "/documents/{}") for method in ("get", "put")),
    ("get", "/documents/all"),
    ("get", "/documents/clients"),
    ("post", "/auth/client_token"),
}


@dataclass(frozen=True)
class Described:
    """The forms of a write, as far as they are described; None where they are not.

    ``other_calls``: calls that this program does not know and that may lift a limit of it (``DELETE /documents/{}``).
    """

    body: Literal["array", "object"] | None
    values: Literal["text", "element"] | None
    update: Literal["one", "batch"] | None
    other_calls: tuple[str, ...]


def described(description: Mapping[str, Any]) -> Described:
    """Return what a description says about writing documents."""
    calls = {(method, _route(path)): call for path, method, call in _calls(description)}
    create = _body(description, calls.get(("post", "/documents")))
    updates: dict[Literal["one", "batch"], bool] = {
        "one": ("put", "/documents/{}") in calls,
        "batch": ("put", "/documents") in calls,
    }
    possible = [way for way, is_there in updates.items() if is_there]
    others = sorted(f"{method.upper()} {route}" for method, route in calls if (method, route) not in _OURS)
    return Described(
        _form(description, create),
        _values(description, create),
        possible[0] if len(possible) == 1 else None,
        tuple(others),
    )


def _calls(description: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in description.get("paths", {}).items():
        for method, call in methods.items() if isinstance(methods, Mapping) else ():
            if isinstance(call, Mapping):
                yield str(path), str(method).lower(), call


def _route(path: str) -> str:
    """Return a path without version and with ``{}`` for a record's id: ``/api/v2/documents/{id}``."""
    parts = ["{}" if part.startswith("{") else part.lower() for part in path.split("/") if part]
    while parts and (parts[0] == "api" or parts[0].removeprefix("v").isdigit()):
        parts.pop(0)
    return "/" + "/".join(parts)


def _body(description: Mapping[str, Any], call: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the schema of a call's body."""
    if call is None:
        return {}
    parameters = call.get("parameters")
    listed = parameters if isinstance(parameters, list) else []
    bodies = [part for part in listed if isinstance(part, Mapping) and part.get("in") == "body"]
    if bodies:
        return _resolved(description, bodies[0].get("schema"))
    content = _resolved(description, call.get("requestBody")).get("content", {})
    kind = content.get("application/json") if isinstance(content, Mapping) else None
    return _resolved(description, kind.get("schema") if isinstance(kind, Mapping) else None)


def _resolved(description: Mapping[str, Any], schema: object) -> Mapping[str, Any]:
    """Return a schema, following its references."""
    for _ in range(DEEPEST):
        if not isinstance(schema, Mapping):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        schema = description
        for part in reference.removeprefix("#/").split("/"):
            schema = schema.get(part) if isinstance(schema, Mapping) else None
    return {}


def _form(description: Mapping[str, Any], body: Mapping[str, Any]) -> Literal["array", "object"] | None:
    if body.get("type") == "array":
        return "array"
    inner = _resolved(description, _properties(body).get("documents"))
    return "object" if inner.get("type") == "array" else None


def _values(description: Mapping[str, Any], body: Mapping[str, Any]) -> Literal["text", "element"] | None:
    """Return the form of a field's value: the schema of one of the ``details`` of an item."""
    listed = body if body.get("type") == "array" else _resolved(description, _properties(body).get("documents"))
    item = _resolved(description, listed.get("items"))
    details = _resolved(description, _properties(item).get("details"))
    schemas = [details.get("additionalProperties"), *_properties(details).values()]
    for schema in (_resolved(description, form) for form in schemas):
        if schema.get("type") == "string":
            return "text"
        if "value" in _properties(schema):
            return "element"
    return None


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, Mapping) else {}
