"""Projects, documents, people and LLMs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from stm_agent.annotate.calls.connection import Connection, Row, part


class ProjectCalls(Connection):
    """What administrators set up."""

    def me(self) -> Row:
        """Return who one is."""
        return dict(self._ask("GET", "/me"))

    def change_password(self, old: str, new: str) -> None:
        """Change one's own password; all other logins end."""
        self._ask("PUT", "/me/password", json={"old": old, "new": new})

    def tokens(self) -> list[Row]:
        """Return one's own API tokens, each with its ``id``, never the token itself."""
        return list(self._ask("GET", "/me/tokens"))

    def create_token(self, name: str, *, days: int | None = 90) -> str:
        """Make an API token, which expires after so many days (None: never), and return it this one time."""
        return str(self._ask("POST", "/me/tokens", json={"name": name, "days": days})["token"])

    def revoke_token(self, token: int) -> None:
        """Revoke an API token of one's own by its ``id``."""
        self._ask("DELETE", f"/me/tokens/{token}")

    def log_out(self) -> None:
        """End this login."""
        self._ask("POST", "/logout")

    def invite(self, *, role: str = "annotator", project: str | None = None) -> str:
        """Return the token of an invitation; ``URL/join#TOKEN`` is the link."""
        return str(self._ask("POST", "/invitations", json={"role": role, "project": project})["token"])

    def invitations(self) -> list[Row]:
        """Return the invitations that are open, each with its ``id``."""
        return list(self._ask("GET", "/invitations"))

    def revoke(self, invitation: int) -> None:
        """Take an invitation back: its link lets nobody in."""
        self._ask("DELETE", f"/invitations/{invitation}")

    def join(self, token: str, name: str, password: str) -> None:
        """Create an account with an invitation and continue as that person."""
        self._keep(self._ask("POST", "/join", json={"token": token, "name": name, "password": password}))

    def people(self) -> list[Row]:
        """Return everybody."""
        return list(self._ask("GET", "/people"))

    def change_person(self, name: str, *, version: int, role: str | None = None, active: bool | None = None) -> Row:
        """Change a role, or shut somebody out."""
        body = {"version": version, "role": role, "active": active}
        return dict(self._ask("PATCH", f"/people/{part(name)}", json=body))

    def llms(self) -> list[Row]:
        """Return the LLMs, never a key."""
        return list(self._ask("GET", "/llms"))

    def set_llm(
        self,
        name: str,
        model: str,
        *,
        api_base: str | None = None,
        key: str | None = None,
        system_prompt: str = "",
        default: bool = False,
        version: int = 0,
    ) -> Row:
        """Set an LLM up, or change the one of ``version``; without a key the stored one stays."""
        body = {"name": name, "model": model, "api_base": api_base, "key": key, "version": version}
        return dict(self._ask("PUT", "/llms", json={**body, "system_prompt": system_prompt, "default": default}))

    def try_llm(self, name: str) -> Row:
        """Ask an LLM a short question; return its answer, how long it took and what it cost."""
        return dict(self._ask("POST", f"/llms/{part(name)}/try"))

    def delete_llm(self, name: str) -> None:
        """Delete an LLM and its key."""
        self._ask("DELETE", f"/llms/{part(name)}")

    def templates(self) -> dict[str, Row]:
        """Return what a project can start from."""
        return dict(self._ask("GET", "/templates"))

    def projects(self, *, tag: str | None = None, archived: bool = False) -> list[Row]:
        """Return the projects one may see."""
        asked = {"archived": archived, **({"tag": tag} if tag is not None else {})}
        return list(self._ask("GET", "/projects", params=asked))

    def project(self, project: str) -> Row:
        """Return a project with its schema, counts and version."""
        return dict(self._ask("GET", f"/projects/{project}"))

    def create_project(self, name: str, *, template: str = "judging", schema: Row | None = None) -> str:
        """Make a project; return its key."""
        return str(self._ask("POST", "/projects", json={"name": name, "template": template, "schema": schema})["key"])

    def edit_project(self, project: str, *, version: int, **changes: object) -> Row:
        """Change ``name``, ``description``, ``guidelines``, ``tags``, ``overlap``, ``archived`` or ``schema``."""
        return dict(self._ask("PATCH", f"/projects/{project}", json={"version": version, "changes": changes}))

    def duplicate_project(self, project: str, name: str) -> str:
        """Make a project with the same schema and no documents; return its key."""
        return str(self._ask("POST", f"/projects/{project}/duplicate", json={"name": name})["key"])

    def splits(self, project: str) -> Row:
        """Return the ``shares`` of train, dev and test, and how many ``queries`` and ``judged`` ones each split has."""
        return dict(self._ask("GET", f"/projects/{project}/splits"))

    def plan_splits(self, project: str, *, train: int, dev: int, test: int, seed: int = 0) -> Row:
        """Return which queries other shares, in per cent, would move; nothing is changed."""
        body = {"train": train, "dev": dev, "test": test, "seed": seed}
        return dict(self._ask("POST", f"/projects/{project}/splits/plan", json=body))

    def set_splits(self, project: str, *, version: int, train: int, dev: int, test: int, seed: int = 0) -> Row:
        """Change the shares, in per cent, and return which queries moved."""
        shares = {"train": train, "dev": dev, "test": test, "seed": seed}
        return dict(self._ask("PUT", f"/projects/{project}/splits", json={"version": version, "shares": shares}))

    def delete_project(self, project: str, *, confirm: str) -> None:
        """Delete a project with all in it; ``confirm`` is its name."""
        self._ask("DELETE", f"/projects/{project}", params={"confirm": confirm})

    def import_project(self, path: Path) -> str:
        """Make a project of an archive or of one of AIANO's files; return its key."""
        with path.open("rb") as stream:
            return str(self._ask("POST", "/projects/import", files={"file": (path.name, stream)})["key"])

    def add_member(self, project: str, name: str) -> None:
        """Let somebody into a project."""
        self._ask("POST", f"/projects/{project}/members", json={"name": name})

    def remove_member(self, project: str, name: str) -> None:
        """Take somebody out; what they wrote stays."""
        self._ask("DELETE", f"/projects/{project}/members/{part(name)}")

    def deal(
        self,
        project: str,
        *,
        what: str = "queries",
        tag: str | None = None,
        filters: Sequence[str] = (),
        people: Sequence[str] = (),
        each: int | None = None,
    ) -> int:
        """Deal the ``queries``, or ``documents`` with a tag that fit filters, out; return how many shares were given.

        ``people`` are names of the project's, none: everybody; each query or document goes to ``each`` of them.
        """
        body = {"what": what, "tag": tag, "filters": list(filters), "people": list(people), "each": each}
        return int(self._ask("POST", f"/projects/{project}/deal", json=body)["dealt"])

    def undeal(
        self, project: str, *, what: str = "queries", tag: str | None = None, filters: Sequence[str] = ()
    ) -> int:
        """Take queries, or documents, back from those who are not done with them; return how many shares."""
        body = {"what": what, "tag": tag, "filters": list(filters)}
        return int(self._ask("POST", f"/projects/{project}/undeal", json=body)["taken"])

    def progress(self, project: str) -> list[Row]:
        """Return what each person has done."""
        return list(self._ask("GET", f"/projects/{project}/progress"))

    def documents(
        self,
        project: str,
        *,
        offset: int = 0,
        limit: int = 50,
        filters: Sequence[str] = (),
        sort: str = "",
        tag: str | None = None,
        mine: bool = False,
    ) -> Row:
        """Return a page of documents and how many there are; filters as ``year>2000`` or ``title~rash``.

        ``mine``: of those that were dealt to oneself, open ones first.
        """
        asked: Row = {"offset": offset, "limit": limit, "filter": list(filters), "sort": sort, "mine": mine}
        return dict(
            self._ask("GET", f"/projects/{project}/documents", params={**asked, **({"tag": tag} if tag else {})})
        )

    def document(self, project: str, document: str) -> Row:
        """Return a document with all its fields."""
        return dict(self._ask("GET", f"/projects/{project}/documents/{part(document)}"))

    def finish_document(self, project: str, document: str, *, done: bool = True) -> None:
        """Say that one is done with a document that was dealt to oneself, or open it again."""
        self._ask("PUT", f"/projects/{project}/documents/{part(document)}/done", json={"done": done})

    def add_documents(self, project: str, documents: Iterable[tuple[str, Row]]) -> Row:
        """Put (key, fields) documents in; return how many were ``added``, and what was ``skipped`` and why."""
        rows = [list(row) for row in documents]
        return dict(self._ask("POST", f"/projects/{project}/documents", json={"documents": rows}))

    def import_documents(self, project: str, path: Path) -> Row:
        """Import a .json, .jsonl, .csv or .tsv file, or a zip of a BEIR or ``datasets`` folder.

        Returns:
            What was added, and what was skipped and why.
        """
        with path.open("rb") as stream:
            return dict(self._ask("POST", f"/projects/{project}/import", files={"file": (path.name, stream)}))

    def tag_document(self, project: str, document: str, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> Row:
        """Add tags to a document, take others away."""
        body = {"add": list(add), "remove": list(remove)}
        return dict(self._ask("PATCH", f"/projects/{project}/tags/{part(document)}", json=body))

    def delete_document(self, project: str, document: str) -> None:
        """Delete a document that nobody used."""
        self._ask("DELETE", f"/projects/{project}/documents/{part(document)}")
