"""Backups and where a domain keeps them; aliases that are deleted, erased, written to beside us."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing is deleted, restored or backed up yet."""
    op.add_column("alias", sa.Column("deleted", sa.Text))
    op.add_column("alias", sa.Column("touched", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("mailbox", sa.Column("restored", sa.Text))
    op.add_column(
        "usage", sa.Column("recoverable", sa.BigInteger, nullable=False, server_default="0")
    )
    op.create_table(
        "backup",
        sa.Column(
            "alias_id", sa.Text, sa.ForeignKey("alias.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("mailbox", sa.Text),
        sa.Column("digest", sa.LargeBinary),
        *(sa.Column(name, sa.Text) for name in ("taken", "checked", "wanted", "failed", "problem")),
    )
    op.create_table(
        "bucket",
        sa.Column(
            "domain_id", sa.Text, sa.ForeignKey("domain.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "erasure",
        sa.Column("alias_id", sa.Text, primary_key=True),
        sa.Column("primary", sa.Text, primary_key=True),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("domain_id", sa.Text),
        sa.Column("files", sa.LargeBinary, nullable=False),
        sa.Column("public_keys", sa.LargeBinary, nullable=False),
        sa.Column("begun", sa.Text, nullable=False),
    )
