"""Draws the pictures of the report; matplotlib comes from bench/requirements.txt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from bench import growth
from bench.marks import loads, per_second
from bench.results import Record, Results
from bench.stacks import STORES, VARIANTS
from bench.tables import PICTURES, store_label

COLOURS = {"parley": "#2563eb", "express": "#d97706", "channels": "#059669", "prosody": "#7c3aed"}
OPERATION_COLOURS = dict(
    zip(growth.OPERATIONS, ("#2563eb", "#60a5fa", "#059669", "#34d399", "#7c3aed", "#d97706", "#dc2626"), strict=True)
)


def draw(results: Results, directory: Path) -> None:
    """Write the pictures into a directory."""

    mpl.use("Agg")
    mpl.rcParams.update(
        {"svg.hashsalt": "parley", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    _bars(results, directory / PICTURES["speed"], per_second, "messages acked and delivered per second", log=False)
    _bars(results, directory / PICTURES["latency"], lambda one: one["delivery"]["p99"], "delivery p99, ms", log=True)
    if growth.sizes(results):
        _lines(results, directory / PICTURES["sizes"])


def _lines(results: Results, path: Path) -> None:
    """A panel a store and a line an operation: medians against the number of messages."""
    names = [name for name in STORES if growth.sizes(results, name)]
    figure, panels = plt.subplots(1, len(names), figsize=(9, 3.6), layout="constrained", sharey=True, squeeze=False)
    for axes, name in zip(panels[0], names, strict=True):
        for operation, points in growth.lines(results, name).items():
            axes.plot(
                list(points),
                list(points.values()),
                marker="o",
                markersize=3,
                color=OPERATION_COLOURS[operation],
                label=growth.OPERATIONS[operation].replace("`", ""),
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(growth.sizes(results), [f"{size:,}" for size in growth.sizes(results)], fontsize=7)
        axes.minorticks_off()
        axes.set_title(store_label(name), fontsize=9)
        axes.set_xlabel("messages of the long chat")
    panels[0][0].set_ylabel("median, ms")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize=8, ncols=4)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


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
