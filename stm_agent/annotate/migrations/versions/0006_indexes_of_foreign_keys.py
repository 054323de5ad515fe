"""Indexes of foreign keys: what is deleted finds what goes with it."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COLUMNS = (
    ("members", "person_id"),
    ("queries", "entry_id"),
    ("adjudications", "document_id"),
    ("llm_grades", "document_id"),
    ("llm_grades", "draft_id"),
    ("rankings", "document_id"),
    ("invitations", "project_id"),
)


def upgrade() -> None:
    """Apply."""
    for table, column in COLUMNS:
        op.create_index(f"ix_{table}_{column}", table, [column])


def downgrade() -> None:
    """Take back."""
    for table, column in reversed(COLUMNS):
        op.drop_index(f"ix_{table}_{column}", table)
