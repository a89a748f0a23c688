"""Damaged copies of real inputs: what somebody sends who knows the format, and has a mind to break something."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

HOSTILE_TEXTS = (
    *(
        "",
        " ",
        "\x00",
        "\r\nX: y",
        "é" * 300,
        "\u202e",
        "$",
        "$image",
        "$image[",
        "../../etc/passwd",
        "%00",
        "{{7*7}}",
    ),
    *("<!DOCTYPE x>", "&amp;", "nan", "1e999", "\ufffd", "a" * 5000, "data:image/png;base64,", "labels", "textarea"),
)
HOSTILE_NUMBERS = (0, -1, 1, 2, 100, 101, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.5, -0.0, 1e-320, 1e308, -1e308)
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, [], {}, [[]], [None], {"": None}, [[1, 2]], {"id": 1}, [{"id": 1}], [0] * 50, ["a"]),
    *HOSTILE_NUMBERS,
    *HOSTILE_TEXTS,
)

Path = tuple[Any, ...]


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:8]):  # the ninth vertex tells no more than the eighth
            yield from _paths(inner, (*path, index))


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def changed_json(seeds: Sequence[Any]) -> st.SearchStrategy[Any]:
    """One of some JSON values, with up to four things in it replaced, removed, doubled or put elsewhere."""
    known = [(seed, list(_paths(seed))) for seed in seeds]
    values = (
        st.sampled_from(HOSTILE)
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=9)
    )

    @st.composite
    def change(draw: st.DrawFn) -> Any:
        seed, paths = draw(st.sampled_from(known))
        changed = copy.deepcopy(seed)
        for _ in range(draw(st.integers(0, 4))):
            path = draw(st.sampled_from(paths))
            what = draw(st.sampled_from(("replace", "replace", "remove", "double", "put", "rename")))
            try:
                holder = _at(changed, path[:-1])
                if not path:
                    changed = copy.deepcopy(draw(values)) if draw(st.integers(0, 9)) == 0 else changed
                elif what == "replace":
                    # A copy: the next change may be inside of it, and must not change what is drawn later.
                    holder[path[-1]] = copy.deepcopy(draw(values))
                elif what == "remove":
                    del holder[path[-1]]
                elif what == "double" and isinstance(holder, list):
                    holder.extend([copy.deepcopy(holder[path[-1]])] * draw(st.integers(1, 3)))
                elif what == "put":
                    holder[path[-1]] = copy.deepcopy(_at(seed, draw(st.sampled_from(paths))))
                elif what == "rename" and isinstance(holder, dict):
                    holder[draw(st.sampled_from(HOSTILE_TEXTS))] = holder.pop(path[-1])
            except (KeyError, IndexError, TypeError):  # an earlier change has removed the place
                continue
        return changed

    return change()


def changed_bytes(seeds: Sequence[bytes], pieces: Sequence[bytes] = ()) -> st.SearchStrategy[bytes]:
    """One of some byte strings, with bytes overwritten, cut out, doubled or inserted, also whole pieces."""
    inserted = st.binary(max_size=8)
    if pieces:
        inserted = inserted | st.sampled_from(pieces)

    @st.composite
    def change(draw: st.DrawFn) -> bytes:
        changed = bytearray(draw(st.sampled_from(seeds)))
        for _ in range(draw(st.integers(0, 6))):
            # Heads decide most, so half of all changes are there.
            most = len(changed) if draw(st.booleans()) else min(len(changed), 64)
            at = draw(st.integers(0, most))
            what = draw(st.sampled_from(("overwrite", "overwrite", "cut", "insert", "double", "end")))
            if what == "overwrite":
                new = draw(inserted)
                changed[at : at + len(new)] = new
            elif what == "cut":
                del changed[at : at + draw(st.integers(1, 32))]
            elif what == "insert":
                changed[at:at] = draw(inserted)
            elif what == "double":
                changed[at:at] = changed[at : at + draw(st.integers(1, 64))]
            else:
                del changed[at:]
        return bytes(changed)

    return change()
