"""Runs the migrations on the connection that the database hands over."""

from __future__ import annotations

from alembic import context

from stm_agent.annotate import people_tables, tables  # noqa: F401 - they fill the metadata
from stm_agent.annotate.base import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite changes a table by making a new one.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
