"""Stands in for ``label_studio_ml`` 2.x, which is on GitHub only: the same names, signatures and habits.

Written after the package's ``model.py``, ``api.py``, ``response.py`` and ``exceptions.py``. What our adapter meets:
the class is built for every request, with the project's id cut off before the dot; ``setup`` runs in the constructor;
the label config and the model version live in a store of texts; ``/webhook`` lets four events through and runs
``fit`` at once; what a model raises over a prediction goes to the caller as a traceback, and its own
``AnswerException`` without a result makes that very handler fail.
"""

from __future__ import annotations

import sys
import traceback
from types import ModuleType
from typing import Any

from flask import Flask, Response, jsonify, make_response, request
from label_studio_sdk.label_interface import LabelInterface
from label_studio_sdk.label_interface.objects import PredictionValue
from pydantic import BaseModel, ConfigDict

TRAIN_EVENTS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING")


class ModelResponse(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    model_version: str | None = None
    predictions: list[list[PredictionValue] | PredictionValue]

    def has_model_version(self) -> bool:
        return bool(self.model_version)

    def update_predictions_version(self) -> None:
        for prediction in self.predictions:
            for one in prediction if isinstance(prediction, list) else [prediction]:
                one.model_version = one.model_version or self.model_version

    def set_version(self, version: str) -> None:
        self.model_version = version
        self.update_predictions_version()


class Store:
    """The host's cache: texts only, by project and key. Counts writes, since each is a transaction."""

    def __init__(self) -> None:
        self.texts: dict[tuple[str, str], str] = {}
        self.writes = 0

    def put(self, project_id: str, key: str, value: str) -> None:
        if not isinstance(value, str):
            raise ValueError("Value must be a string")
        self.texts[project_id, key] = value
        self.writes += 1


class LabelStudioMLBase:
    INITIAL_MODEL_VERSION = "0.0.1"
    store = Store()
    built = 0

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        LabelStudioMLBase.built += 1
        self.project_id = project_id or ""
        if label_config is not None:
            self.use_label_config(label_config)
        if not self.model_version:
            self.set("model_version", self.INITIAL_MODEL_VERSION)
        self.setup()

    def setup(self) -> None: ...

    def use_label_config(self, label_config: str) -> None:
        self.label_interface = LabelInterface(config=label_config)
        if self.get("label_config") != label_config:
            self.set("label_config", label_config)

    def set_extra_params(self, extra_params: str) -> None:
        self.set("extra_params", extra_params)

    def get(self, key: str) -> str | None:
        return self.store.texts.get((self.project_id, key))

    def set(self, key: str, value: str) -> None:
        self.store.put(self.project_id, key, value)

    @property
    def label_config(self) -> str | None:
        return self.get("label_config")

    @property
    def model_version(self) -> str | None:
        return self.get("model_version")

    def predict(self, tasks: list[dict[str, Any]], context: dict[str, Any] | None = None, **kwargs: Any) -> Any: ...

    def fit(self, event: str, data: dict[str, Any], **additional_params: Any) -> Any: ...


class AnswerException(Exception):
    def __init__(self, status: int, msg: str = "", result: dict[str, Any] | None = None) -> None:
        self.status, self.msg, self.result = status, msg, result


def exception_handler(view: Any) -> Any:
    def handled(*args: Any, **kwargs: Any) -> Any:
        try:
            return view(*args, **kwargs)
        except AnswerException as error:
            if "traceback" not in error.result:  # type: ignore[operator]  # the host's own mistake: result may be None
                error.result["traceback"] = traceback.format_exc()  # type: ignore[index]
            return make_response(jsonify(status=error.status, detail=error.msg, result=error.result), error.status)
        except Exception as error:
            detail = f"{type(error).__name__}: {error}"
            return make_response(
                jsonify(status=500, detail=detail, result={"traceback": traceback.format_exc()}), 500
            )

    handled.__name__ = view.__name__
    return handled


class Api(ModuleType):
    """``label_studio_ml.api``, with an application of its own for each test (the host has one per process)."""

    BASIC_AUTH: tuple[str, str] | None

    def __init__(self) -> None:
        super().__init__("label_studio_ml.api")
        self.BASIC_AUTH = None

    def init_app(
        self, model_class: type, basic_auth_user: str | None = None, basic_auth_pass: str | None = None
    ) -> Flask:
        if not issubclass(model_class, LabelStudioMLBase):
            raise ValueError("Inference class should be the subclass of LabelStudioMLBase")
        if basic_auth_user and basic_auth_pass:
            self.BASIC_AUTH = (basic_auth_user, basic_auth_pass)
        server = Flask("label_studio_ml.api")

        @server.before_request
        def check_auth() -> Response | None:
            given = request.authorization
            if self.BASIC_AUTH and (not given or (given.username, given.password) != self.BASIC_AUTH):
                return Response("Unauthorized", 401, {"WWW-Authenticate": 'Basic realm="Login required"'})
            return None

        @server.post("/predict")
        @exception_handler
        def _predict() -> Response:
            data = request.json
            project = str(data.get("project"))
            params = data.get("params", {})
            context = params.pop("context", {})
            model = model_class(project_id=project.split(".", 1)[0], label_config=data.get("label_config"))
            response = model.predict(data.get("tasks"), context=context, **params)
            if isinstance(response, ModelResponse):
                if not response.has_model_version():
                    response.set_version(str(model.model_version))
                else:
                    response.update_predictions_version()
                response = response.model_dump()
            if response is None:
                response = []
            return jsonify(results=response.get("predictions", response) if isinstance(response, dict) else response)

        @server.post("/setup")
        @exception_handler
        def _setup() -> Response:
            data = request.json
            model = model_class(project_id=data.get("project").split(".", 1)[0], label_config=data.get("schema"))
            if data.get("extra_params"):
                model.set_extra_params(data["extra_params"])
            return jsonify(model_version=model.get("model_version"))

        @server.post("/webhook")
        def webhook() -> tuple[Response, int]:
            data = request.json
            event = data.pop("action")
            if event not in TRAIN_EVENTS:
                return jsonify(status="Unknown event"), 200
            model = model_class(str(data["project"]["id"]), label_config=data["project"]["label_config"])
            return jsonify(result=model.fit(event, data), status="ok"), 201

        @server.get("/health")
        @exception_handler
        def health() -> Response:
            return jsonify(status="UP", model_class=model_class.__name__)

        return server


def install(monkeypatch: Any) -> Api:
    """Let ``import label_studio_ml...`` find this; the ``api`` module, fresh."""
    LabelStudioMLBase.store = Store()
    LabelStudioMLBase.built = 0
    api = Api()
    package = ModuleType("label_studio_ml")
    package.__path__ = []
    package.api = api  # type: ignore[attr-defined]
    model = ModuleType("label_studio_ml.model")
    model.LabelStudioMLBase = LabelStudioMLBase  # type: ignore[attr-defined]
    response = ModuleType("label_studio_ml.response")
    response.ModelResponse = ModelResponse  # type: ignore[attr-defined]
    for module in (package, api, model, response):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return api
