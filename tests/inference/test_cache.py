import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.errors import BusyError
from xsam_backend.inference.cache import StateCache, StateKey


@dataclass(frozen=True)
class State:
    name: str
    nbytes: int = 1


def key(name: str) -> StateKey:
    return StateKey(name, "v1")


def test_the_second_request_is_served_from_memory() -> None:
    cache = StateCache[State](10)
    first = cache.get_or_encode(key("a"), lambda: State("a"))
    second = cache.get_or_encode(key("a"), lambda: pytest.fail("encoded twice"))
    assert first is second
    assert (cache.stats.hits, cache.stats.misses) == (1, 1)


def test_another_model_version_is_another_state() -> None:
    cache = StateCache[State](10)
    cache.get_or_encode(StateKey("a", "v1"), lambda: State("old"))
    assert cache.get_or_encode(StateKey("a", "v2"), lambda: State("new")).name == "new"


def test_the_least_recently_used_goes_first() -> None:
    cache = StateCache[State](2)
    for name in ("a", "b", "a", "c"):  # a is used again before c needs room
        cache.get_or_encode(key(name), lambda name=name: State(name))
    assert key("a") in cache
    assert key("b") not in cache
    assert cache.stats.evictions == 1


def test_a_state_larger_than_the_cache_pushes_nothing_out() -> None:
    cache = StateCache[State](5)
    cache.get_or_encode(key("small"), lambda: State("small", 5))
    assert cache.get_or_encode(key("huge"), lambda: State("huge", 6)).name == "huge"
    assert key("small") in cache
    assert key("huge") not in cache


def test_a_cache_of_no_bytes_keeps_nothing_and_still_answers() -> None:
    cache = StateCache[State](0)
    assert cache.get_or_encode(key("a"), lambda: State("a")).name == "a"
    assert cache.stats.entries == 0


def test_many_threads_encode_one_picture_once() -> None:
    cache = StateCache[State](10)
    encodings: list[int] = []
    all_there = threading.Barrier(8)

    def ask(_: int) -> State:
        all_there.wait(10)
        return cache.get_or_encode(key("a"), encode)

    def encode() -> State:
        encodings.append(1)
        return State("a")

    with ThreadPoolExecutor(8) as pool:
        states = list(pool.map(ask, range(8)))
    assert len(encodings) == 1
    assert len({id(state) for state in states}) == 1
    assert (cache.stats.hits, cache.stats.misses) == (7, 1)


def test_a_failure_is_told_and_not_kept() -> None:
    cache = StateCache[State](10)

    def fail() -> State:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        cache.get_or_encode(key("a"), fail)
    assert cache.get_or_encode(key("a"), lambda: State("a")).name == "a"


def test_who_waited_for_one_that_gave_up_tries_itself() -> None:
    """A click must not fail because the batch that was about to encode its picture ran out of time."""
    cache = StateCache[State](10)
    began, give_up = threading.Event(), threading.Event()

    def busy() -> State:
        began.set()
        give_up.wait(10)
        raise BusyError("out of time")

    with ThreadPoolExecutor(2) as pool:
        batch = pool.submit(cache.get_or_encode, key("a"), busy)
        began.wait(10)
        click = pool.submit(cache.get_or_encode, key("a"), lambda: State("a"))
        give_up.set()
        assert click.result(10).name == "a"
        with pytest.raises(BusyError):
            batch.result(10)


def test_a_negative_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 0 or more, got -1"):
        StateCache[State](-1)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), max_size=40), st.integers(0, 20))
def test_never_more_bytes_than_allowed_and_the_count_is_right(uses: list[tuple[int, int]], capacity: int) -> None:
    cache = StateCache[State](capacity)
    sizes: dict[int, int] = {}
    for name, nbytes in uses:
        nbytes = sizes.setdefault(name, nbytes)
        cache.get_or_encode(key(str(name)), lambda nbytes=nbytes: State("s", nbytes))
        stats = cache.stats
        held = [size for name, size in sizes.items() if key(str(name)) in cache]
        assert stats.nbytes == sum(held) <= capacity
        assert stats.entries == len(held)
    assert cache.stats.hits + cache.stats.misses == len(uses)
    cache.clear()
    assert (cache.stats.entries, cache.stats.nbytes) == (0, 0)
