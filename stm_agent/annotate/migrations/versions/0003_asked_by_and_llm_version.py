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
    # Plainly, not in batches: those make a table anew in SQLite, and what points to its rows would go with the old one.
    # Of the drafts that are there nobody wrote down who asked.
    op.add_column("drafts", sa.Column("asked_by", sa.String(200), nullable=True))
    op.add_column("llms", sa.Column("version", sa.Integer(), nullable=False, server_default="1"))


def downgrade() -> None:
    """Take back."""
    op.drop_column("llms", "version")
    op.drop_column("drafts", "asked_by")
