import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from xsam_backend.errors import BusyError, SupersededError
from xsam_backend.inference.scheduling import Priority, Turns


def queue_up(turns: Turns, pool: ThreadPoolExecutor, asked: list[tuple[Priority, str]], order: list[str]) -> None:
    """Let every asker wait, one after the other, while the turn is taken; each notes its name when served."""

    def ask(priority: Priority, name: str) -> None:
        with turns.take(priority, 30):
            order.append(name)

    futures: list[Future[None]] = []
    with turns.take(Priority.BATCH, 30):
        for number, (priority, name) in enumerate(asked, start=1):
            futures.append(pool.submit(ask, priority, name))
            while turns.waiting < number:
                threading.Event().wait(0.001)
    for future in futures:
        future.result(30)


def test_people_go_before_batches_and_each_in_order_of_arrival() -> None:
    order: list[str] = []
    asked = [
        (Priority.BATCH, "batch 1"),
        (Priority.INTERACTIVE, "click 1"),
        (Priority.BATCH, "batch 2"),
        (Priority.INTERACTIVE, "click 2"),
    ]
    with ThreadPoolExecutor(4) as pool:
        queue_up(Turns(), pool, asked, order)
    assert order == ["click 1", "click 2", "batch 1", "batch 2"]


def test_who_waits_behind_endless_clicks_gets_a_turn_from_time_to_time() -> None:
    turns, order = Turns(patience_s=0.2), list[str]()

    def ask(name: str, priority: Priority, seconds: float) -> None:
        with turns.take(priority, 30):
            order.append(name)
            threading.Event().wait(seconds)

    def clicks() -> None:
        while order.count("batch") < 3:
            ask("click", Priority.INTERACTIVE, 0.02)

    with ThreadPoolExecutor(9) as pool:
        clicking = [pool.submit(clicks) for _ in range(3)]  # one always waits
        ahead = pool.submit(ask, "ahead", Priority.AHEAD, 0)
        batches = [pool.submit(ask, "batch", Priority.BATCH, 0.02) for _ in range(3)]
        for future in (*batches, *clicking, ahead):
            future.result(30)
    first, second, third = (number for number, name in enumerate(order) if name == "batch")
    assert first > 3
    assert second - first > 3, "the batches that waited as long don't all go before the clicks"
    assert third - second > 3
    assert order.index("ahead") > third, "what nobody has asked for yet has time"


def test_one_at_a_time() -> None:
    turns, inside, most = Turns(), 0, 0

    def work(_: int) -> None:
        nonlocal inside, most
        with turns.take(Priority.BATCH, 30):
            inside += 1
            most = max(most, inside)
            inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(200)))
    assert most == 1


def test_who_waits_too_long_is_told_to_come_back() -> None:
    turns = Turns()
    with turns.take(Priority.BATCH, 1), pytest.raises(BusyError, match=r"try again later"):  # noqa: SIM117
        with turns.take(Priority.INTERACTIVE, 0.01):
            pytest.fail("two turns at once")
    assert turns.waiting == 0


def test_one_that_gave_up_does_not_block_the_next() -> None:
    turns = Turns()
    with turns.take(Priority.BATCH, 1), pytest.raises(BusyError), turns.take(Priority.INTERACTIVE, 0.01):
        pytest.fail("two turns at once")
    with turns.take(Priority.BATCH, 1):
        pass


def test_an_error_inside_gives_the_turn_back() -> None:
    turns = Turns()
    with pytest.raises(RuntimeError), turns.take(Priority.BATCH, 1):
        raise RuntimeError
    with turns.take(Priority.BATCH, 1):
        pass


def test_nobody_waits_for_what_is_superseded() -> None:
    turns, gone = Turns(), threading.Event()

    def ask() -> None:
        with turns.take(Priority.INTERACTIVE, 30, is_superseded=gone.is_set):
            pytest.fail("nobody wanted it")

    with ThreadPoolExecutor(1) as pool, turns.take(Priority.BATCH, 30):
        older = pool.submit(ask)
        while not turns.waiting:
            threading.Event().wait(0.001)
        gone.set()
        turns.notice()
        with pytest.raises(SupersededError, match="a newer request"):
            older.result(10)
    assert turns.waiting == 0


def test_hurried_work_goes_as_early_as_who_waits_for_it() -> None:
    turns, order = Turns(), []
    asked = [(Priority.BATCH, "a"), (Priority.BULK, "b"), (Priority.BATCH, "c"), (Priority.BULK, "d")]

    def ask(priority: Priority, name: str) -> None:
        with turns.take(priority, 30, work=name):
            order.append(name)

    with ThreadPoolExecutor(4) as pool:
        with turns.take(Priority.BATCH, 30):
            futures = []
            for number, (priority, name) in enumerate(asked, start=1):
                futures.append(pool.submit(ask, priority, name))
                while turns.waiting < number:
                    threading.Event().wait(0.001)
            hurry = turns.hurried("d", Priority.INTERACTIVE)
            hurry.__enter__()
        for future in futures:
            future.result(30)
        hurry.__exit__(None, None, None)
    assert order == ["d", "a", "c", "b"]


def test_idle_is_when_nobody_has_or_wants_a_turn() -> None:
    turns = Turns()
    threading.Event().wait(0.01)
    assert turns.idle_s >= 0.01
    with turns.take(Priority.AHEAD, 1):
        assert turns.idle_s == 0
    assert turns.idle_s < 10


def test_in_the_middle_of_a_turn_others_may_go_first() -> None:
    turns, order = Turns(), []
    waiting, ended = threading.Event(), threading.Event()

    def click() -> None:
        waiting.set()
        with turns.take(Priority.INTERACTIVE, 10):
            order.append("click")
        ended.set()

    with turns.take(Priority.INTERACTIVE, 10) as let_others:
        let_others()  # nobody is there
        order.append("first half")
        thread = threading.Thread(target=click)
        thread.start()
        assert waiting.wait(10)
        while not turns.waiting:
            time.sleep(0.001)
        let_others()
        assert ended.is_set()
        order.append("second half")
    thread.join()
    assert order == ["first half", "click", "second half"]
    assert not turns.taken_s


def test_who_counts_for_less_does_not_go_first() -> None:
    turns = Turns()
    done = threading.Event()

    def bulk() -> None:
        with turns.take(Priority.BULK, 10):
            done.set()

    with turns.take(Priority.INTERACTIVE, 10) as let_others:
        thread = threading.Thread(target=bulk)
        thread.start()
        while not turns.waiting:
            time.sleep(0.001)
        let_others()
        assert not done.is_set()
    thread.join()
    assert done.is_set()


def test_who_is_not_wanted_any_more_gives_up_between_and_takes_no_turn_along() -> None:
    turns, wanted = Turns(), [True]
    inside, leave = threading.Event(), threading.Event()

    def click() -> None:
        with turns.take(Priority.INTERACTIVE, 10):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=click)

    def look_twice() -> None:
        with turns.take(Priority.INTERACTIVE, 10, is_superseded=lambda: not wanted[0]) as let_others:
            thread.start()
            while not turns.waiting:
                time.sleep(0.001)
            wanted[0] = False
            let_others()

    with pytest.raises(SupersededError):
        look_twice()
    assert inside.wait(10)
    assert turns.taken_s > 0, "the other one's turn goes on"
    leave.set()
    thread.join()
