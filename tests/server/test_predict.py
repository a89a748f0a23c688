from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from app_parts import CONFIG, MemoryImages, click, request_of, services_of
from fake_predictor import FakePredictor

from xsam_backend.errors import StoreBusyError, StoreError
from xsam_backend.instances import Answer, Instances
from xsam_backend.prompts import Prompt
from xsam_backend.store.predictions import LoggedReason


def results_of(app: Any, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = app.test_client().post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.get_json()["results"]
    return results


def test_one_bad_picture_in_a_batch_of_five_costs_that_entry_only(make_app: Any) -> None:
    app = make_app(images=MemoryImages())
    results = results_of(app, request_of("a", "b", "missing", "d", "e"))
    assert ["result" in entry for entry in results] == [True, True, False, True, True]
    assert results[2]["error"] == "missing: HTTP 404"
    (problem,) = services_of(app).monitor.last_problems
    assert problem.where == "project local/21.1795347497, task 102"


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (None, "expected an object, got nothing"),
        ({"id": 1}, "expected an object 'data'"),
        ({"id": 1, "data": {"other": "a"}}, "the task's data has only ['other']"),
        ({"id": 1, "data": {"image": 5}}, "expected an image address, got 5"),
        ({"id": 1, "data": {"image": "crash"}}, "unexpected error, see the log"),
    ],
    ids=["no task", "no data", "another field", "no address", "a bug of ours"],
)
def test_a_bad_task_costs_itself_only(make_app: Any, task: Any, said: str) -> None:
    body = request_of("a", "b")
    body["tasks"][0] = task
    bad, good = results_of(make_app(images=MemoryImages()), body)
    assert "result" not in bad
    assert said in bad["error"]
    assert good["result"]


def test_a_predictor_that_fails_on_one_picture_costs_one_entry(make_app: Any) -> None:
    calls: list[str] = []

    def fail_once(stage: str) -> None:
        calls.append(stage)
        if len(calls) == 1:
            raise ZeroDivisionError

    first, second = results_of(make_app(FakePredictor(before=fail_once), MemoryImages()), request_of("a", "b"))
    assert "result" not in first
    assert second["result"]


def test_no_memory_costs_one_entry_and_a_click_a_503(make_app: Any) -> None:
    """Each stage is tried twice."""
    short = 2

    def run_short(stage: str) -> None:
        nonlocal short
        if stage == "state" and short:
            short -= 1
            raise MemoryError

    app = make_app(FakePredictor(before=run_short), MemoryImages())
    first, second = results_of(app, request_of("a", "b"))
    assert (first["kind"], "lower image_cache_mb" in first["error"]) == ("DeviceMemoryError", True)
    assert second["result"]
    short = 2
    answer = app.test_client().post("/predict", json=request_of("c", context=[click(50, 50)]))
    assert (answer.status_code, "not enough memory" in answer.get_json()["error"]) == (503, True)
    assert int(answer.headers["Retry-After"]) > 0
    assert app.test_client().post("/predict", json=request_of("c", context=[click(50, 50)])).status_code == 200
    assert "xsam_backend_memory_shortages_total 4.0" in app.test_client().get("/metrics").text


