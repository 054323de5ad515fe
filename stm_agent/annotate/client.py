"""The REST API from Python: what the page does, as methods."""

from __future__ import annotations

from stm_agent.annotate.calls.matter import MatterCalls
from stm_agent.annotate.calls.projects import ProjectCalls
from stm_agent.annotate.calls.work import WorkCalls

__all__ = ["Client"]


class Client(ProjectCalls, WorkCalls, MatterCalls):
    """A connection to a running tool, by a token or a login; a context manager.

    There is a method for every operation of the API. Each raises the tool's own errors: :class:`NotFound`,
    :class:`Forbidden`, :class:`Invalid`, :class:`Taken`, :class:`Unauthorised`, :class:`TooMany`, and :class:`Stale`
    with what is stored now. A login that grows too old is renewed by itself.

    Example:
        >>> with Client("http://127.0.0.1:8321", token="...") as client:  # doctest: +SKIP
        ...     project = client.create_project("Signs")
        ...     client.add_documents(project, [("d1", {"text": "A raised body temperature."})])
        ...     query = client.create_query(project, "fever")
        ...     client.judge(project, query, "d1", grade=3)
    """
