"""What annotators accepted: tasks, annotations, how far the inbox was read; which projects are to be synced."""

import sqlalchemy as sa
from alembic import op

from xsam_backend.store.tables import UtcDateTime

revision = "store_0002"
down_revision = "store_0001"


def upgrade() -> None:
    """Create tasks, annotations and cursors."""
    op.add_column("projects", sa.Column("sync_wanted_at", UtcDateTime))
    op.create_table(
        "tasks",
        sa.Column("project_key", sa.String(255), primary_key=True),
        sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("pictures", sa.Text, nullable=False),
        sa.Column("lacks_pictures", sa.Boolean, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_try_at", UtcDateTime, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("first_seen_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_tasks_lacks_pictures", "tasks", ["lacks_pictures"])
    op.create_table(
        "annotations",
        sa.Column("project_key", sa.String(255), primary_key=True),
        sa.Column("annotation_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("task_id", sa.BigInteger),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("changed_at", UtcDateTime, nullable=False),
        sa.Column("annotator", sa.BigInteger),
        sa.Column("ground_truth", sa.Boolean, nullable=False),
        sa.Column("result", sa.LargeBinary, nullable=False),
        sa.Column("shown", sa.LargeBinary, nullable=False),
        sa.Column("kept_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "cursors",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("event_id", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("cursors")
    op.drop_table("annotations")
    op.drop_table("tasks")
    with op.batch_alter_table("projects") as projects:
        projects.drop_column("sync_wanted_at")
