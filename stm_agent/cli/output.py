"""Output of all commands: rich text for people, one JSON document for programs."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.console import Console, RenderableType

    from stm_agent.loop.events import Event, Observer

MARKS = {
    "action": "[magenta]»[/magenta]",
    "stage": "[cyan]·[/cyan]",
    "decision": "[green]✓[/green]",
    "failure": "[red]✗[/red]",
    "warning": "[yellow]![/yellow]",
    "note": "[dim]i[/dim]",
}
RECORDS = ("ledger.jsonl", "traces.jsonl", "instruction.json")
"""Files of a run that its page is made of; the newest shows whether the page is older than the run."""
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def typed_command() -> tuple[str, ...]:
    """Return the command line as it was typed, without what stands before an @ in an address: it may be a password."""
    return ("stm-agent", *(re.sub(r"(?<=://)[^/@\s]+@", "", argument) for argument in sys.argv[1:]))


def page_writer(observer: Observer) -> Callable[[Path], None]:
    """Return what writes a run's page at its end, unless it is newer than what the run wrote.

    A page that cannot be written costs the page: the run and its model are whole.
    """

    def write(folder: Path) -> None:
        from stm_agent.inspect.page.build import PAGE, write_page

        page, written = folder / PAGE, [path for path in map(folder.joinpath, RECORDS) if path.exists()]
        newest = max((path.stat().st_mtime for path in written), default=0.0)
        if not written or (page.exists() and page.stat().st_mtime > newest):
            return
        try:
            text = f"the page of this run: {write_page(folder)}"
        except Exception as error:
            # Broad, since a page reads every file of the run, and hours of work must not end with a traceback.
            again = f"stm-agent runs report {folder.name} makes it"
            observer({"kind": "warning", "name": "page", "text": f"the page cannot be written ({error}); {again}"})
        else:
            observer({"kind": "note", "name": "page", "text": text})

    return write


def emit(data: object, text: RenderableType, as_json: bool) -> None:
    """Print ``data`` as JSON, or ``text`` through rich, on standard output.

    Text is printed as it is: brackets are not markup, ``:name:`` is not an emoji, and no line is broken. Styles are
    given by rich's own ``Text``.
    """
    if as_json:
        sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")
        return
    from rich.console import Console

    plain = isinstance(text, str)
    console = Console(soft_wrap=plain or not sys.stdout.isatty(), markup=False, emoji=False, highlight=not plain)
    console.print(text)


def show_steps(steps: list[dict[str, str]], as_json: bool) -> None:
    """Print a plan, a line for each stage, in two columns."""
    width = max((len(step["stage"]) for step in steps), default=0)
    emit(steps, "\n".join(f"{step['stage']:<{width}}  {step['what']}" for step in steps), as_json)


def json_observer() -> Observer:
    """Return an observer that writes one event a line, as JSON, on standard error while a run works."""
    import time

    started = time.monotonic()

    def show(event: Event) -> None:
        row = {"elapsed": round(time.monotonic() - started, 1), **event}
        sys.stderr.write(json.dumps(row, ensure_ascii=False) + "\n")
        sys.stderr.flush()

    return show


def clock_of(elapsed: float) -> str:
    """Return minutes and seconds as the markup that a line of the log begins with."""
    return f"[dim]{int(elapsed) // 60:3d}:{int(elapsed) % 60:02d}[/dim]"


def log_line(event: Event, elapsed: float) -> str:
    """Return the line of the log for an event, as markup."""
    from rich.markup import escape

    return f"{clock_of(elapsed)} {MARKS[event['kind']]} {escape(event['text'])}"


def screen_console(*, soft_wrap: bool = True) -> Console:
    """Return the console that progress is shown on: standard error; ``soft_wrap``: no line is broken."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=soft_wrap, emoji=False)


def screen_observer() -> Observer:
    """Return an observer that shows stages, progress and decisions on standard error."""
    import time

    from rich.control import Control
    from rich.markup import escape
    from rich.segment import ControlType

    console = screen_console()
    # Progress is overwritten by the next line, which may be shorter. Without a terminal nothing is written.
    erase = Control((ControlType.ERASE_IN_LINE, 2))
    started = time.monotonic()
    last = {"at": 0.0}

    def show(event: Event) -> None:
        elapsed = time.monotonic() - started
        if event["kind"] == "progress":
            finished = event["done"] >= event["total"]
            if not finished and elapsed - last["at"] < (1 if console.is_terminal else 30):
                return
            last["at"] = elapsed
            console.control(erase)
            line = f"{event['name']} {event['done']}/{event['total']}  {event['text']}"
            console.print(
                f"{clock_of(elapsed)}   [dim]{escape(line)}[/dim]",
                end="\r" if console.is_terminal and not finished else "\n",
            )
            return
        console.control(erase)
        console.print(log_line(event, elapsed), highlight=False)

    return show
