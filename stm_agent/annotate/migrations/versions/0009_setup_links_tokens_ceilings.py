"""Setup links that end with the next start, personal API tokens, and a project's ceiling on LLM calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("invitations", sa.Column("setup", sa.Boolean(), nullable=False, server_default=sa.false()))
    # Where no administrator can log in yet, only a start of the tool can have made an administrator's link.
    op.execute(
        sa.text(
            "UPDATE invitations SET setup = :yes "
            "WHERE role = 'admin' AND project_id IS NULL AND used_at IS NULL AND NOT EXISTS "
            "(SELECT 1 FROM people WHERE people.role = 'admin' AND people.active AND people.password IS NOT NULL)"
        ).bindparams(sa.bindparam("yes", True, sa.Boolean()))
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("person_id", sa.Integer(), sa.ForeignKey("people.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
    )
    op.create_index("ix_api_tokens_person_id", "api_tokens", ["person_id"])
    op.add_column("projects", sa.Column("llm_calls", sa.Integer(), nullable=True, server_default="1000"))
    op.add_column("projects", sa.Column("llm_usd", sa.Double(), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("projects", "llm_usd")
    op.drop_column("projects", "llm_calls")
    op.drop_index("ix_api_tokens_person_id", "api_tokens")
    op.drop_table("api_tokens")
    op.drop_column("invitations", "setup")
