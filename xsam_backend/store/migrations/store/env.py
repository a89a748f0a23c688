"""Alembic's entry point for the store tables."""

from xsam_backend.store.database import VERSION_TABLES
from xsam_backend.store.migrations import run
from xsam_backend.store.tables import StoreTables

run(StoreTables.metadata, VERSION_TABLES["store"])
