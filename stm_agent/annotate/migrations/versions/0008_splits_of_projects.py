"""Shares of the splits. Projects of earlier versions put every new query into dev, and go on doing so."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ALL_DEV = '{"train": 0, "dev": 100, "test": 0, "seed": 0}'


def upgrade() -> None:
    """Apply."""
    kind = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("projects", sa.Column("splits", kind, nullable=False, server_default=ALL_DEV))


def downgrade() -> None:
    """Take back."""
    op.drop_column("projects", "splits")
