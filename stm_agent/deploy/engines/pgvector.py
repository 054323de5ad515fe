"""PostgreSQL with pgvector: a table with text, vector and a full-text column."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stm_agent.deploy.engines.addresses import check_address
from stm_agent.deploy.engines.engine import IndexIdentity, Passage, engine_errors
from stm_agent.errors import ConfigError, StorageError

MARK = "stm-agent index: "
"""Begin of the table's comment, which holds the identity."""
LONGEST_HNSW = 2000
"""Largest dimension of an HNSW index on ``vector``; longer vectors are indexed as ``halfvec``."""


class PgVector:
    """A table of a PostgreSQL database.

    Attributes:
        exact: False with an HNSW index.
    """

    def __init__(self, url: str, table: str, *, approximate: bool) -> None:
        """Connect.

        Raises:
            ConfigError: The table's name or the URL cannot be used.
            StorageError: The server cannot be reached, or has no pgvector.
        """
        import psycopg
        from pgvector.psycopg import register_vector

        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", table):
            raise ConfigError(f"'{table}' cannot name a table: letters, digits and _, at most 63; give another --name")
        check_address(url, "PGPASSWORD")
        self.table, self.exact = table, not approximate
        fix = "start it, or give its --url (postgresql://user@host/database, password in PGPASSWORD)"
        with engine_errors("PostgreSQL", url, fix), ExitStack() as opening:
            self._connection = opening.enter_context(psycopg.connect(url, autocommit=True, connect_timeout=10))
            self._require_extension()
            register_vector(self._connection)
            # It stays open if it can be used.
            opening.pop_all()

    def _require_extension(self) -> None:
        import psycopg

        try:
            self._run("CREATE EXTENSION IF NOT EXISTS vector")
        except psycopg.Error as error:
            version = self._connection.info.server_version // 10000
            raise StorageError(
                f"this PostgreSQL has no pgvector; install it (Debian: postgresql-{version}-pgvector) and let an "
                "administrator run CREATE EXTENSION vector"
            ) from error

    def _run(self, statement: str, *values: object) -> Any:  # noqa: ANN401 - a psycopg cursor of any row
        # The table's name was checked, and no other part of a statement comes from outside.
        return self._connection.execute(statement.encode(), values or None)

    def stored(self) -> dict[str, str | int] | None:
        """Return the identity in the table's comment."""
        row = self._run("SELECT obj_description(to_regclass(%s), 'pg_class'), to_regclass(%s)", *[self.table] * 2)
        comment, there = row.fetchone()
        if there is None:
            return None
        return dict(json.loads(comment.removeprefix(MARK))) if str(comment).startswith(MARK) else {}

    def create(self, identity: IndexIdentity, *, replace: bool) -> None:
        """Make the table in one transaction, so that it is never there without its identity."""
        with self._connection.transaction():
            if replace:
                self._run(f"DROP TABLE IF EXISTS {self.table}")
            self._run(
                f"CREATE TABLE {self.table} (document text PRIMARY KEY, title text NOT NULL, text text NOT NULL, "
                f"embedding vector({identity.dimension}) NOT NULL, "
                "words tsvector GENERATED ALWAYS AS (to_tsvector('english', title || ' ' || text)) STORED)"
            )
            comment = (MARK + json.dumps(identity.to_json())).replace("'", "''")
            self._run(f"COMMENT ON TABLE {self.table} IS '{comment}'")

    def written(self) -> int:
        """Return the number of rows."""
        return int(self._run(f"SELECT count(*) FROM {self.table}").fetchone()[0])  # noqa: S608 - checked name

    def write(self, passages: Sequence[Passage]) -> None:
        """Insert a batch in one transaction; rows that are there stay."""
        rows = [(row.document, _storable(row.title), _storable(row.text), row.vector) for row in passages]
        statement = f"INSERT INTO {self.table} VALUES (%s, %s, %s, %s) ON CONFLICT (document) DO NOTHING"  # noqa: S608
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany(statement.encode(), rows)

    def finish(self) -> None:
        """Make the index of words and, if search may be approximate, the HNSW index."""
        self._run(f"CREATE INDEX IF NOT EXISTS {self.table[:50]}_words ON {self.table} USING gin (words)")
        if self.exact:
            return
        kind = self._run(
            "SELECT atttypmod FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = 'embedding'", self.table
        ).fetchone()[0]
        column = "embedding vector_ip_ops" if kind <= LONGEST_HNSW else f"(embedding::halfvec({kind})) halfvec_ip_ops"
        self._run(f"CREATE INDEX IF NOT EXISTS {self.table[:50]}_near ON {self.table} USING hnsw ({column})")

    def search(self, vector: NDArray[np.float32], top: int) -> list[str]:
        """Return the nearest rows by inner product."""
        statement = f"SELECT document FROM {self.table} ORDER BY embedding <#> %s LIMIT %s"  # noqa: S608 - checked name
        return [row[0] for row in self._run(statement, vector, top).fetchall()]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _storable(text: str) -> str:
    # PostgreSQL's text holds every character but this one.
    return text.replace("\0", " ")
