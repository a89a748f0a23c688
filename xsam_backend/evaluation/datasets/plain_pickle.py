"""Pickles that hold nothing but plain data: RefCOCO's ``refs(unc).p`` comes as one.

Unpickling can run any code that the file's writer likes, through the names of functions and classes in it. Here every
such name is refused, so lists, dicts, tuples, sets, texts, bytes and numbers can be built and nothing can be called.
The files that the field passes around hold only these.

The unpickler that is written in Python is taken: the one in C makes room for as many objects as the file says that it
numbers, so that five bytes take gigabytes. (It takes twice the time: six seconds for the largest of these files.)
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from xsam_backend.errors import DatasetError


class _NotPlainError(Exception):
    pass


def _refuse_room(_unpickler: object) -> None:
    """A bytearray: its room, too, would be made before there is anything to put into it."""
    raise _NotPlainError("it asks for room to write into")


class _PlainUnpickler(pickle._Unpickler):
    dispatch = pickle._Unpickler.dispatch | {pickle.BYTEARRAY8[0]: _refuse_room}

    def find_class(self, module: str, name: str) -> Any:
        """Every way to anything callable leads through here."""
        raise _NotPlainError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        """Objects kept outside the file."""
        raise _NotPlainError("it refers to objects outside of itself")


def read_plain_pickle(path: Path) -> Any:
    """The plain data in a pickle; texts written by Python 2 are read as UTF-8.

    Raises:
        DatasetError: missing, not a pickle, or one that holds anything else than plain data.
    """
    try:
        return _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="utf-8").load()
    except FileNotFoundError as error:
        raise DatasetError(f"expected {path}, it isn't there: check the path to the data") from error
    except _NotPlainError as error:
        raise DatasetError(
            f"{path}: expected a pickle of lists, dicts, texts and numbers only, but {error}, which could run "
            "anything: don't load this file anywhere, and fetch the data from their authors"
        ) from error
    except Exception as error:
        # A damaged pickle raises whatever its bytes lead to: EOFError, KeyError, UnpicklingError, MemoryError...
        raise DatasetError(f"{path}: expected a pickle, it is damaged or something else ({error!r})") from error
