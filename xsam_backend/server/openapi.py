"""What can be asked, as an OpenAPI description at ``/openapi.json``: for client generators, gateways and fuzzers.

Bodies are as Label Studio sends them. What a label config, a region or a prediction looks like is Label Studio's to
say; here it is an object or a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, jsonify

import xsam_backend

openapi_page = Blueprint("openapi", __name__)

Json = dict[str, Any]

_OBJECT: Json = {"type": "object"}
_TEXT: Json = {"type": "string"}
_PROJECT: Json = {"type": "string", "pattern": r"^\d{1,18}\.\d{1,18}$", "description": "<id>.<creation second>"}
_XML: Json = {"type": "string", "description": "A label config."}

_TASK = {
    "type": "object",
    "required": ["data"],
    "properties": {"id": {"type": "integer"}, "data": _OBJECT, "annotations": {"type": "array"}},
}
_CONTEXT = {
    "type": "object",
    "properties": {"result": {"type": "array", "items": _OBJECT, "description": "The prompt's regions."}},
}
_PREDICT = {
    "type": "object",
    "required": ["tasks", "label_config"],
    "properties": {
        "tasks": {"type": "array", "items": _TASK},
        "project": _PROJECT,
        "label_config": _XML,
        "params": {"type": "object", "properties": {"context": _CONTEXT}},
    },
}
_SETUP = {
    "type": "object",
    "required": ["project", "schema"],
    "properties": {"project": _PROJECT, "schema": _XML, "hostname": _TEXT},
}
_EVENT = {
    "type": "object",
    "required": ["action"],
    "properties": {
        "action": {"type": "string", "minLength": 1},
        "project": {"type": "object", "properties": {"id": {"type": "integer"}, "created_at": _TEXT}},
    },
}
_ENTRY = {
    "type": "object",
    "description": "A task's prediction; or why there is none (error) or none yet (queued).",
    "properties": {
        "result": {"type": "array", "items": _OBJECT},
        "model_version": _TEXT,
        "score": {"type": "number"},
    },
}

_WORDS = {
    400: "The request doesn't follow the protocol.",
    401: "User name or password missing or wrong; webhooks but START_TRAINING need none.",
    404: "There is none.",
    410: "Label Studio asks elsewhere today.",
    413: "The body is larger than max_request_mb.",
    422: "Label config, prompt or picture: what is wrong with it.",
    429: "Too much at once; Retry-After says when to come back.",
    500: "A failure here; the log has it under this id.",
    503: "Another process holds the database; the same may succeed later.",
}


def _object(**properties: Json) -> Json:
    return {"type": "object", "required": list(properties), "properties": properties}


def _operation(
    summary: str,
    answer: Json | None = None,
    *problems: int,
    status: int = 200,
    body: Json | None = None,
    kinds: Mapping[str, Json] | None = None,
    parameters: tuple[Json, ...] = (),
) -> Json:
    """One operation; ``kinds`` are the media types of its answer, where that isn't JSON alone."""
    content = kinds or {"application/json": answer or _OBJECT}
    schemas = {kind: {"schema": schema} for kind, schema in content.items()}
    responses: Json = {str(status): {"description": summary, "content": schemas}}
    for code in sorted({401, 429, *problems, *((400, 413) if body is not None else ())} - {status}):
        responses[str(code)] = {"$ref": f"#/components/responses/{code}"}
    described: Json = {"summary": summary, "responses": responses, "parameters": list(parameters)}
    if body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return described


def _in(place: str, name: str, schema: Json) -> Json:
    return {"in": place, "name": name, "required": place == "path" or name == "project", "schema": schema}


def _state(summary: str, otherwise: str, why: str) -> Json:
    """A question of an orchestrator's: the same answer with 200 and, where something is wrong, with 503."""
    described = _operation(summary, _object(**{"status": _TEXT, why: _OBJECT}))
    described["responses"]["503"] = {**described["responses"]["200"], "description": otherwise}
    return described


_NUMBER = _in("path", "job_id", {"type": "integer", "minimum": 0})
_UP = _object(status=_TEXT, model_class=_TEXT, model_version=_TEXT)
_OK = _object(status=_TEXT)
_PAGE: Json = {"text/html": _TEXT, "application/json": _OBJECT}

PATHS: Json = {
    "/health": {"get": _operation("Up.", _UP)},
    "/health/live": {"get": _state("No restart would help.", "One would.", "ailing")},
    "/health/ready": {"get": _state("Requests may come.", "They should go elsewhere.", "lacking")},
    "/setup": {"post": _operation("A project connects.", _object(model_version=_TEXT), body=_SETUP)},
    "/predict": {
        "post": _operation(
            "Predictions of a batch's tasks, or the answer to one interactive prompt.",
            _object(results={"type": "array", "items": _ENTRY}),
            *(422, 500, 503),
            body=_PREDICT,
        )
    },
    "/webhook": {"post": _operation("The event is kept.", _OK, 503, 500, status=201, body=_EVENT)},
    "/versions": {"get": _operation("Versions that answer.", _object(versions={"type": "array", "items": _TEXT}))},
    "/validate": {
        "post": _operation(
            "Whether a label config can work.", _object(outputs={"type": "array"}), 422, body=_object(config=_XML)
        )
    },
    "/train": {"post": _operation(_WORDS[410], status=410)},
    "/job_status": {"post": _operation("A fine-tuning's state.", _object(job_status=_TEXT), body=_OBJECT)},
    "/delete": {"post": _operation("Noted.", _OK)},
    "/duplicate_model": {"post": _operation("Noted.", _OK)},
    "/metrics": {"get": _operation("For Prometheus.", kinds={"text/plain": _TEXT})},
    "/status": {"get": _operation("Versions, caches, problems.", kinds=_PAGE)},
    "/": {"get": _operation("The page of what is learned; JSON for programs.", kinds=_PAGE)},
    "/jobs": {"get": _operation("Fine-tunings.", _object(jobs={"type": "array", "items": _OBJECT}))},
    "/jobs/{job_id}": {"get": _operation("A fine-tuning.", _OBJECT, 404, parameters=(_NUMBER,))},
    "/jobs/{job_id}/log": {
        "get": _operation("The end of its log.", None, 404, kinds={"text/plain": _TEXT}, parameters=(_NUMBER,))
    },
    "/next": {
        "get": _operation(
            "Tasks to label next.",
            _object(tasks={"type": "array", "items": {"type": "integer"}}, model_version=_TEXT),
            400,
            parameters=(
                _in("query", "project", _PROJECT),
                _in("query", "count", {"type": "integer", "minimum": 1, "maximum": 1000}),
            ),
        )
    },
    "/versions/{version}/{name}": {
        "get": _operation(
            "A picture that shows what a version changed.",
            None,
            404,
            kinds={"image/jpeg": {"type": "string", "format": "binary"}},
            parameters=(_in("path", "version", _TEXT), _in("path", "name", _TEXT)),
        )
    },
    "/openapi.json": {"get": _operation("This.")},
}


def description() -> Json:
    """The whole description."""
    error = {"type": "object", "required": ["error"], "properties": {"error": _TEXT, "kind": _TEXT, "id": _TEXT}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "xsam-backend", "version": xsam_backend.__version__},
        "paths": PATHS,
        "components": {
            "responses": {
                str(code): {"description": words, "content": {"application/json": {"schema": error}}}
                for code, words in _WORDS.items()
            },
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
        "security": [{}, {"basic": []}],
    }


@openapi_page.get("/openapi.json")
def openapi() -> Response:
    """The description."""
    return jsonify(description())
