"""What each draft was an answer to, told apart: the same chat asked again is another sample."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("drafts", sa.Column("chat_hash", sa.String(64), nullable=True))
    op.create_index("ix_drafts_chat_hash", "drafts", ["chat_hash"])


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_drafts_chat_hash", "drafts")
    op.drop_column("drafts", "chat_hash")
