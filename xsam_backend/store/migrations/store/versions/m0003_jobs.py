"""The queue of fine-tunings; an index that counts a project's news without reading its annotations."""

import sqlalchemy as sa
from alembic import op

from xsam_backend.store.tables import RowId, UtcDateTime

revision = "store_0003"
down_revision = "store_0002"


def upgrade() -> None:
    """Create jobs."""
    op.create_table(
        "jobs",
        sa.Column("id", RowId, primary_key=True, autoincrement=True),
        sa.Column("project_key", sa.String(255), nullable=False),
        sa.Column("queued_for", sa.String(255), unique=True),
        sa.Column("place", sa.String(255), unique=True),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("started_at", UtcDateTime),
        sa.Column("ended_at", UtcDateTime),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("steps", sa.Integer, nullable=False),
        sa.Column("eta_s", sa.Float),
        sa.Column("cancel_wanted", sa.Boolean, nullable=False),
        sa.Column("heartbeat_at", UtcDateTime),
        sa.Column("host", sa.String(255)),
        sa.Column("pid", sa.Integer),
        sa.Column("worker_started_at", UtcDateTime),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("log_file", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_project_key", "jobs", ["project_key"])
    op.create_index("ix_jobs_state", "jobs", ["state"])
    op.create_index("ix_annotations_news", "annotations", ["project_key", "state", "kept_at"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_annotations_news", "annotations")
    op.drop_table("jobs")