def test_what_does_not_fit_into_the_time_is_left_for_the_next_request(make_app: Any) -> None:
    app = make_app(images=MemoryImages(), batch_limit_s=1e-9)
    results = results_of(app, request_of("a", "b"))
    assert [entry.get("kind") for entry in results] == ["BusyError", "BusyError"]
    assert "left for the next request" in results[0]["error"]


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"label_config": "<View/>"}, 422, "the label config has no picture"),
        (
            {"label_config": CONFIG.replace("<PolygonLabels", "<Nothing").replace("</PolygonLabels", "</Nothing")},
            200,
            "",
        ),
        ({"label_config": None}, 400, "label_config: expected a text"),
        ({"project": "21"}, 400, "project: expected '<id>.<creation second>'"),
        ({"tasks": {}}, 400, "tasks: expected a list"),
    ],
    ids=["config without an image", "boxes are the output then", "no config", "odd project", "no list"],
)
def test_what_is_wrong_with_the_whole_request_is_said(make_app: Any, change: Any, status: int, said: str) -> None:
    body = {**request_of("a"), **change}
    answer = make_app(images=MemoryImages()).test_client().post("/predict", json=body)
    assert answer.status_code == status
    assert said in answer.get_json().get("error", "")


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ([click(50, 50, "unicorn")], "label 'unicorn' cannot be written"),
        ([click(50, 50, positive=False)], "all clicks are negative"),
        ([{**click(50, 50), "value": {"x": "NaN"}}], "value.x"),
        ([{**click(50, 50), "type": "video"}], "video"),
        ([{**click(50, 50), "to_name": "other"}], "the picture 'other'"),
        ("everything", "result"),
    ],
    ids=["unknown label", "nothing positive", "no number", "unknown type", "unknown picture", "no list"],
)
def test_a_prompt_that_cannot_be_asked_is_said(make_app: Any, context: Any, said: str) -> None:
    body = request_of("a", context=[])
    body["params"]["context"] = {"result": context}
    answer = make_app(images=MemoryImages()).test_client().post("/predict", json=body)
    assert 400 <= answer.status_code < 500
    assert said in answer.get_json()["error"]


def test_why_a_click_shows_nothing_is_on_the_status_page(make_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_self: object, state: Any, _prompt: object) -> Answer:
        return Answer(Instances.empty(state.size_hw), reason="the model sees no object there")

    monkeypatch.setattr(FakePredictor, "answer", nothing)
    app = make_app(images=MemoryImages())
    results_of(app, request_of("a"))
    assert services_of(app).monitor.last_problems == [], "a batch without regions is an ordinary answer"
    for _ in range(3):
        assert results_of(app, request_of("a", context=[click(50, 50)]))[0]["result"] == []
    (told,) = services_of(app).monitor.last_problems
    assert told.message == "task 100: the model sees no object there"


def test_every_region_sent_is_logged_by_its_id(make_app: Any) -> None:
    app = make_app(images=MemoryImages())
    (batch,) = results_of(app, request_of("a"))
    (click_entry,) = results_of(app, request_of("a", context=[click(25, 50, "dog"), click(30, 50, "dog")]))
    log = services_of(app).predictions
    sent = {region["id"]: region for region in [*batch["result"], *click_entry["result"]]}
    logged = log.find(sent)
    assert set(logged) == set(sent)
    for region_id, region in sent.items():
        record = logged[region_id]
        assert record.value == region["value"]
        assert record.score == region["score"]
        assert record.model_version == "fake-1"
        assert record.project_key == "local/21.1795347497"
        assert (record.task_id, record.image_size_hw) == ("100", (240, 320))
        assert [record.label] == region["value"]["polygonlabels"]
    (clicked,) = (logged[region["id"]] for region in click_entry["result"])
    assert clicked.interactive
    assert clicked.prompt["label"] == "dog"
    assert clicked.prompt["regions"][0] == {"point": [80.0, 120.0], "positive": True}
    assert not any(logged[region["id"]].interactive for region in batch["result"])


def test_a_label_that_comes_as_a_second_result_is_logged_with_the_region(make_app: Any) -> None:
    config = """<View><Image name="image" value="$image"/>
    <Labels name="labels" toName="image"><Label value="cat"/></Labels><Polygon name="poly" toName="image"/></View>"""
    app = make_app(images=MemoryImages())
    (entry,) = results_of(app, request_of("a", config=config))
    assert [region["type"] for region in entry["result"]] == ["polygon", "labels"]
    (record,) = services_of(app).predictions.find(region["id"] for region in entry["result"]).values()
    assert (record.region_type, record.label) == ("polygon", "cat")


