"""All targets, by name."""

from __future__ import annotations

from client_targets import CLIENT_TARGETS
from dataset_targets import DATASET_TARGETS
from file_targets import FILE_TARGETS
from targets import TARGETS as REQUEST_TARGETS

TARGETS = REQUEST_TARGETS | FILE_TARGETS | DATASET_TARGETS | CLIENT_TARGETS
