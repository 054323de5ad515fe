"""Entries, drafts, queries and judgements."""

from __future__ import annotations

import json
from collections.abc import Iterator

from stm_agent.annotate.calls.connection import Connection, Row, part
from stm_agent.annotate.faults import AnnotateError


class WorkCalls(Connection):
    """What annotators do."""

    def entries(self, project: str, *, mine: bool = False, offset: int = 0, limit: int = 1000) -> list[Row]:
        """Return a page of entries, newest first: an annotator's own, a reviewer's everybody's."""
        asked = {"mine": mine, "offset": offset, "limit": limit}
        return list(self._ask("GET", f"/projects/{project}/entries", params=asked))

    def entry(self, project: str, entry: str) -> Row:
        """Return an entry with its evidence and version."""
        return dict(self._ask("GET", f"/projects/{project}/entries/{part(entry)}"))

    def begin_entry(self, project: str, *, document: str | None = None) -> Row:
        """Begin an entry, for a document where one is named."""
        return dict(self._ask("POST", f"/projects/{project}/entries", json={"document": document}))

    def save_entry(self, project: str, entry: str, *, version: int, **changes: object) -> Row:
        """Save parts of an entry: ``values``, ``evidence``, ``notes``, ``name``, ``state``."""
        body = {"version": version, "changes": changes}
        return dict(self._ask("PATCH", f"/projects/{project}/entries/{part(entry)}", json=body))

    def undo(self, project: str, entry: str, *, version: int) -> Row:
        """Take the last change of one's own entry back."""
        return dict(self._ask("POST", f"/projects/{project}/entries/{part(entry)}/undo", json={"version": version}))

    def redo(self, project: str, entry: str, *, version: int) -> Row:
        """Do again what was just undone."""
        return dict(self._ask("POST", f"/projects/{project}/entries/{part(entry)}/redo", json={"version": version}))

    def delete_entry(self, project: str, entry: str) -> None:
        """Delete an entry."""
        self._ask("DELETE", f"/projects/{project}/entries/{part(entry)}")

    def make_query(self, project: str, entry: str, *, split: str | None = None) -> str:
        """Make a query of a finished entry, its evidence the judgements; return its key.

        Without a ``split`` the project's shares decide.
        """
        place = f"/projects/{project}/entries/{part(entry)}/query"
        return str(self._ask("POST", place, json={"split": split})["key"])

    def entries_without_query(self, project: str) -> Row:
        """Return how many finished entries have no query, and the block that would hold it."""
        return dict(self._ask("GET", f"/projects/{project}/entries/queries"))

    def make_queries(self, project: str) -> Row:
        """Make the query of every finished entry that has none; return how many, and why some have none still."""
        return dict(self._ask("POST", f"/projects/{project}/entries/queries"))

    def draft(self, project: str, entry: str, block: str, *, document: str | None = None) -> Row:
        """Draft a block by its LLM and wait for the whole; the entry is not touched.

        Raises:
            AnnotateError: The LLM failed; the message says how.
        """
        told: Row = {}
        for kind, data in self.stream_draft(project, entry, block, document=document):
            if kind == "problem":
                raise AnnotateError(str(data["title"]))
            told = data
        return told

    def stream_draft(
        self, project: str, entry: str, block: str, *, document: str | None = None
    ) -> Iterator[tuple[str, Row]]:
        """Yield ``piece`` after ``piece`` of a draft, then ``done`` with the whole, or ``problem``."""
        place = f"/projects/{project}/entries/{part(entry)}/drafts"
        kind = ""
        for line in self._lines("POST", place, json={"block": block, "document": document}):
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                yield kind, json.loads(value)

    def drafts(self, project: str, *, entry: str | None = None) -> list[Row]:
        """Return drafts with their whole provenance; without an entry for reviewers alone."""
        return list(self._ask("GET", f"/projects/{project}/drafts", params={"entry": entry} if entry else {}))

    def decide_draft(self, project: str, draft: str, decision: str, *, final: str | None = None) -> Row:
        """Say what became of a draft: ``accepted``, ``edited`` or ``rejected``."""
        body = {"decision": decision, "final": final}
        return dict(self._ask("PUT", f"/projects/{project}/drafts/{part(draft)}", json=body))

    def queries(self, project: str) -> list[Row]:
        """Return the queries of a project."""
        return list(self._ask("GET", f"/projects/{project}/queries"))

    def query(self, project: str, query: str) -> Row:
        """Return a query with the evidence of its entry; None for that where it is not to be seen yet."""
        return dict(self._ask("GET", f"/projects/{project}/queries/{part(query)}"))

    def create_query(
        self, project: str, text: str, *, answer: str = "", split: str | None = None, key: str | None = None
    ) -> str:
        """Write a query; return its key."""
        body = {"text": text, "answer": answer, "split": split, "key": key}
        row = self._ask("POST", f"/projects/{project}/queries", json=body)
        return str(row["key"])

    def save_query(self, project: str, query: str, *, version: int, **changes: str) -> Row:
        """Change a query's ``text``, ``answer`` or ``split``."""
        body = {"version": version, "changes": changes}
        return dict(self._ask("PATCH", f"/projects/{project}/queries/{part(query)}", json=body))

    def delete_query(self, project: str, query: str) -> None:
        """Delete a query with its judgements; what others judged only an administrator deletes."""
        self._ask("DELETE", f"/projects/{project}/queries/{part(query)}")

    def work(self, project: str) -> list[Row]:
        """Return the queries one is to judge, open ones first."""
        return list(self._ask("GET", f"/projects/{project}/work"))

    def pool(self, project: str, query: str, *, depth: int = 10) -> list[Row]:
        """Return the passages to judge for a query, in one's own blind order."""
        return list(self._ask("GET", f"/projects/{project}/queries/{part(query)}/pool", params={"depth": depth}))

    def judge(
        self, project: str, query: str, document: str, *, grade: int | None, version: int = 0, note: str = ""
    ) -> Row:
        """Grade a passage, or take the grade back with None; ``version`` is that of the grade that is there."""
        place = f"/projects/{project}/queries/{part(query)}/judgements/{part(document)}"
        return dict(self._ask("PUT", place, json={"grade": grade, "version": version, "note": note}))

    def done(self, project: str, query: str, *, done: bool = True, person: str | None = None) -> None:
        """Say that one is done with a query; a reviewer opens another person's again."""
        place = f"/projects/{project}/queries/{part(query)}/done"
        self._ask("PUT", place, json={"done": done, "person": person})

    def judgements(self, project: str, query: str) -> list[Row]:
        """Return everybody's grades of a query, once one is done with it."""
        return list(self._ask("GET", f"/projects/{project}/queries/{part(query)}/judgements"))

    def disagreements(self, project: str, *, settled: bool = False) -> list[Row]:
        """Return what people graded differently and nobody settled; or, ``settled``, what somebody did."""
        return list(self._ask("GET", f"/projects/{project}/disagreements", params={"settled": settled}))

    def settle(self, project: str, query: str, document: str, *, grade: int, version: int = 0, note: str = "") -> Row:
        """Settle the grade of a pair; ``version`` is that of the final grade that is there."""
        place = f"/projects/{project}/queries/{part(query)}/final/{part(document)}"
        return dict(self._ask("PUT", place, json={"grade": grade, "version": version, "note": note}))

    def reopen(self, project: str, query: str, document: str, *, version: int) -> Row:
        """Take a final grade back; where people differ the pair is to be settled again."""
        place = f"/projects/{project}/queries/{part(query)}/final/{part(document)}"
        return dict(self._ask("PUT", place, json={"grade": None, "version": version}))
