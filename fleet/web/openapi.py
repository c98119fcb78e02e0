"""The OpenAPI document of the REST API (OpenAPI Specification 3.1), from its table of operations."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from fleet.web.api import OPERATIONS, Operation
from fleet.web.api_answers import Problem

_REF: Final = "#/components/schemas/{name}"

_ERRORS: Final = {
    400: "a parameter that cannot be", 401: "no session and no token", 403: "a viewer's token",
    404: "no such thing", 503: "not now",
}  # fmt: skip


def document() -> dict[str, Any]:
    """Return the document."""
    kinds = (Problem, *dict.fromkeys(operation.answer for operation in OPERATIONS))
    _, schemas = msgspec.json.schema_components(kinds, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Edgeflock fleet",
            "version": "1",
            "description": "What the page shows, as JSON. `edgeflock fleet token NAME` makes a token.",
        },
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "edgeflock-8080"},
            },
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    parameters += [
        {"name": p.name, "in": "query", "description": p.meaning, "schema": {"type": p.kind}}
        for p in operation.parameters
    ]
    answers = {"200": _response("the answer", operation.answer.__name__)}
    answers |= {str(status): _response(text, Problem.__name__) for status, text in _ERRORS.items()}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": parameters,
        "responses": answers,
    }
    if operation.method != "GET":
        described["security"] = [{"token": []}]
    return described


def _response(text: str, name: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": _REF.format(name=name)}}},
    }
