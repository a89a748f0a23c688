"""Model versions of projects, and from when on which of them answers."""

import sqlalchemy as sa
from alembic import op

from xsam_backend.store.tables import RowId, UtcDateTime

revision = "store_0004"
down_revision = "store_0003"


def upgrade() -> None:
    """Create versions and deployments."""
    op.create_table(
        "versions",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("project_key", sa.String(255), nullable=False),
        sa.Column("base", sa.String(255), nullable=False),
        sa.Column("parent", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("job_id", sa.BigInteger),
        sa.Column("report", sa.Text, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_versions_project_key", "versions", ["project_key"])
    op.create_table(
        "deployments",
        sa.Column("id", RowId, primary_key=True, autoincrement=True),
        sa.Column("project_key", sa.String(255), nullable=False),
        sa.Column("version", sa.String(255)),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deployments_project_key", "deployments", ["project_key"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("deployments")
    op.drop_table("versions")
