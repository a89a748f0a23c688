"""Alembic's entry point for the inbox tables."""

from xsam_backend.store.database import VERSION_TABLES
from xsam_backend.store.migrations import run
from xsam_backend.store.tables import InboxTables

run(InboxTables.metadata, VERSION_TABLES["inbox"])
