"""The tasks of batches that are pre-labelled in the background."""

import sqlalchemy as sa
from alembic import op

from xsam_backend.store.tables import RowId, UtcDateTime

revision = "store_0007"
down_revision = "store_0006"


def upgrade() -> None:
    """Create bulk_tasks."""
    op.create_table(
        "bulk_tasks",
        sa.Column("id", RowId, primary_key=True, autoincrement=True),
        sa.Column("project_key", sa.String(255), nullable=False),
        sa.Column("task_id", sa.BigInteger, nullable=False),
        sa.Column("model_version", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("due_at", UtcDateTime),
        sa.Column("holder", sa.String(32)),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("ended_at", UtcDateTime),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_bulk_tasks_task", "bulk_tasks", ["project_key", "task_id"], unique=True)
    op.create_index("ix_bulk_tasks_due", "bulk_tasks", ["due_at", "id"])
    op.create_index("ix_bulk_tasks_holder", "bulk_tasks", ["holder"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("bulk_tasks")
