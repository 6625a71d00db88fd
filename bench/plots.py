"""Draws the two pictures of the report; matplotlib comes from bench/requirements.txt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from bench.marks import loads, per_second
from bench.results import Record, Results
from bench.stacks import VARIANTS

FILES = {"speed": "speed.svg", "latency": "latency.svg"}
COLOURS = {"parley": "#2563eb", "express": "#d97706", "channels": "#059669", "prosody": "#7c3aed"}


def draw(results: Results, directory: Path) -> None:
    """Write the pictures into a directory."""

    mpl.use("Agg")
    mpl.rcParams.update(
        {"svg.hashsalt": "parley", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    _bars(results, directory / FILES["speed"], per_second, "messages acked and delivered per second", log=False)
    _bars(results, directory / FILES["latency"], lambda one: one["delivery"]["p99"], "delivery p99, ms", log=True)


def _bars(results: Results, path: Path, value: Callable[[Record], float], title: str, *, log: bool) -> None:
    """Groups of bars, one group a load and one bar a variant, with the spread as a whisker."""
    names = [name for name in VARIANTS if results.find("closed loop", name)]
    figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
    width = 0.8 / max(len(names), 1)
    for place, name in enumerate(names):
        bars = [
            (group + place * width, found)
            for group, (sockets, in_flight) in enumerate(loads(results))
            if (found := results.spread(value, "closed loop", name, sockets=sockets, inFlight=in_flight))
        ]
        whiskers: Any = [
            [found.median - found.low for _, found in bars],
            [found.high - found.median for _, found in bars],
        ]
        family, _, durability = name.partition("-")
        axes.bar(
            [x for x, _ in bars],
            [found.median for _, found in bars],
            width * 0.92,
            yerr=whiskers,
            color=COLOURS[family],
            alpha=0.55 if durability == "normal" else 1,
            error_kw={"elinewidth": 0.8},
            label=name,
        )
    labels = [f"{sockets:,} sockets,\n{in_flight} in flight" for sockets, in_flight in loads(results)]
    axes.set_xticks([group + 0.4 - width / 2 for group in range(len(labels))], labels)
    axes.set_title(title)
    if log:
        axes.set_yscale("log")
    figure.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=4)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
