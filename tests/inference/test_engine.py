import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest
from fake_predictor import FakePredictor

from xsam_backend.errors import BusyError, SupersededError
from xsam_backend.inference.engine import Answered, Asker, Engine
from xsam_backend.inference.picture_memory import Budget, PictureMemory
from xsam_backend.inference.scheduling import Priority
from xsam_backend.inference.superseding import Topic
from xsam_backend.model.between_looks import between_looks
from xsam_backend.prompts import Category, Point, Prompt, Task

CLICK = Prompt(Task.INTERACTIVE, (Point(5, 5),))
NAMES = Prompt(Task.GENERIC, categories=(Category("cat", "cat"), Category("dog", "dog")))


def memory(pictures: int = 9) -> PictureMemory:
    """With room for so many of the fake predictor's."""
    return PictureMemory(Budget(100 * pictures, 1000 * pictures, 10_000 * pictures))


def picture(value: int, size_hw: tuple[int, int] = (20, 30)) -> np.ndarray:
    return np.full((*size_hw, 3), value, np.uint8)


def test_one_answer_per_prompt_in_order_with_one_encoding() -> None:
    stages: list[str] = []
    engine = Engine(FakePredictor(before=stages.append), memory(), wait_limit_s=5)
    answered = engine.answer(picture(0), "a", [CLICK, NAMES], Asker(Priority.INTERACTIVE))
    assert [len(answer.instances) for answer in answered.answers] == [1, 2]
    assert answered.state.size_hw == (20, 30)
    engine.answer(picture(0), "a", [CLICK], Asker(Priority.BATCH))
    assert stages == ["look", "state", "prefix", "answer", "answer", "answer"]
    assert engine.cache_stats["states"].hits == 1


def test_short_prompts_share_a_stage_and_others_have_their_own() -> None:
    """A click waits for a stage, so it may not grow without end; the answers stay in order."""
    seen: list[str] = []
    engine = Engine(FakePredictor(), memory(), wait_limit_s=5, observe=lambda stage, seconds: seen.append(stage))
    phrase, caption = Prompt(Task.REFERRING, phrase="a disc"), Prompt(Task.GCG)
    prompts = [*[CLICK] * 9, phrase, NAMES, NAMES, phrase, caption, CLICK]
    answered = engine.answer(picture(0), "a", prompts, Asker(Priority.INTERACTIVE))
    assert seen.count("answer") == len(
        [[*[CLICK] * 8], [CLICK, phrase], [NAMES], [NAMES], [phrase], [caption], [CLICK]]
    )
    assert [len(answer.instances) for answer in answered.answers] == [*[1] * 10, 2, 2, 1, 1, 1]
    assert [bool(answer.text) for answer in answered.answers] == [prompt is caption for prompt in prompts]


def test_stages_are_timed() -> None:
    seen: list[str] = []
    engine = Engine(FakePredictor(), memory(0), wait_limit_s=5, observe=lambda stage, seconds: seen.append(stage))
    engine.answer(picture(0), "a", [CLICK], Asker(Priority.INTERACTIVE))
    assert seen == ["wait", "look", "wait", "state", "wait", "prefix", "wait", "answer"]


def test_no_prompt_no_work() -> None:
    engine = Engine(FakePredictor(before=pytest.fail), memory(0), wait_limit_s=5)
    assert engine.answer(picture(0), "a", [], Asker(Priority.BATCH)) == Answered([])


def test_after_the_deadline_nothing_starts() -> None:
    engine = Engine(FakePredictor(before=pytest.fail), memory(0), wait_limit_s=5)
    with pytest.raises(BusyError, match=r"left for the next request"):
        engine.answer(picture(0), "a", [CLICK], Asker(Priority.BATCH, deadline=time.monotonic() - 1))


def test_a_click_goes_before_the_rest_of_a_batch() -> None:
    """While a batch encodes its first picture a click arrives: it is served before the batch's next stage."""
    order: list[str] = []
    encoding, go_on = threading.Event(), threading.Event()

    def before(stage: str) -> None:
        order.append(f"{stage} by {threading.current_thread().name.split('_')[0]}")
        if len(order) == 1:
            encoding.set()
            go_on.wait(10)

    engine = Engine(FakePredictor(before=before), memory(), wait_limit_s=10)
    with ThreadPoolExecutor(1, "batch") as batches, ThreadPoolExecutor(1, "click") as clicks:
        batch = batches.submit(engine.answer, picture(0), "a", [NAMES, NAMES], Asker(Priority.BATCH))
        encoding.wait(10)
        click = clicks.submit(engine.answer, picture(9), "b", [CLICK], Asker(Priority.INTERACTIVE))
        while not engine.waiting:
            time.sleep(0.001)
        go_on.set()
        batch.result(10)
        click.result(10)
    assert order[:2] == ["look by batch", "look by click"]


