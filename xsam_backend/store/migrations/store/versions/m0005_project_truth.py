"""How old what is known of a project is, and since when it is gone from Label Studio."""

import sqlalchemy as sa
from alembic import op

from xsam_backend.store.tables import UtcDateTime

revision = "store_0005"
down_revision = "store_0004"


def upgrade() -> None:
    """Add told_at and gone_at."""
    for name in ("told_at", "gone_at"):
        op.add_column("projects", sa.Column(name, UtcDateTime))


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("projects") as projects:
        for name in ("told_at", "gone_at"):
            projects.drop_column(name)
