import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.errors import BusyError
from xsam_backend.inference.cache import ByteCache, CacheKey, Standing


@dataclass(frozen=True)
class State:
    name: str
    nbytes: int = 1


def key(name: str) -> CacheKey:
    return CacheKey(name, "v1")


def test_the_second_request_is_served_from_memory() -> None:
    cache = ByteCache[State](10)
    first = cache.get_or_make(key("a"), lambda: State("a"))
    second = cache.get_or_make(key("a"), lambda: pytest.fail("encoded twice"))
    assert first is second
    assert (cache.stats.hits, cache.stats.misses) == (1, 1)


def test_another_model_version_is_another_state() -> None:
    cache = ByteCache[State](10)
    cache.get_or_make(CacheKey("a", "v1"), lambda: State("old"))
    assert cache.get_or_make(CacheKey("a", "v2"), lambda: State("new")).name == "new"


def test_the_least_recently_used_goes_first() -> None:
    cache = ByteCache[State](2)
    for name in ("a", "b", "a", "c"):  # a is used again before c needs room
        cache.get_or_make(key(name), lambda name=name: State(name))
    assert key("a") in cache
    assert key("b") not in cache
    assert cache.stats.evictions == 1


def test_a_state_larger_than_the_cache_pushes_nothing_out() -> None:
    cache = ByteCache[State](5)
    cache.get_or_make(key("small"), lambda: State("small", 5))
    assert cache.get_or_make(key("huge"), lambda: State("huge", 6)).name == "huge"
    assert key("small") in cache
    assert key("huge") not in cache


def test_a_cache_of_no_bytes_keeps_nothing_and_still_answers() -> None:
    cache = ByteCache[State](0)
    assert cache.get_or_make(key("a"), lambda: State("a")).name == "a"
    assert cache.stats.entries == 0


def test_many_threads_encode_one_picture_once() -> None:
    cache = ByteCache[State](10)
    encodings: list[int] = []
    all_there = threading.Barrier(8)

    def ask(_: int) -> State:
        all_there.wait(10)
        return cache.get_or_make(key("a"), encode)

    def encode() -> State:
        encodings.append(1)
        return State("a")

    with ThreadPoolExecutor(8) as pool:
        states = list(pool.map(ask, range(8)))
    assert len(encodings) == 1
    assert len({id(state) for state in states}) == 1
    assert (cache.stats.hits, cache.stats.misses) == (7, 1)


def test_a_failure_is_told_and_not_kept() -> None:
    cache = ByteCache[State](10)

    def fail() -> State:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        cache.get_or_make(key("a"), fail)
    assert cache.get_or_make(key("a"), lambda: State("a")).name == "a"


def test_who_waited_for_one_that_gave_up_tries_itself() -> None:
    """A click must not fail because the batch that was about to encode its picture ran out of time."""
    cache = ByteCache[State](10)
    began, give_up = threading.Event(), threading.Event()

    def busy() -> State:
        began.set()
        give_up.wait(10)
        raise BusyError("out of time")

    with ThreadPoolExecutor(2) as pool:
        batch = pool.submit(cache.get_or_make, key("a"), busy)
        began.wait(10)
        click = pool.submit(cache.get_or_make, key("a"), lambda: State("a"))
        give_up.set()
        assert click.result(10).name == "a"
        with pytest.raises(BusyError):
            batch.result(10)


def test_a_guest_pushes_nothing_out_and_is_the_first_to_go() -> None:
    """Who pre-labels a whole project must not make the pictures that people work on cold."""
    cache = ByteCache[State](3)
    cache.get_or_make(key("worked on"), lambda: State("worked on"))
    cache.get_or_make(key("also"), lambda: State("also"))
    cache.get_or_make(key("guest"), lambda: State("guest"), standing=Standing.GUEST)
    cache.get_or_make(key("no room"), lambda: State("no room"), standing=Standing.GUEST)
    assert key("guest") in cache
    assert key("no room") not in cache
    cache.get_or_make(key("new"), lambda: State("new"))
    assert key("guest") not in cache
    assert key("worked on") in cache


@pytest.mark.parametrize(
    ("capacity", "kept", "reason"),
    [
        (1, ["worked on"], "what is worked on stays"),
        (2, ["worked on", "next"], "and what comes first of all that is expected"),
        (3, ["worked on", "next", "after next"], "what was used before goes"),
        (4, ["used before", "worked on", "next", "after next"], "there is room"),
    ],
)
def test_what_is_expected_pushes_out_only_what_was_used_before(capacity: int, kept: list[str], reason: str) -> None:
    cache = ByteCache[State](capacity)
    for name in ("used before", "worked on"):
        cache.get_or_make(key(name), lambda name=name: State(name))
    for name in ("next", "after next"):
        cache.get_or_make(key(name), lambda name=name: State(name), standing=Standing.AHEAD)
    assert [name for name in ("used before", "worked on", "next", "after next") if key(name) in cache] == kept, reason


def test_a_guest_that_people_ask_for_stays() -> None:
    cache = ByteCache[State](2)
    cache.get_or_make(key("older"), lambda: State("older"))
    cache.get_or_make(key("guest"), lambda: State("guest"), standing=Standing.GUEST)
    cache.get_or_make(key("guest"), lambda: State("guest"), standing=Standing.GUEST)
    cache.get_or_make(key("guest"), lambda: pytest.fail("made twice"))
    cache.get_or_make(key("new"), lambda: State("new"))
    assert key("guest") in cache
    assert key("older") not in cache


def test_a_value_that_has_grown_is_counted_anew() -> None:
    class Growing:
        nbytes = 1

    cache = ByteCache[Growing](10)
    cache.get_or_make(key("a"), Growing)
    growing = cache.get_or_make(key("b"), Growing)
    growing.nbytes = 10
    assert cache.stats.nbytes == 2
    cache.measure(key("b"))
    assert cache.stats.nbytes == 10
    assert key("a") not in cache
    cache.measure(key("never there"))


def test_who_waits_says_so() -> None:
    cache = ByteCache[State](10)
    began, go_on, waiting = threading.Event(), threading.Event(), threading.Event()

    def slow() -> State:
        began.set()
        go_on.wait(10)
        return State("a")

    @contextmanager
    def noted() -> Iterator[None]:
        waiting.set()
        yield
        waiting.clear()

    with ThreadPoolExecutor(2) as pool:
        pool.submit(cache.get_or_make, key("a"), slow)
        began.wait(10)
        second = pool.submit(cache.get_or_make, key("a"), slow, waiting=noted)
        assert waiting.wait(10)
        go_on.set()
        assert second.result(10).name == "a"
    assert not waiting.is_set()


def test_a_negative_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 0 or more, got -1"):
        ByteCache[State](-1)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), max_size=40), st.integers(0, 20))
def test_never_more_bytes_than_allowed_and_the_count_is_right(uses: list[tuple[int, int]], capacity: int) -> None:
    cache = ByteCache[State](capacity)
    sizes: dict[int, int] = {}
    for name, nbytes in uses:
        nbytes = sizes.setdefault(name, nbytes)
        cache.get_or_make(key(str(name)), lambda nbytes=nbytes: State("s", nbytes))
        stats = cache.stats
        held = [size for name, size in sizes.items() if key(str(name)) in cache]
        assert stats.nbytes == sum(held) <= capacity
        assert stats.entries == len(held)
    assert cache.stats.hits + cache.stats.misses == len(uses)