def test_a_store_that_fails_is_told_and_the_annotator_still_gets_the_region(
    make_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(images=MemoryImages())

    def full(_: object) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(services_of(app).backend._log, "add", full)
    (entry,) = results_of(app, request_of("a"))
    assert entry["result"]
    assert services_of(app).monitor.last_problems[0].message == "disk full"


def test_what_a_held_store_cannot_log_at_once_is_logged_later(make_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(images=MemoryImages())
    parts = services_of(app)

    def held(_: object) -> None:
        raise StoreBusyError("database is locked")

    monkeypatch.setattr(parts.backend._log, "add", held)
    (entry,) = results_of(app, request_of("a"))
    parts.late_log.close()
    assert set(parts.predictions.find(region["id"] for region in entry["result"])) == {
        region["id"] for region in entry["result"]
    }
    assert parts.monitor.last_problems == []


def test_all_pictures_of_a_task_are_prelabelled(make_app: Any) -> None:
    config = CONFIG.replace('value="$image"', 'valueList="$image"')
    body = request_of("x", config=config)
    body["tasks"][0]["data"]["image"] = ["a", "b", "c"]
    (entry,) = results_of(make_app(images=MemoryImages()), body)
    assert sorted({region["item_index"] for region in entry["result"]}) == [0, 1, 2]


class Talking(FakePredictor):
    def answer(self, state: Any, prompt: Prompt) -> Answer:
        return Answer(Instances.empty(state.size_hw), text="two cats")


CAPTIONED = CONFIG.replace('<PolygonLabels name="poly"', '<PolygonLabels model_task="gcg" name="poly"')


def test_a_caption_goes_into_a_text_area_that_is_no_prompt(make_app: Any) -> None:
    config = CAPTIONED.replace("</View>", '<TextArea name="caption" toName="image" smart="false"/></View>')
    (entry,) = results_of(make_app(Talking(), MemoryImages()), request_of("a", config=config))
    (region,) = entry["result"]
    assert (region["from_name"], region["value"]) == ("caption", {"text": ["two cats"]})


class Naming(FakePredictor):
    def answer(self, state: Any, prompt: Prompt) -> Answer:
        mask = np.zeros((1, *state.size_hw), bool)
        mask[:, 10:40, 10:60] = True
        found = Instances.of(mask, np.ones(1, np.float32), ("an old cat",))
        return Answer(found, text="There is an old cat.", phrase_spans=((9, 19),))


def test_a_captions_regions_say_what_it_calls_them(make_app: Any) -> None:
    areas = (
        '<TextArea name="phrase" toName="image" perRegion="true"/><TextArea name="c" toName="image" smart="false"/>'
    )
    config = CAPTIONED.replace("</View>", f"{areas}</View>")
    (entry,) = results_of(make_app(Naming(), MemoryImages()), request_of("a", config=config))
    region, phrase, caption = entry["result"]
    assert region["value"]["polygonlabels"] == ["cat"]
    assert (phrase["id"], phrase["from_name"], phrase["value"]["text"]) == (region["id"], "phrase", ["an old cat"])
    assert (caption["from_name"], caption["value"]) == ("c", {"text": ["There is an old cat."]})


def test_what_is_said_of_a_region_asks_nothing(make_app: Any) -> None:
    config = CONFIG.replace("</View>", '<TextArea name="phrase" toName="image" perRegion="true"/></View>')
    said = {"id": "r", "type": "textarea", "from_name": "phrase", "to_name": "image", "value": {"text": ["red"]}}
    (entry,) = results_of(make_app(images=MemoryImages()), request_of("a", config=config, context=[said]))
    assert entry == {"result": []}


def test_a_caption_without_a_place_is_told(make_app: Any) -> None:
    app = make_app(Talking(), MemoryImages())
    (entry,) = results_of(app, request_of("a", config=CAPTIONED))
    assert entry["result"] == []
    assert "nowhere to go" in services_of(app).monitor.last_problems[0].message


def test_two_annotators_pictures_are_never_swapped(make_app: Any) -> None:
    """Twelve threads, pictures of different size and brightness, a cache too small for all."""
    names = [f"picture {number}" for number in range(12)]
    sizes = {name: (100 + 10 * number, 300 - 10 * number) for number, name in enumerate(names)}
    app = make_app(images=MemoryImages(sizes), image_cache_mb=0, prefix_cache_mb=0, encoder_cache_mb=0, threads=64)
    expected: dict[str, float] = {}
    for name in names:
        image = MemoryImages(sizes).fetch(name)
        expected[name] = float(np.float32(0.5 + float(image.pixels.mean()) / 512))

    def ask(number: int) -> None:
        name = names[number % 12]
        (entry,) = results_of(app, request_of(name, context=[click(50, 50)]))
        (region,) = entry["result"]
        assert (region["original_width"], region["original_height"]) == sizes[name]
        assert region["score"] == pytest.approx(expected[name], abs=1e-5)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(120)))


