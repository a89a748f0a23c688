"""The inbox's first table."""

import sqlalchemy as sa
from alembic import op

from xsam_backend.store.tables import RowId, UtcDateTime

revision = "inbox_0001"
down_revision = None


def upgrade() -> None:
    """Create inbox_events."""
    op.create_table(
        "inbox_events",
        sa.Column("id", RowId, primary_key=True, autoincrement=True),
        sa.Column("content_key", sa.String(64), nullable=False, unique=True),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("project_key", sa.String(255)),
        sa.Column("verified", sa.Boolean, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_inbox_events_project_key", "inbox_events", ["project_key"])


def downgrade() -> None:
    """Drop inbox_events."""
    op.drop_table("inbox_events")
