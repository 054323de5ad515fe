"""The application: the versioned REST API, and the page on the same server."""

from __future__ import annotations

from fastapi import FastAPI

import stm_agent
from stm_agent.annotate.api import batch, matter, people, projects, whole, work
from stm_agent.annotate.api.problems import ANSWERS, tell_problems
from stm_agent.annotate.tool import Tool

PREFIX = "/api/v1"


def build_app(tool: Tool) -> FastAPI:
    """Return the server of a tool; OpenAPI is at ``/api/v1/openapi.json``."""
    app = FastAPI(
        title="stm-agent annotate",
        version=stm_agent.__version__,
        openapi_url=f"{PREFIX}/openapi.json",
        # The browsable page loads its scripts from elsewhere; the schema does not.
        docs_url=None,
        redoc_url=None,
    )
    app.state.tool = tool
    tell_problems(app)
    for router in (people.router, projects.router, whole.router, work.router, matter.router, batch.router):
        app.include_router(router, prefix=PREFIX, responses=ANSWERS)
    return app
