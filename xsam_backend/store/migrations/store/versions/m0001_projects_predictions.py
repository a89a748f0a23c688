"""The store's first tables: projects and the prediction log."""

import sqlalchemy as sa
from alembic import op

from xsam_backend.store.tables import UtcDateTime

revision = "store_0001"
down_revision = None


def upgrade() -> None:
    """Create projects and predictions."""
    op.create_table(
        "projects",
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("title", sa.Text),
        sa.Column("label_config", sa.Text),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "predictions",
        sa.Column("region_id", sa.String(64), primary_key=True),
        sa.Column("project_key", sa.String(255)),
        sa.Column("task_id", sa.String(64)),
        sa.Column("model_version", sa.String(255), nullable=False),
        sa.Column("from_name", sa.String(255), nullable=False),
        sa.Column("region_type", sa.String(64), nullable=False),
        sa.Column("label", sa.Text),
        sa.Column("score", sa.Float),
        sa.Column("interactive", sa.Boolean, nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("image_sha256", sa.String(64), nullable=False),
        sa.Column("image_height_px", sa.Integer, nullable=False),
        sa.Column("image_width_px", sa.Integer, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_predictions_project_key", "predictions", ["project_key"])
    op.create_index("ix_predictions_created_at", "predictions", ["created_at"])


def downgrade() -> None:
    """Drop projects and predictions."""
    op.drop_table("predictions")
    op.drop_table("projects")
