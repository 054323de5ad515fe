"""What a run shows on a terminal while it works: a panel at the bottom, and the lines of the log above it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stm_agent.cli.output import json_observer, log_line, screen_console, screen_observer

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    from stm_agent.loop.events import Choice, Event, Observer, Standing

BLOCKS = "▁▂▃▄▅▆▇█"
STAIRS_WIDTH = 48
"""Columns of the staircase."""
BAR_WIDTH = 30
"""Columns of the bar of a stage."""
REFRESHES = 2
"""Times a second that the panel is drawn."""


@dataclass
class RunPanel:
    """The newest of what the events of a run said, as a rich renderable.

    Attributes:
        clock: Returns seconds.
        standing: Where the run stood at its last decision; None: before the first one.
        choice: What runs now; None: nothing, or what stands before and after the search.
        stage: Text of the stage that runs.
        progress: Finished and all units of the job that runs; None: it reports none.
        since: When the standing was received.
        chosen: When the choice was received.
    """

    clock: Callable[[], float] = time.monotonic
    standing: Standing | None = None
    choice: Choice | None = None
    stage: str = ""
    progress: tuple[int, int] | None = None
    since: float = field(default=0.0, init=False)
    chosen: float = field(default=0.0, init=False)

    def update(self, event: Event) -> None:
        """Take what an event says."""
        if "standing" in event:
            self.standing, self.since = event["standing"], self.clock()
            self.choice, self.chosen, self.progress = event.get("choice"), self.clock(), None
        if event["kind"] == "stage":
            self.stage, self.progress = event["text"], None
        elif event["kind"] == "progress":
            self.progress = (event["done"], event["total"])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the panel; before the first decision the stage alone."""
        from rich.panel import Panel
        from rich.table import Table

        rows = Table.grid(padding=(0, 2), expand=True)
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column(ratio=1, overflow="fold")
        for name, value in self._rows():
            rows.add_row(name, value)
        title = f"stm-agent {self.standing['run']}" if self.standing else "stm-agent"
        yield Panel(rows, title=title, title_align="left", border_style="dim")

    def _rows(self) -> Iterator[tuple[str, Text | ProgressBar]]:
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        standing, now = self.standing, self.clock()
        if standing:
            score = f"{standing['ndcg_at_10']:.4f} [{standing['low']:.4f}, {standing['high']:.4f}]"
            yield "incumbent", Text(f"{score} on the search half: {standing['model']}")
            yield "staircase", Text(staircase_text(standing))
        if self.choice:
            chosen, expected = self.choice, self.choice["seconds"]
            about = f" of about {expected:.0f}" if expected else ""
            yield "now", Text(f"{chosen['number']}. {chosen['summary']}, {now - self.chosen:.0f}{about} s")
            yield "why", Text(f"{chosen['by']}: {chosen['reason']}")
        if self.stage:
            yield "stage", Text(self.stage)
        if self.progress:
            done, total = self.progress
            yield f"{done:,} of {total:,}", ProgressBar(total=max(total, 1), completed=done, width=BAR_WIDTH)
        if standing:
            passed = now - self.since
            yield "spent", Text(spent_text(standing, passed))
            if left := left_text(standing, passed):
                yield "left", Text(left)


def staircase_text(standing: Standing) -> str:
    """Return how the best score so far rose over the seconds of the actions, as blocks between first and last."""
    stairs = standing["stairs"]
    first, last, seconds = stairs[0]["best"], stairs[-1]["best"], stairs[-1]["seconds"]
    if seconds <= 0:
        return f"{first:.4f}"
    columns = []
    for column in range(STAIRS_WIDTH):
        at = seconds * (column + 1) / STAIRS_WIDTH
        best = [stair["best"] for stair in stairs if stair["seconds"] <= at][-1]
        height = (best - first) / (last - first) if last > first else 0.0
        columns.append(BLOCKS[round(height * (len(BLOCKS) - 1))])
    return f"{first:.4f} {''.join(columns)} {last:.4f} after {seconds:.0f} s of actions"


def spent_text(standing: Standing, passed: float = 0.0) -> str:
    """Return what is spent, with its ceilings.

    Args:
        standing: Where the run stood.
        passed: Seconds since then.
    """
    minutes, usd, calls = standing["minutes"], standing["budget_usd"], standing["budget_calls"]
    return ", ".join(
        (
            f"{(standing['seconds'] + passed) / 60:.1f}{'' if minutes is None else f' of {minutes:g}'} min",
            f"{standing['usd']:.4f}{'' if usd is None else f' of {usd:g}'} USD",
            f"{standing['calls']:,}{'' if calls is None else f' of {calls:,}'} LLM calls",
        )
    )


def left_text(standing: Standing, passed: float = 0.0) -> str:
    """Return what is left of each ceiling; empty: there is none. Minutes are those for actions.

    Args:
        standing: Where the run stood.
        passed: Seconds since then.
    """
    seconds, usd, calls = standing["seconds_left"], standing["budget_usd"], standing["budget_calls"]
    parts = []
    if seconds is not None:
        parts.append(f"{max(0.0, seconds - passed) / 60:.1f} min for actions, the rest for export and test")
    if usd is not None:
        parts.append(f"{max(0.0, usd - standing['usd']):.4f} USD")
    if calls is not None:
        parts.append(f"{max(0, calls - standing['calls']):,} LLM calls")
    return ", ".join(parts)


@contextmanager
def run_observer(as_json: bool) -> Iterator[Observer]:
    """Yield what shows a run on standard error: JSON lines, a live panel on a terminal, or else quiet lines."""
    # A panel needs lines that are broken at the width of the terminal.
    console = screen_console(soft_wrap=False)
    if as_json or not console.is_terminal or console.is_dumb_terminal:
        yield json_observer() if as_json else screen_observer()
        return
    with live_observer(console) as observer:
        yield observer


@contextmanager
def live_observer(console: Console) -> Iterator[Observer]:
    """Yield an observer that keeps the panel of a run at the bottom of a terminal, with the log above it."""
    from rich.live import Live

    panel, started = RunPanel(), time.monotonic()

    def show(event: Event) -> None:
        panel.update(event)
        if event["kind"] != "progress":
            console.print(log_line(event, time.monotonic() - started), highlight=False)

    # What is left after the end is the log: the report follows it.
    redirect = sys.stdout.isatty()
    with Live(panel, console=console, refresh_per_second=REFRESHES, transient=True, redirect_stdout=redirect):
        yield show
