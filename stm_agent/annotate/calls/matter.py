"""Search, runs, jobs, agreement, hard-negative review and exports."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from stm_agent.annotate.calls.connection import Connection, Row, part


class MatterCalls(Connection):
    """What comes before and after the people's work."""

    def search(self, project: str, words: str, *, k: int = 20, mode: str = "bm25", model: str = "") -> list[Row]:
        """Search the documents; ``mode`` is ``bm25``, ``dense`` or ``both``."""
        asked: Row = {"q": words, "k": k, "mode": mode, "model": model}
        return list(self._ask("GET", f"/projects/{project}/search", params=asked))

    def like(self, project: str, document: str, *, k: int = 20, model: str = "") -> list[Row]:
        """Return the documents most like one: by its words, or by a run's or an embedded model."""
        asked: Row = {"k": k, "model": model}
        return list(self._ask("GET", f"/projects/{project}/like/{part(document)}", params=asked))

    def facets(
        self, project: str, words: str = "", *, filters: Sequence[str] = (), tag: str | None = None
    ) -> list[Row]:
        """Return the most frequent values of the documents' fields, and of their tags (``field`` None), counted.

        With ``words`` they are those of the first 1,000 documents that a search finds.
        """
        asked: Row = {"q": words, "filter": list(filters), **({} if tag is None else {"tag": tag})}
        return list(self._ask("GET", f"/projects/{project}/facets", params=asked))

    def runs(self, project: str) -> Row:
        """Return the stored ``runs`` with nDCG@10 and holes@k, and the ``models`` that could rank."""
        return dict(self._ask("GET", f"/projects/{project}/runs"))

    def rank(self, project: str, retrievers: Sequence[str], *, depth: int = 50) -> Row:
        """Rank all queries by ``bm25``, runs' names or embedded models; their first passages are the pool."""
        body = {"retrievers": list(retrievers), "depth": depth}
        return dict(self._ask("POST", f"/projects/{project}/runs", json=body))

    def rank_many(self, project: str, retrievers: Sequence[str], *, depth: int = 50) -> Row:
        """Rank all queries in the background; return the job, whose ``result`` is what :meth:`rank` returns."""
        body = {"retrievers": list(retrievers), "depth": depth}
        return dict(self._ask("POST", f"/projects/{project}/jobs/rankings", json=body))

    def encode_all(self, project: str, model: str) -> Row:
        """Let a model encode the documents in the background, for searches by it; return the job."""
        return dict(self._ask("POST", f"/projects/{project}/jobs/encodings", json={"model": model}))

    def delete_run(self, project: str, run: str) -> None:
        """Remove a run; grades of what it found stay."""
        self._ask("DELETE", f"/projects/{project}/runs/{part(run)}")

    def import_run(self, project: str, path: Path) -> Row:
        """Store a TREC run."""
        with path.open("rb") as stream:
            return dict(self._ask("POST", f"/projects/{project}/runs/trec", files={"file": (path.name, stream)}))

    def import_qrels(self, project: str, path: Path) -> Row:
        """Take TREC qrels as this person's judgements; return how many, and what was skipped and why."""
        with path.open("rb") as stream:
            return dict(self._ask("POST", f"/projects/{project}/qrels", files={"file": (path.name, stream)}))

    def ask_grades(self, project: str, query: str, *, llm: str = "", depth: int = 10) -> Row:
        """Ask an LLM to grade a query's pool; people see its grades after their own."""
        place = f"/projects/{project}/queries/{part(query)}/llm-grades"
        return dict(self._ask("POST", place, json={"llm": llm, "depth": depth}))

    def draft_many(
        self,
        project: str,
        block: str,
        documents: Sequence[str] = (),
        *,
        entries: Sequence[str] | str | None = None,
        limit: int = 20,
        dry: bool = False,
    ) -> Row:
        """Draft a block for many documents in the background; return the job, with how many were ``skipped``.

        ``entries`` are drafted in instead: keys of one's own, or a state they are in, such as ``draft``. ``dry`` begins
        nothing: it returns how many ``calls`` of which ``model`` that would be, and how many are ``left``.
        """
        chosen = entries if entries is None or isinstance(entries, str) else list(entries)
        body = {"block": block, "documents": list(documents), "entries": chosen, "limit": limit, "dry": dry}
        return dict(self._ask("POST", f"/projects/{project}/jobs/drafts", json=body))

    def grade_many(
        self, project: str, queries: Sequence[str] = (), *, llm: str = "", depth: int = 10, dry: bool = False
    ) -> Row:
        """Ask an LLM for the grades of many pools in the background; return the job.

        ``dry`` begins nothing: it returns how many ``calls`` of which ``model`` that would be.
        """
        body = {"queries": list(queries), "llm": llm, "depth": depth, "dry": dry}
        return dict(self._ask("POST", f"/projects/{project}/jobs/grades", json=body))

    def jobs(self, project: str) -> list[Row]:
        """Return the running jobs."""
        return list(self._ask("GET", f"/projects/{project}/jobs"))

    def job(self, project: str, job: str) -> Row:
        """Return how far a job is."""
        return dict(self._ask("GET", f"/projects/{project}/jobs/{part(job)}"))

    def wait_job(self, project: str, job: str, *, every: float = 0.5) -> Row:
        """Return a job once it has ended; it is looked at ``every`` so many seconds."""
        while (told := self.job(project, job))["state"] == "running":
            time.sleep(every)
        return told

    def stop_job(self, project: str, job: str) -> Row:
        """Stop a job; what it made stays."""
        return dict(self._ask("DELETE", f"/projects/{project}/jobs/{part(job)}"))

    def agreement(self, project: str) -> Row:
        """Return how far people agree with each other and with the LLM."""
        return dict(self._ask("GET", f"/projects/{project}/agreement"))

    def doubts(self, project: str) -> list[Row]:
        """Return the negatives nobody has answered for, the most doubtful first."""
        return list(self._ask("GET", f"/projects/{project}/doubts"))

    def bring_in_doubts(self, project: str, run: str, *, most: int = 100) -> int:
        """Queue a run's doubtful negatives; return how many are new."""
        return int(self._ask("POST", f"/projects/{project}/doubts", json={"run": run, "most": most})["added"])

    def answer_doubt(self, project: str, doubt: str, answer: str | None, *, version: int) -> Row:
        """Say ``negative``, ``false_negative`` or ``broken``; None takes the answer back."""
        body = {"answer": answer, "version": version}
        return dict(self._ask("PUT", f"/projects/{project}/doubts/{part(doubt)}", json=body))

    def export(self, project: str, kind: str, output: Path) -> Path:
        """Write an export to a file (a folder's export is a zip); return it."""
        from stm_agent.files import write_atomic

        answer = self._send("GET", f"/projects/{project}/export/{kind}")
        write_atomic(output, answer.content)
        return output
