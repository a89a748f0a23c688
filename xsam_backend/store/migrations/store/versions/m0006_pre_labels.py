"""What was predicted for each task last."""

import sqlalchemy as sa
from alembic import op

from xsam_backend.store.tables import UtcDateTime

revision = "store_0006"
down_revision = "store_0005"


def upgrade() -> None:
    """Create pre_labels."""
    op.create_table(
        "pre_labels",
        sa.Column("project_key", sa.String(255), primary_key=True),
        sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("model_version", sa.String(255), nullable=False),
        sa.Column("base", sa.String(255), nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.Column("predicted_at", UtcDateTime, nullable=False),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("pre_labels")
