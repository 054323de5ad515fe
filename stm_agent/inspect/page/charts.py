"""The charts of a page as Vega-Lite specifications; colours are those of the page, so that both themes fit.

The page embeds vega-embed (see ``static/vendor/README.md``) and draws them as SVG. Data stands in the specification;
the field ``id`` of a point is what the page opens when it is clicked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stm_agent.inspect.page.fronts import Fronts
from stm_agent.inspect.page.overview import RowView
from stm_agent.inspect.page.timeline import Timeline

Spec = dict[str, object]
"""A Vega-Lite specification: JSON values."""
INK, QUIET, LINE, ACCENT = "var(--ink)", "var(--quiet)", "var(--line)", "var(--accent)"
LEVERS = ("instruction", "program", "expert", "merge", "probe", "failure")
OUTCOMES = {"taken": "diamond", "tried": "circle", "refused": "cross", "failed": "triangle-down"}
LANE = 34
"""Pixels below the scale for trials that have no score on it."""


def base(height: int, description: str) -> Spec:
    """Return what all charts share: size, fonts and colours."""
    axis = {
        "labelColor": QUIET,
        "titleColor": QUIET,
        "gridColor": LINE,
        "domainColor": LINE,
        "tickColor": LINE,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "gridOpacity": 0.7,
        "aria": False,
    }
    legend = {
        "labelColor": INK,
        "titleColor": QUIET,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "symbolSize": 70,
        "aria": False,
    }
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": description,
        "width": "container",
        "height": height,
        "background": None,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "config": {
            "font": "system-ui, sans-serif",
            "view": {"stroke": None},
            # Five hundred points would be five hundred images for a screen reader; the tables below have them as text.
            "mark": {"aria": False},
            "axis": axis,
            "legend": {**legend, "titleFontWeight": "normal", "orient": "top"},
        },
    }


def number_axis(field: str, title: str, **more: object) -> Spec:
    """Return an encoding of a number that does not begin at zero."""
    scale = {"zero": False, "nice": True}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": {"tickCount": 6}, **more}


def rows_chart(rows: Sequence[RowView]) -> Spec:
    """Return the rows of the report with their intervals, in their order."""
    values = [{"name": row["name"], "ndcg": row["ndcg"], "low": row["low"], "high": row["high"]} for row in rows]
    axis = {"labelLimit": 260, "grid": False, "ticks": False, "domain": False, "labelColor": INK, "labelFontSize": 12}
    colour = {"condition": {"test": "datum.name === 'merged'", "value": ACCENT}, "value": QUIET}
    interval = {"x": number_axis("low", "test nDCG@10, 95 % interval"), "x2": {"field": "high"}}
    return {
        **base(26 * len(values), "nDCG@10 on test of each row, with its 95 % interval."),
        "data": {"values": values},
        "encoding": {
            "y": {"field": "name", "type": "nominal", "title": None, "sort": None, "axis": axis},
            "color": colour,
        },
        "layer": [
            {"mark": {"type": "rule", "size": 2}, "encoding": interval},
            {
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                "encoding": {"x": {"field": "ndcg", "type": "quantitative"}},
            },
        ],
    }


def staircase(search: Timeline, cost: str, title: str) -> Spec:
    """Return the incumbent over a cost with every trial; those without a score lie in a lane below.

    Args:
        search: The timeline.
        cost: ``minutes`` or ``usd``.
        title: Title of the axis of the cost.
    """
    height = 300
    steps = [*search["steps"], *([search["end"]] if search["end"] else [])]
    confirmed = [search["confirmed"]] if search["confirmed"] else []
    scored = [dot for dot in search["dots"] if dot["value"] is not None]
    lane = [dot for dot in search["dots"] if dot["value"] is None]
    axis = {"tickCount": 8, "grid": False}
    # From the beginning of the run, although the line begins where the start was scored.
    x = {"field": cost, "type": "quantitative", "title": title, "scale": {"zero": True}, "axis": axis}
    bottom = height - LANE - 8 if lane else height
    scale = {"zero": False, "nice": True, "padding": 6, "range": [bottom, 0]}
    y = number_axis("value", "nDCG@10 on the search half", scale=scale)
    rule = {"type": "rule", "color": LINE, "strokeDash": [2, 3]}
    return {
        **base(height, "The best model so far over the cost of the run, and every trial as a point."),
        "layer": [
            *([{"data": {"values": [{}]}, "mark": rule, "encoding": {"y": {"value": height - LANE}}}] if lane else []),
            {
                "data": {"values": steps},
                "mark": {"type": "line", "interpolate": "step-after", "color": INK, "strokeWidth": 2},
                "encoding": {"x": x, "y": y},
            },
            *([_confirmation(confirmed, x)] if confirmed else []),
            *([_trials(scored, x, y)] if scored else []),
            *([_trials(lane, x, {"value": height - LANE / 2})] if lane else []),
        ],
    }


def _confirmation(steps: Sequence[Mapping[str, object]], x: Mapping[str, object]) -> Spec:
    """Return a vertical line where the model was tested on the accept half, with the result."""
    return {
        "data": {"values": list(steps)},
        "encoding": {"x": x},
        "layer": [
            {"mark": {"type": "rule", "color": QUIET, "strokeDash": [4, 3]}},
            {
                "mark": {"type": "text", "align": "right", "dx": -5, "color": QUIET, "fontSize": 11},
                "encoding": {"text": {"field": "label", "type": "nominal"}, "y": {"value": 8}},
            },
        ],
    }


def _trials(dots: Sequence[Mapping[str, object]], x: Mapping[str, object], y: Mapping[str, object]) -> Spec:
    """Return points coloured by lever and shaped by outcome; the page writes the legend, as text of its own."""
    levers = {
        "domain": list(LEVERS),
        "range": [f"var(--lever-{number})" for number, _ in enumerate(LEVERS, 1)],
    }
    shapes = {"domain": list(OUTCOMES), "range": list(OUTCOMES.values())}
    return {
        "data": {"values": [{"name": "dot", **dot} for dot in dots]},
        "mark": {"type": "point", "size": 70, "opacity": 1, "cursor": "pointer", "tooltip": {"content": "data"}},
        "encoding": {
            "x": x,
            "y": y,
            "stroke": {"field": "lever", "type": "nominal", "scale": levers, "legend": None},
            "fill": {"field": "lever", "type": "nominal", "scale": levers, "legend": None},
            "fillOpacity": {"condition": {"test": "datum.outcome === 'taken'", "value": 1}, "value": 0.25},
            "shape": {"field": "outcome", "type": "nominal", "scale": shapes, "legend": None},
        },
    }


def front_chart(merge: Fronts) -> Spec:
    """Return domain against general nDCG@10 of the front, of every encoded merge, and of the start."""
    points = [{**point, "kind": f"front, by {point['source']}"} for point in merge["points"]]
    encoded = [{"domain": row["real"], "general": row["general"], "kind": "encoded merge"} for row in merge["encoded"]]
    start = [{"domain": merge["start"][0], "general": merge["start"][1], "kind": "start"}] if merge["start"] else []
    kinds = {
        "domain": ["front, by real encodes", "front, by surrogate", "encoded merge", "start"],
        "range": [ACCENT, "var(--lever-4)", QUIET, INK],
    }
    return {
        **base(
            260, "General against domain nDCG@10 of the merges on the Pareto front, the encoded ones and the start."
        ),
        "encoding": {
            "x": number_axis("domain", "domain nDCG@10, search half"),
            "y": number_axis("general", "general nDCG@10"),
        },
        "layer": [
            {
                "data": {"values": points},
                "mark": {"type": "line", "color": QUIET, "strokeWidth": 1, "opacity": 0.6},
                "encoding": {"order": {"field": "domain", "type": "quantitative"}},
            },
            {
                "data": {"values": [*encoded, *points, *start]},
                "mark": {"type": "point", "filled": True, "size": 75, "opacity": 0.9, "tooltip": {"content": "data"}},
                "encoding": {"color": {"field": "kind", "type": "nominal", "scale": kinds, "title": None}},
            },
            *_ring([point for point in points if point["exported"]]),
        ],
    }


def _ring(points: Sequence[Mapping[str, object]]) -> list[Spec]:
    """Return the layer that marks the exported point; no layer without one, since Vega warns of empty data."""
    mark = {"type": "point", "size": 240, "color": INK, "strokeWidth": 2, "opacity": 1}
    return [{"data": {"values": list(points)}, "mark": mark}] if points else []


def surrogate_chart(merge: Fronts) -> Spec | None:
    """Return the real score of each encoded merge against the surrogate's guess; None: nothing was guessed."""
    values = [{"guess": row["guess"], "real": row["real"]} for row in merge["encoded"] if row["guess"] is not None]
    if not values:
        return None
    ends = [bound(row[key] for row in values for key in ("guess", "real")) for bound in (min, max)]
    return {
        **base(260, "Real nDCG@10 of each encoded merge against what the surrogate expected."),
        "encoding": {
            "x": number_axis("guess", "nDCG@10 that the surrogate expected"),
            "y": number_axis("real", "real nDCG@10, search half"),
        },
        "layer": [
            {
                "data": {"values": [{"guess": end, "real": end} for end in ends]},
                "mark": {"type": "line", "color": LINE, "strokeDash": [4, 4]},
            },
            {"data": {"values": values}, "mark": {"type": "point", "filled": True, "size": 75, "color": ACCENT}},
        ],
    }