@pytest.mark.parametrize(
    ("option", "written"),
    [('model_says_why="true" smart="false"', True), ('smart="false"', False), ('model_says_why="true"', False)],
    ids=["where it is wished", "not otherwise", "never into a prompt"],
)
def test_a_text_area_may_say_why_nothing_was_found(
    make_app: Any, monkeypatch: pytest.MonkeyPatch, option: str, written: bool
) -> None:
    def nothing(_self: object, state: Any, _prompt: object) -> Answer:
        return Answer(Instances.empty(state.size_hw), reason="nothing scored 0.30 or more")

    monkeypatch.setattr(FakePredictor, "answer", nothing)
    config = CONFIG.replace("</View>", f'<TextArea name="why" toName="image" {option}/></View>')
    app = make_app(images=MemoryImages())
    (entry,) = results_of(app, {**request_of("a", context=[click(50, 50)]), "label_config": config})
    said = [(region["from_name"], region["value"]["text"]) for region in entry["result"]]
    assert said == ([("why", ["nothing scored 0.30 or more"])] if written else [])
    (batch,) = results_of(app, {**request_of("a"), "label_config": config})
    assert batch["result"] == [], "only who asks is told"


def alike(edited: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """A click that asks for all of its kind, in a task with a draft."""
    config = CONFIG.replace('<KeyPointLabels name="kp"', '<KeyPointLabels name="kp" model_task="vgd"')
    body = {**request_of("a", context=[click(50, 50)]), "label_config": config}
    body["tasks"][0]["drafts"] = [{"result": edited, "updated_at": "2026-11-22T11:32:49Z"}]
    return {**body, **changes}


def test_all_like_one_leaves_out_what_is_annotated_already(make_app: Any) -> None:
    app = make_app(images=MemoryImages())
    (every,) = results_of(app, alike([]))
    assert every["result"]
    kept = [{**region, "id": f"drawn-{number}"} for number, region in enumerate(every["result"])]
    (fewer,) = results_of(app, alike(kept[:1]))
    assert len(fewer["result"]) == len(every["result"]) - 1
    (none,) = results_of(app, alike(kept))
    assert none["result"] == []
    (problem,) = services_of(app).monitor.last_problems
    assert f"all {len(kept)} that are like it are annotated already" in problem.message


def test_all_like_one_leaves_out_what_an_untouched_task_was_pre_labelled_with(make_app: Any) -> None:
    app = make_app(images=MemoryImages())
    (every,) = results_of(app, alike([]))
    body = alike([])
    task = body["tasks"][0]
    task["predictions"] = [{"result": every["result"], "created_at": "2026-11-22T11:31:41.232414Z"}]
    task["drafts"] = task["annotations"] = []
    assert results_of(app, body)[0]["result"] == []


WORDS = CONFIG.replace(
    "</View>",
    """<TextArea name="words" toName="image"/>
    <TextArea name="why" toName="image" smart="false" model_says_why="true"/></View>""",
)


def named(text: str, edited: list[dict[str, Any]], config: str = WORDS) -> dict[str, Any]:
    """A phrase, in a task that was pre-labelled."""
    written = {"id": "t", "type": "textarea", "from_name": "words", "to_name": "image", "value": {"text": [text]}}
    body = {**request_of("a", context=[written]), "label_config": config}
    body["tasks"][0]["predictions"] = [{"result": edited}]
    return body


def labels_of(entry: dict[str, Any]) -> list[list[str]]:
    return [region["value"]["polygonlabels"] for region in entry["result"] if region["type"] == "polygonlabels"]


def test_words_leave_out_what_is_there_under_the_same_label_or_none(make_app: Any) -> None:
    app = make_app(images=MemoryImages())
    (every,) = results_of(app, named("cat, dog", []))
    assert labels_of(every) == [["cat"], ["dog"]]
    cat, dog = every["result"]
    (fewer,) = results_of(app, named("cat, dog", [cat]))
    assert labels_of(fewer) == [["dog"]]
    said = [region["value"]["text"] for region in fewer["result"] if region["from_name"] == "why"]
    assert said == [["'cat': all that was found is annotated already"]]
    (none,) = results_of(app, named("cat, dog", [cat, dog]))
    assert labels_of(none) == []
    mistaken = {**cat, "value": {**cat["value"], "polygonlabels": ["dog"]}}
    assert labels_of(results_of(app, named("cat, dog", [mistaken]))[0]) == [["cat"], ["dog"]], "under another label"
    nameless = {**cat, "value": {**cat["value"], "polygonlabels": []}}
    assert labels_of(results_of(app, named("cat, dog", [nameless]))[0]) == [["dog"]]


def test_what_shares_the_picture_out_comes_whole(make_app: Any) -> None:
    config = WORDS.replace('name="words"', 'name="words" model_task="panoptic"')
    app = make_app(images=MemoryImages())
    (every,) = results_of(app, named("cat, dog", [], config))
    assert labels_of(results_of(app, named("cat, dog", every["result"], config))[0]) == labels_of(every)


class OnlyCats(FakePredictor):
    def answer(self, state: Any, prompt: Prompt) -> Answer:
        found = super().answer(state, prompt).instances
        cats = found.select([index for index, label in enumerate(found.labels) if label == "cat"])
        return Answer(cats, reason="'unicorn': nothing else scored 0.30 or more")


def test_what_one_of_two_phrases_did_not_find_is_said_and_logged(make_app: Any) -> None:
    app = make_app(OnlyCats(), MemoryImages())
    (entry,) = results_of(app, named("cat, unicorn", []))
    assert labels_of(entry) == [["cat"]]
    words = "'unicorn': nothing else scored 0.30 or more"
    assert [region["value"]["text"] for region in entry["result"] if region["from_name"] == "why"] == [[words]]
    parts = services_of(app)
    assert [problem.message for problem in parts.monitor.last_problems] == [f"task 100: {words}"]
    (why,) = parts.predictions.reasons("local/21.1795347497")
    assert isinstance(why, LoggedReason)
    assert (why.reason, why.task_id, why.from_name, why.model_version) == (words, "100", "poly", "fake-1")
    assert why.prompt["phrases"] == ["cat", "unicorn"]
    assert why.image_size_hw == (240, 320)
    assert 'xsam_backend_regions_total{interactive="true"} 2.0' in app.test_client().get("/metrics").text
    results_of(app, request_of("a", config=WORDS))
    assert len(parts.predictions.reasons("local/21.1795347497")) == 1, "a batch has no reasons"


def test_one_object_is_answered_whatever_is_annotated(make_app: Any) -> None:
    app = make_app(images=MemoryImages())
    (first,) = results_of(app, alike([], label_config=CONFIG))
    (again,) = results_of(app, alike(first["result"], label_config=CONFIG))
    assert len(again["result"]) == len(first["result"]) > 0
