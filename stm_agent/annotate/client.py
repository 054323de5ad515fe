"""The REST API from Python: what the page does, as methods."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from stm_agent.annotate.faults import AnnotateError, Forbidden, Invalid, NotFound, Stale, TooMany, Unauthorised

FAULTS: dict[int, type[AnnotateError]] = {401: Unauthorised, 403: Forbidden, 404: NotFound, 422: Invalid, 429: TooMany}


class Client:
    """A connection to a running tool, by a token or a login; a context manager.

    Every method raises the tool's own errors: :class:`NotFound`, :class:`Forbidden`, :class:`Invalid`,
    :class:`Unauthorised`, and :class:`Stale` with what is stored now.
    """

    def __init__(
        self, url: str, *, token: str | None = None, name: str | None = None, password: str | None = None
    ) -> None:
        """Connect.

        Args:
            url: Address of the tool, for example ``http://127.0.0.1:8321``.
            token: The token that ``stm-agent annotate`` printed, or an access token.
            name: With ``password``, logs in.
            password: The password.
        """
        import httpx

        self._http = httpx.Client(base_url=f"{url.rstrip('/')}/api/v1", timeout=120)
        if token is None and name is not None:
            token = self._ask("POST", "/login", json={"name": name, "password": password})["access_token"]
        if token is not None:
            self._http.headers["authorization"] = f"Bearer {token}"

    def __enter__(self) -> Client:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._http.close()

    def _ask(self, method: str, path: str, **more: Any) -> Any:  # noqa: ANN401 - JSON
        answer = self._http.request(method, path, **more)
        if answer.is_success:
            return answer.json() if answer.content else None
        try:
            told = answer.json()
        except ValueError:
            told = {}
        title = str(told.get("title", f"the server answered {answer.status_code}"))
        if "current" in told:
            raise Stale(title.partition(" was changed")[0], told["current"])
        raise FAULTS.get(answer.status_code, AnnotateError)(title)

    def projects(self) -> list[dict[str, Any]]:
        """Return the projects one may see."""
        return list(self._ask("GET", "/projects"))

    def create_project(self, name: str, *, template: str = "judging", schema: dict[str, Any] | None = None) -> str:
        """Make a project; return its key."""
        return str(self._ask("POST", "/projects", json={"name": name, "template": template, "schema": schema})["key"])

    def add_documents(self, project: str, documents: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
        """Put (key, fields) documents in; return how many were ``added`` and which were there (``repeated``)."""
        rows = [list(row) for row in documents]
        return dict(self._ask("POST", f"/projects/{project}/documents", json={"documents": rows}))

    def search(
        self, project: str, words: str, *, k: int = 20, mode: str = "bm25", model: str = ""
    ) -> list[dict[str, Any]]:
        """Search the documents; ``mode`` is ``bm25``, ``dense`` or ``both``."""
        asked = {"q": words, "k": k, "mode": mode, "model": model}
        return list(self._ask("GET", f"/projects/{project}/search", params=asked))

    def create_query(self, project: str, text: str, *, split: str = "dev", key: str | None = None) -> str:
        """Write a query; return its key."""
        row = self._ask("POST", f"/projects/{project}/queries", json={"text": text, "split": split, "key": key})
        return str(row["key"])

    def pool(self, project: str, query: str) -> list[dict[str, Any]]:
        """Return the passages to judge for a query, in one's own blind order."""
        return list(self._ask("GET", f"/projects/{project}/queries/{quote(query, safe='')}/pool"))

    def judge(self, project: str, query: str, document: str, *, grade: int | None, version: int = 0) -> dict[str, Any]:
        """Grade a passage, or take the grade back with None; ``version`` is that of the grade that is there."""
        place = f"/projects/{project}/queries/{quote(query, safe='')}/judgements/{quote(document, safe='')}"
        return dict(self._ask("PUT", place, json={"grade": grade, "version": version}))

    def begin_entry(self, project: str) -> dict[str, Any]:
        """Begin an entry."""
        return dict(self._ask("POST", f"/projects/{project}/entries"))

    def save_entry(self, project: str, entry: str, *, version: int, **changes: object) -> dict[str, Any]:
        """Save parts of an entry: ``values``, ``evidence``, ``notes``, ``name``, ``state``."""
        body = {"version": version, "changes": changes}
        return dict(self._ask("PATCH", f"/projects/{project}/entries/{entry}", json=body))

    def agreement(self, project: str) -> dict[str, Any]:
        """Return how far people agree with each other and with the LLM."""
        return dict(self._ask("GET", f"/projects/{project}/agreement"))

    def export(self, project: str, kind: str, output: Path) -> Path:
        """Write an export to a file (a folder's export is a zip); return it."""
        from stm_agent.files import write_atomic

        answer = self._http.get(f"/projects/{project}/export/{kind}")
        if not answer.is_success:
            raise FAULTS.get(answer.status_code, AnnotateError)(str(answer.json().get("title")))
        write_atomic(output, answer.content)
        return output
