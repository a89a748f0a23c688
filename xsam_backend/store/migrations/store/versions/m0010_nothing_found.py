"""Which prompts found nothing, or not all that they asked for, and why."""

import sqlalchemy as sa
from alembic import op

from xsam_backend.store.tables import RowId, UtcDateTime

revision = "store_0010"
down_revision = "store_0009"


def upgrade() -> None:
    """Create nothing_found."""
    op.create_table(
        "nothing_found",
        sa.Column("id", RowId, primary_key=True, autoincrement=True),
        sa.Column("project_key", sa.String(255)),
        sa.Column("task_id", sa.String(64)),
        sa.Column("model_version", sa.String(255), nullable=False),
        sa.Column("from_name", sa.String(255), nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("image_sha256", sa.String(64), nullable=False),
        sa.Column("image_height_px", sa.Integer, nullable=False),
        sa.Column("image_width_px", sa.Integer, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_nothing_found_project_key", "nothing_found", ["project_key"])
    op.create_index("ix_nothing_found_created_at", "nothing_found", ["created_at"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("nothing_found")
