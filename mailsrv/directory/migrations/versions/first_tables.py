"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of an empty database."""
    _owners()
    _aliases()
    _mailboxes()
    _credentials()


def _owners() -> None:
    revision_table = op.create_table(
        "revision",
        sa.Column("id", sa.Integer, autoincrement=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revision"),
    )
    op.bulk_insert(revision_table, [{"id": 1, "value": 0}])
    op.create_table(
        "account",
        sa.Column("id", sa.Text),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("quota", sa.BigInteger),
        sa.Column("created", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_account"),
        sa.UniqueConstraint("name", name="uq_account_name"),
    )
    op.create_table(
        "domain",
        sa.Column("id", sa.Text),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("account_id", sa.Text),
        sa.Column("quota", sa.BigInteger),
        sa.Column("created", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_domain"),
        sa.UniqueConstraint("name", name="uq_domain_name"),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_domain_account_id"),
    )
    op.create_index("ix_domain_account_id", "domain", ["account_id"])


def _aliases() -> None:
    op.create_table(
        "alias",
        sa.Column("id", sa.Text),
        sa.Column("domain_id", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("quota", sa.BigInteger),
        sa.Column("salt", sa.LargeBinary),
        sa.Column("iterations", sa.Integer),
        sa.Column("created", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alias"),
        sa.UniqueConstraint("address", name="uq_alias_address"),
        sa.ForeignKeyConstraint(["domain_id"], ["domain.id"], name="fk_alias_domain_id"),
    )
    op.create_index("ix_alias_domain_id", "alias", ["domain_id"])
    op.create_table(
        "usage",
        sa.Column("alias_id", sa.Text),
        sa.Column("octets", sa.BigInteger, nullable=False),
        sa.Column("messages", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("alias_id", name="pk_usage"),
        sa.ForeignKeyConstraint(
            ["alias_id"], ["alias.id"], name="fk_usage_alias_id", ondelete="CASCADE"
        ),
    )


def _mailboxes() -> None:
    op.create_table(
        "mailbox",
        sa.Column("id", sa.Text),
        sa.Column("alias_id", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mailbox"),
        sa.ForeignKeyConstraint(
            ["alias_id"], ["alias.id"], name="fk_mailbox_alias_id", ondelete="SET NULL"
        ),
    )
    op.create_index("ix_mailbox_alias_id", "mailbox", ["alias_id", "state"])
    current = sa.text("state = 'current'")
    op.create_index(
        "uq_mailbox_current",
        "mailbox",
        ["alias_id"],
        unique=True,
        sqlite_where=current,
        postgresql_where=current,
    )


def _credentials() -> None:
    op.create_table(
        "credential",
        sa.Column("id", sa.Text),
        sa.Column("alias_id", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("main", sa.Boolean, nullable=False),
        sa.Column("stored_key", sa.LargeBinary, nullable=False),
        sa.Column("server_key", sa.LargeBinary, nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("wrapped_private_key", sa.LargeBinary, nullable=False),
        sa.Column("sealed_file_key", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.Text, nullable=False),
        sa.Column("used", sa.Text),
        sa.Column("revoked_at", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_credential"),
        sa.ForeignKeyConstraint(
            ["alias_id"], ["alias.id"], name="fk_credential_alias_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_credential_alias_id", "credential", ["alias_id"])
