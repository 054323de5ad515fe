"""Who asked for a draft, and versions of the LLMs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("drafts", schema=None) as batch_op:
        # Of the drafts that are there nobody wrote down who asked.
        batch_op.add_column(sa.Column("asked_by", sa.String(200), nullable=True))
    with op.batch_alter_table("llms", schema=None) as batch_op:
        batch_op.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="1"))


def downgrade() -> None:
    """Take back."""
    for table, column in (("llms", "version"), ("drafts", "asked_by")):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column(column)
