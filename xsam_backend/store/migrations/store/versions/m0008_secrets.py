"""What the services of one database must have alike: the root of the webhook secrets."""

import sqlalchemy as sa
from alembic import op

revision = "store_0008"
down_revision = "store_0007"


def upgrade() -> None:
    """Create secrets."""
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("secrets")
