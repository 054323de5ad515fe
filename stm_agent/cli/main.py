"""Entry point: turns every known error into one line and exit code 2."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from typing import Annotated, Any

import typer

from stm_agent.errors import StmAgentError, StopRequested

NOUNS = {
    "assets": "Embedded models and data, fetched from the package index.",
    "data": "Training data of a run, row by row: what was written and mined.",
    "deploy": "What putting a model into production costs.",
    "domains": "Domain files: what is adapted, on which data.",
    "loop": "What decides in a run: the planner's program.",
    "runs": "Running, finished and interrupted runs.",
    "traces": "How each tried instruction or program came to be.",
}
VERBS = (
    "optimize",
    "instruct",
    "search",
    "serve",
    "index",
    "export",
    "push",
    "mine",
    "train",
    "evaluate",
    "doctor",
    "init",
    "ui",
)

app = typer.Typer(
    name="stm-agent",
    help="Turn a decoder-only LLM or a ready encoder into the best retriever for your domain, and prove it.\n\n"
    "Example: stm-agent optimize --domain biomedical",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Keep the flag; :func:`main` reads it from the arguments, since errors can come before parsing."""


def build() -> typer.Typer:
    """Return the app with every noun and verb registered."""
    if not app.registered_groups:
        for noun, text in NOUNS.items():
            app.add_typer(importlib.import_module(f"stm_agent.cli.{noun}").app, name=noun, help=text)
        # Commands that are a verb and a group at once have their own help text.
        app.add_typer(importlib.import_module("stm_agent.cli.merge").app, name="merge")
        app.add_typer(importlib.import_module("stm_agent.cli.annotate").app, name="annotate")
        app.add_typer(importlib.import_module("stm_agent.cli.synthesize").app, name="synthesize")
        for verb in VERBS:
            app.command(verb)(getattr(importlib.import_module(f"stm_agent.cli.{verb}"), verb))
    return app


def drop_advice_of_libraries() -> None:
    """Drop the one line with which bitsandbytes advises to install ``kernels``: a faster product of 4-bit weights.

    It is logged when the library is imported, on some CPUs, also by runs without 4-bit weights. Nothing else of the
    library is hidden.
    """
    logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_is_no_advice)


def _is_no_advice(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Failed to load CPU gemm_4bit_forward from kernels-community")


def main() -> Any:  # noqa: ANN401 - never returns a value in standalone mode
    """Run the command line."""
    # Set before torch is imported anywhere: a spinning barrier on shared cores costs 20x.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Without it LiteLLM asks the network for prices when it is imported.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    if not sys.warnoptions:
        # These warnings are for developers of the libraries; a user can do nothing about them.
        warnings.simplefilter("ignore", FutureWarning)
    drop_advice_of_libraries()
    try:
        return build()()
    except StopRequested as stop:
        sys.stderr.write(f"{stop}\n")
        sys.exit(stop.exit_code)
    except StmAgentError as error:
        if "--debug" in sys.argv:
            raise
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command resumes\n")
        sys.exit(130)