def test_a_click_goes_before_the_rest_of_many_windows() -> None:
    order: list[str] = []
    clicks: list[Future[None]] = []

    def before(stage: str) -> None:
        if stage == "answer" and order:
            order.append("click")
        elif stage == "answer":
            order.append("first windows")
            clicks.append(pool.submit(click))
            while not engine.waiting:
                time.sleep(0.001)
            between_looks.get()()
            order.append("other windows")

    def click() -> None:
        engine.answer(picture(0), "a", [CLICK], Asker(Priority.INTERACTIVE))

    engine = Engine(FakePredictor(before=before), memory(), wait_limit_s=20)
    with ThreadPoolExecutor(1) as pool:
        engine.answer(picture(0), "a", [NAMES], Asker(Priority.INTERACTIVE))
        clicks[0].result(20)
    assert order == ["first windows", "click", "other windows"]


def test_a_click_hurries_the_batch_that_has_begun_its_picture() -> None:
    """Else the click would wait behind every batch that came before."""
    order: list[str] = []
    first, go_on = threading.Event(), threading.Event()

    def before(stage: str) -> None:
        order.append(f"{stage} by {threading.current_thread().name.split('_')[0]}")
        if len(order) == 1:
            first.set()
            go_on.wait(10)

    engine = Engine(FakePredictor(before=before), memory(), wait_limit_s=10)
    with ExitStack() as stack:
        pools = {
            name: stack.enter_context(ThreadPoolExecutor(1, name)) for name in ("first", "another", "owner", "click")
        }
        done = [pools["first"].submit(engine.answer, picture(0), "a", [CLICK], Asker(Priority.BATCH))]
        first.wait(10)
        for waiting, (name, sha256) in enumerate((("another", "b"), ("owner", "c")), start=1):
            done.append(pools[name].submit(engine.answer, picture(9), sha256, [NAMES], Asker(Priority.BATCH)))
            while engine.waiting < waiting:
                time.sleep(0.001)
        done.append(pools["click"].submit(engine.answer, picture(9), "c", [CLICK], Asker(Priority.INTERACTIVE)))
        while not engine._turns._hurried:
            time.sleep(0.001)
        go_on.set()
        for one in done:
            one.result(10)
    assert order[1:3] == ["look by owner", "state by owner"], "though another batch came first"


def test_a_newer_click_on_the_same_object_ends_an_older_one_that_waits() -> None:
    stages: list[str] = []
    first, go_on = threading.Event(), threading.Event()

    def before(stage: str) -> None:
        stages.append(stage)
        if len(stages) == 1:
            first.set()
            go_on.wait(10)

    engine = Engine(FakePredictor(before=before), memory(), wait_limit_s=10)

    def asker(subject: str, clicks: int) -> Asker:
        return Asker(Priority.INTERACTIVE, topic=Topic(subject, clicks))

    with ThreadPoolExecutor(5) as pool:
        batch = pool.submit(engine.answer, picture(0), "a", [NAMES], Asker(Priority.BATCH))
        first.wait(10)
        older = pool.submit(engine.answer, picture(5), "b", [CLICK], asker("object", 1))
        while not engine.waiting:
            time.sleep(0.001)
        others = [
            pool.submit(engine.answer, picture(5), "b", [CLICK], one)
            for one in (asker("other object", 1), asker("object", 2), asker("object", 2))
        ]
        assert isinstance(older.exception(10), SupersededError), "it ends while the model is taken"
        go_on.set()
        assert [len(one.result(10).answers) for one in (*others, batch)] == [1, 1, 1, 1]
        assert len(engine.answer(picture(5), "b", [CLICK], asker("object", 1)).answers) == 1, "nothing is left behind"


def test_pictures_ahead_are_encoded_and_wait_for_everybody() -> None:
    stages: list[str] = []
    engine = Engine(FakePredictor(before=stages.append), memory(), wait_limit_s=5)
    engine.prepare(picture(0), "a", Asker(Priority.AHEAD))
    assert stages == ["look", "state", "prefix"]
    engine.answer(picture(0), "a", [CLICK], Asker(Priority.INTERACTIVE))
    assert stages[3:] == ["answer"]
    assert engine.idle_s >= 0


def test_pictures_of_many_annotators_are_never_swapped() -> None:
    """Sixteen pictures of different size and brightness at once, with a cache for three of them."""
    engine = Engine(FakePredictor(), memory(3), wait_limit_s=30)

    def ask(number: int) -> bool:
        number %= 16
        size_hw = (10 + number, 50 - number)
        asked = picture(number * 10, size_hw)
        (answer,) = engine.answer(asked, f"image {number}", [CLICK], Asker(Priority.INTERACTIVE)).answers
        expected = np.float32(0.5 + number * 10 / 512)
        return answer.instances.size_hw == size_hw and answer.instances.scores[0] == expected

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(320)))
