"""Queries that were dealt, first grades, versions of settled grades, and changes that are found by their target."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("assignments", schema=None) as batch_op:
        batch_op.add_column(sa.Column("dealt", sa.Boolean(), nullable=False, server_default=sa.true()))
    with op.batch_alter_table("adjudications", schema=None) as batch_op:
        batch_op.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
    with op.batch_alter_table("judgements", schema=None) as batch_op:
        batch_op.add_column(sa.Column("first_grade", sa.Integer(), nullable=True))
    op.execute("UPDATE judgements SET first_grade = grade")
    with op.batch_alter_table("judgements", schema=None) as batch_op:
        batch_op.alter_column("first_grade", existing_type=sa.Integer(), nullable=False)
    with op.batch_alter_table("changes", schema=None) as batch_op:
        # A query's key and a document's together.
        batch_op.alter_column("target", existing_type=sa.String(200), type_=sa.String(500), existing_nullable=False)
        batch_op.drop_index(batch_op.f("ix_changes_project_id"))
        batch_op.create_index("ix_changes_target", ["project_id", "target"], unique=False)


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("changes", schema=None) as batch_op:
        batch_op.drop_index("ix_changes_target")
        batch_op.create_index(batch_op.f("ix_changes_project_id"), ["project_id"], unique=False)
        batch_op.alter_column("target", existing_type=sa.String(500), type_=sa.String(200), existing_nullable=False)
    for table, column in (("judgements", "first_grade"), ("adjudications", "version"), ("assignments", "dealt")):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column(column)
