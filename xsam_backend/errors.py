"""The exception family. A message says what was expected, what came and what to do.

The library raises these; only ``server/app`` (to HTTP) and the CLI (to exit codes) translate them.
"""

from __future__ import annotations


class XSamBackendError(Exception):
    """Everything this package raises on purpose."""


class SettingsError(XSamBackendError):
    """A setting has a value that cannot work."""


class LabelConfigError(XSamBackendError):
    """The project's label config lacks something, or a label is not in it."""


class PromptError(XSamBackendError):
    """A question that cannot be asked: no region, outside the picture, empty phrase."""


class RequestError(XSamBackendError):
    """A request body that does not follow the ML-backend protocol."""


class ImageError(XSamBackendError):
    """A picture that cannot be had or read."""


class LabelStudioError(XSamBackendError):
    """Label Studio cannot be reached, or refuses what was asked of its API."""


class NotFoundError(LabelStudioError):
    """Label Studio has no such thing, or the token's user may not see it."""


class ProjectGoneError(LabelStudioError):
    """A project that was known is not in Label Studio any more."""


class CheckpointError(XSamBackendError):
    """Weights that do not fit the model: unknown, missing or mis-shaped keys."""


class StoreError(XSamBackendError):
    """The store cannot be read or written."""


class StoreBusyError(StoreError):
    """Another process holds the database, its server is out of reach or its disk is full; the same may succeed
    later."""


class NothingKeptError(StoreError):
    """There is no database where one was expected that a service has made."""


class JobError(XSamBackendError):
    """A fine-tuning that cannot be queued, run or gone on with."""


class BusyError(XSamBackendError):
    """Too much asked at once; the same request may succeed later."""


class SupersededError(BusyError):
    """A request that a newer one of the same person has made pointless before its turn came."""


class DeviceMemoryError(XSamBackendError):
    """The device's memory doesn't suffice, also after everything that can be made again was dropped."""


class DatasetError(XSamBackendError):
    """A folder of labelled pictures that is missing, incomplete or contradicts itself."""


class DemoError(XSamBackendError):
    """The demo cannot go on: something it installs or starts failed."""
