"""Names of primaries: who serves an alias, on whose volume a file lies, which volume that is."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """All that is there belongs to the one primary there was."""
    for table in ("alias", "mailbox"):
        op.add_column(
            table, sa.Column("primary", sa.Text, nullable=False, server_default="primary")
        )
    op.create_index("ix_mailbox_primary", "mailbox", ["primary", "state"])
    op.create_table(
        "volume",
        sa.Column("primary", sa.Text, primary_key=True),
        sa.Column("volume", sa.Text, nullable=False),
        sa.Column("created", sa.Text, nullable=False),
    )
