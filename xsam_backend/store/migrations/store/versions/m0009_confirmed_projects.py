"""Whose word a project's label config is, and when the project was last synced."""

import sqlalchemy as sa
from alembic import op

from xsam_backend.store.tables import UtcDateTime

revision = "store_0009"
down_revision = "store_0008"


def upgrade() -> None:
    """Add both. What was kept so far is taken at its word, until the next sync says what is so."""
    op.add_column("projects", sa.Column("synced_at", UtcDateTime))
    op.add_column("projects", sa.Column("confirmed", sa.Boolean, nullable=False, server_default=sa.true()))


def downgrade() -> None:
    """Drop both."""
    with op.batch_alter_table("projects") as projects:
        for name in ("confirmed", "synced_at"):
            projects.drop_column(name)
