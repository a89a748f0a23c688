import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fake_predictor import FakePredictor

from xsam_backend.errors import BusyError
from xsam_backend.inference.engine import Answered, Engine
from xsam_backend.inference.scheduling import Priority
from xsam_backend.prompts import Category, Point, Prompt, Task

CLICK = Prompt(Task.INTERACTIVE, (Point(5, 5),))
NAMES = Prompt(Task.GENERIC, categories=(Category("cat", "cat"), Category("dog", "dog")))


def picture(value: int, size_hw: tuple[int, int] = (20, 30)) -> np.ndarray:
    return np.full((*size_hw, 3), value, np.uint8)


def test_one_answer_per_prompt_in_order_with_one_encoding() -> None:
    stages: list[str] = []
    engine = Engine(FakePredictor(before=stages.append), cache_bytes=10_000, wait_limit_s=5)
    answered = engine.answer(picture(0), "a", [CLICK, NAMES], Priority.INTERACTIVE)
    assert [len(answer.instances) for answer in answered.answers] == [1, 2]
    assert answered.state.size_hw == (20, 30)
    engine.answer(picture(0), "a", [CLICK], Priority.BATCH)
    assert stages == ["encode", "answer", "answer", "answer"]
    assert engine.cache_stats.hits == 1


def test_stages_are_timed() -> None:
    seen: list[str] = []
    engine = Engine(FakePredictor(), cache_bytes=0, wait_limit_s=5, observe=lambda stage, seconds: seen.append(stage))
    engine.answer(picture(0), "a", [CLICK], Priority.INTERACTIVE)
    assert seen == ["encode", "answer"]


def test_no_prompt_no_work() -> None:
    engine = Engine(FakePredictor(before=pytest.fail), cache_bytes=0, wait_limit_s=5)
    assert engine.answer(picture(0), "a", [], Priority.BATCH) == Answered([])


def test_after_the_deadline_nothing_starts() -> None:
    engine = Engine(FakePredictor(before=pytest.fail), cache_bytes=0, wait_limit_s=5)
    with pytest.raises(BusyError, match=r"left for the next request"):
        engine.answer(picture(0), "a", [CLICK], Priority.BATCH, deadline=time.monotonic() - 1)


def test_a_click_goes_before_the_rest_of_a_batch() -> None:
    """While a batch encodes its first picture a click arrives: it is served before the batch's next stage."""
    order: list[str] = []
    encoding, go_on = threading.Event(), threading.Event()

    def before(stage: str) -> None:
        order.append(f"{stage} by {threading.current_thread().name.split('_')[0]}")
        if len(order) == 1:
            encoding.set()
            go_on.wait(10)

    engine = Engine(FakePredictor(before=before), cache_bytes=10_000, wait_limit_s=10)
    with ThreadPoolExecutor(1, "batch") as batches, ThreadPoolExecutor(1, "click") as clicks:
        batch = batches.submit(engine.answer, picture(0), "a", [NAMES, NAMES], Priority.BATCH)
        encoding.wait(10)
        click = clicks.submit(engine.answer, picture(9), "b", [CLICK], Priority.INTERACTIVE)
        while not engine.waiting:
            time.sleep(0.001)
        go_on.set()
        batch.result(10)
        click.result(10)
    assert order[:2] == ["encode by batch", "encode by click"]


def test_pictures_of_many_annotators_are_never_swapped() -> None:
    """Sixteen pictures of different size and brightness at once, with a cache for three of them."""
    engine = Engine(FakePredictor(), cache_bytes=3000, wait_limit_s=30)

    def ask(number: int) -> bool:
        number %= 16
        size_hw = (10 + number, 50 - number)
        asked = picture(number * 10, size_hw)
        (answer,) = engine.answer(asked, f"image {number}", [CLICK], Priority.INTERACTIVE).answers
        expected = np.float32(0.5 + number * 10 / 512)
        return answer.instances.size_hw == size_hw and answer.instances.scores[0] == expected

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(320)))
