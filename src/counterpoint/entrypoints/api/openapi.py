"""OpenAPI 3.1 from the route table: what a handler's annotations say, and nothing besides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec
from starlette.responses import Response

from counterpoint.entrypoints.api.problems import Problem
from counterpoint.entrypoints.api.routing import Endpoint
from counterpoint.entrypoints.api.security import Access

#: Placeholder in a path with its convertor: `{run:run}`.
_PLACEHOLDER = re.compile(r"\{(\w+):\w+\}")

_SECURITY: dict[Access, list[dict[str, list[str]]]] = {
    Access.OPEN: [],
    Access.SIGNATURE: [],
    Access.OPERATOR: [{}, {"token": []}],
    Access.EMITTER: [{}, {"token": []}, {"task": []}],
    Access.ATTEMPT: [{"task": []}],
}


def describe(table: Sequence[Endpoint]) -> dict[str, Any]:
    """The OpenAPI document of these endpoints."""
    kinds: list[Any] = [Problem, *(kind for endpoint in table for kind in _kinds(endpoint))]
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    # Types need not be hashable (`A | list[B]` is), so their schemas are found by their text.
    schema_of = {repr(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}

    paths: dict[str, dict[str, Any]] = {}
    for endpoint in table:
        path = _PLACEHOLDER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Counterpoint", "version": version("counterpoint")},
        "paths": paths,
        "components": {
            "schemas": {name: _tidied(schema) for name, schema in components.items()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "the server's own, where one is set"},
                "task": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "a running task's, COUNTERPOINT_TOKEN",
                },
            },
        },
    }


def _kinds(endpoint: Endpoint) -> list[Any]:
    kinds = [_answer_of(endpoint), *endpoint.parameters.values()]
    if "query" in endpoint.hints:
        kinds += [field.type for field in msgspec.structs.fields(endpoint.hints["query"])]
    if "body" in endpoint.hints:
        kinds.append(endpoint.hints["body"])
    return [kind for kind in kinds if kind is not type(None)]


def _answer_of(endpoint: Endpoint) -> Any:
    answer = endpoint.hints["return"] if endpoint.answers is None else endpoint.answers
    return dict[str, Any] if answer is Response else answer


def _operation(endpoint: Endpoint, schema_of: dict[str, Any]) -> dict[str, Any]:
    summary, _, rest = endpoint.doc.partition("\n")
    operation: dict[str, Any] = {
        "operationId": endpoint.handler.__name__,
        "summary": summary.rstrip("."),
        "parameters": _parameters(endpoint, schema_of),
        "security": _SECURITY[endpoint.access],
        "responses": {
            **_answer(endpoint, schema_of),
            "default": {
                "description": "It was refused.",
                "content": {"application/json": {"schema": schema_of[repr(Problem)]}},
            },
        },
    }
    if rest.strip():
        operation["description"] = rest.strip()
    if "body" in endpoint.hints:
        body = schema_of[repr(endpoint.hints["body"])]
        operation["requestBody"] = {"content": {"application/json": {"schema": body}}}
    elif endpoint.takes:
        operation["requestBody"] = {"content": {media: {} for media in endpoint.takes}}
    return operation


def _parameters(endpoint: Endpoint, schema_of: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": schema_of[repr(kind)]}
        for name, kind in endpoint.parameters.items()
    ]
    if "query" in endpoint.hints:
        for field in msgspec.structs.fields(endpoint.hints["query"]):
            found.append({"name": field.encode_name, "in": "query", "schema": schema_of[repr(field.type)]})
    return found


def _answer(endpoint: Endpoint, schema_of: dict[str, Any]) -> dict[str, Any]:
    kind = _answer_of(endpoint)
    if kind is type(None):
        return {"204": {"description": "Done."}}
    return {
        str(endpoint.status): {
            "description": "Done.",
            "content": {endpoint.media: {"schema": schema_of[repr(kind)]}},
        }
    }


def _tidied(schema: dict[str, Any]) -> dict[str, Any]:
    """A struct's schema with its docstring's lines as one would read them."""
    if "description" in schema:
        schema["description"] = re.sub(r"\n {4}", "\n", schema["description"])
    return schema
