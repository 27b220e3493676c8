"""Draws the dashboards as pictures, for the documentation, without Grafana: the panels in the
places of the dashboard's grid, with the data that a Prometheus gives for their queries.

    PICTURES=docs/images WHIPSNAKE_LONG_TESTS=yes \\
      /usr/bin/python3 tests/deploy/prometheus_test.py --binary build/release/whipsnake \\
      --source . --work /tmp

prometheus_test.py makes the data and calls draw(). Needs python3-matplotlib.
"""
import math
import re
import textwrap
from datetime import datetime

import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: E402

import dashboards  # noqa: E402

COLUMN, ROW = 0.62, 0.36  # inches of a cell of Grafana's grid
GAP = 0.1
PALETTE = ["#3274d9", "#e0752d", "#299c46", "#a352cc", "#c4162a", "#7c6f00", "#0a8f9c", "#8f3bb8",
           "#6d7680"]
COLORS = {"green": "#299c46", "red": "#c4162a", "#EAB839": "#c99700"}
MOST_CURVES = 8
INK, PALE, GRID = "#1f2328", "#6b7280", "#e5e7eb"


def format_value(value, unit):
    """Returns a number in Grafana's unit, with three digits."""
    def digits(number):
        return f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}"
    if unit == "percentunit":
        return digits(value * 100) + " %"
    if unit == "bytes":
        power = min(int(math.log2(abs(value)) // 10), 4) if abs(value) >= 1 else 0
        return f"{digits(value / 1024 ** power)} {['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}"
    if unit == "s":
        if value == 0:
            return "0 s"
        if abs(value) < 1e-3:
            return digits(value * 1e6) + " µs"
        return digits(value * 1e3) + " ms" if abs(value) < 1 else digits(value) + " s"
    return digits(value) + {"reqps": " req/s", "ops": " /s", "cps": " /s"}.get(unit, "")


def name_of(labels, legend):
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), legend)


def threshold_color(defaults, value):
    color = COLORS["green"]
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = COLORS[step["color"]]
    return color


class BinaryLocator(MaxNLocator):
    """Round numbers of KiB, MiB or GiB."""

    def tick_values(self, vmin, vmax):
        factor = 1024 ** max(int(math.log2(max(vmax, 1)) // 10), 0)
        return MaxNLocator(5).tick_values(vmin / factor, vmax / factor) * factor


class Canvas:
    """A picture of a dashboard."""

    def __init__(self, dashboard, prometheus, start, end):
        self.prometheus, self.start, self.end = prometheus, start, end
        self.step = max(1, math.ceil((end - start) / 240))
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
        self.width, self.height = 24 * COLUMN, (rows + 2) * ROW
        self.figure = plt.figure(figsize=(self.width, self.height), facecolor="#f4f5f5")
        self.figure.text(GAP / self.width, 1 - ROW / self.height, dashboard["title"], fontsize=14,
                         weight="bold", color=INK, va="center")

    def axes(self, grid, left=0.0, right=0.0, top=0.0, bottom=0.0):
        """Returns axes in a cell of the grid; the margins are in inches."""
        x, y = grid["x"] * COLUMN + GAP / 2 + left, (grid["y"] + 2) * ROW + GAP / 2 + top
        width = grid["w"] * COLUMN - GAP - left - right
        height = grid["h"] * ROW - GAP - top - bottom
        return self.figure.add_axes([x / self.width, 1 - (y + height) / self.height,
                                     width / self.width, height / self.height])

    def data(self, panel):
        """Returns [(name, [(time, value)])] of all queries."""
        found = []
        for expression, legend in dashboards.queries(panel):
            series = self.prometheus.query_range(expression, self.start, self.end, self.step)
            found += [(name_of(labels, legend) or "value", values, labels)
                      for labels, values in series]
        return found

    def draw_row(self, panel):
        axes = self.axes(panel["gridPos"])
        axes.axis("off")
        axes.text(0.002, 0.4, panel["title"], fontsize=10, weight="bold", color=INK, va="center")

    def draw_panel(self, panel):
        frame = self.axes(panel["gridPos"])
        frame.set(xticks=[], yticks=[], facecolor="white")
        for spine in frame.spines.values():
            spine.set_color(GRID)
        grid = panel["gridPos"]
        frame.text(0.1 / (grid["w"] * COLUMN), 1 - 0.14 / (grid["h"] * ROW), panel["title"],
                   fontsize=8.5, weight="bold", color=INK, va="center", transform=frame.transAxes)
        draw = {"timeseries": self.draw_graph, "heatmap": self.draw_heat_map,
                "stat": self.draw_stat, "state-timeline": self.draw_states}[panel["type"]]
        data = self.data(panel)
        if data:
            draw(panel, data)
        else:
            frame.text(0.5, 0.45, panel["fieldConfig"]["defaults"]["noValue"], ha="center",
                       va="center", fontsize=9, color=PALE, transform=frame.transAxes)

    def style(self, axes, unit=None):
        axes.set_facecolor("white")
        axes.tick_params(labelsize=6.5, colors=PALE, length=0)
        axes.grid(True, color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlim(self.start, self.end)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(
            lambda time, _: datetime.utcfromtimestamp(time).strftime("%H:%M:%S")))
        if unit:
            axes.yaxis.set_major_locator(BinaryLocator() if unit == "bytes" else MaxNLocator(5))
            axes.yaxis.set_major_formatter(FuncFormatter(
                lambda value, _: format_value(value, unit)))

    def draw_graph(self, panel, data):
        defaults = panel["fieldConfig"]["defaults"]
        unit = defaults["unit"]
        if len(data) > MOST_CURVES:  # those with the highest last values
            data = sorted(data, key=lambda each: -each[1][-1][1])[:MOST_CURVES]
        lines = len(data)
        axes = self.axes(panel["gridPos"], left=0.62, right=0.1, top=0.3,
                         bottom=0.3 + 0.135 * lines)
        self.style(axes, unit)
        stacked = defaults["custom"]["stacking"]["mode"] == "normal"
        below = {}
        for (name, values, _), color in zip(data, PALETTE):
            times = [when for when, _ in values]
            heights = [value + below.get(when, 0) if stacked else value for when, value in values]
            axes.plot(times, heights, color=color, linewidth=1.1)
            if "min" in defaults:
                floor = [below.get(when, 0) for when in times] if stacked else 0
                axes.fill_between(times, floor, heights, color=color, linewidth=0,
                                  alpha=0.35 if stacked else 0.06)
            if stacked:
                below.update(zip(times, heights))
        self.set_range(axes, defaults, max(value for _, values, _ in data for _, value in values))
        self.draw_legend(panel["gridPos"], data, unit)

    def set_range(self, axes, defaults, top):
        """Draws the thresholds that are near the values, and sets the range."""
        limits = defaults["thresholds"]["steps"][1:]
        for limit in limits:
            if top == 0 or limit["value"] < 4 * top or "max" in defaults:
                axes.axhline(limit["value"], color=COLORS[limit["color"]], linewidth=0.9,
                             linestyle="--")
        if "min" in defaults:
            axes.set_ylim(bottom=defaults["min"])
        if "max" in defaults:
            axes.set_ylim(top=defaults["max"] * 1.02)
        elif top == 0:
            axes.set_ylim(top=1.2 * limits[0]["value"] if limits else 1)

    def draw_legend(self, grid, data, unit):
        height = 0.135 * len(data)
        axes = self.axes(grid, left=0.12, right=0.12, top=grid["h"] * ROW - GAP - height - 0.06,
                         bottom=0.06)
        axes.axis("off")
        axes.set(xlim=(0, 1), ylim=(len(data), 0))
        for line, ((name, values, _), color) in enumerate(zip(data, PALETTE)):
            axes.plot([0, 0.025], [line + 0.5] * 2, color=color, linewidth=2)
            name = textwrap.shorten(name, 40, placeholder="…")
            axes.text(0.035, line + 0.5, name, fontsize=6.3, color=INK, va="center")
            last = format_value(values[-1][1], unit)
            most = format_value(max(value for _, value in values), unit)
            axes.text(1, line + 0.5, f"last {last}   max {most}", fontsize=6.3, color=PALE,
                      va="center", ha="right")

    def draw_heat_map(self, panel, data):
        unit = panel["fieldConfig"]["defaults"]["unit"]
        bounds = sorted((float(labels["le"]), dict(values)) for _, values, labels in data)
        times = sorted({when for _, values in bounds for when in values})
        counts, below = [], {when: 0 for when in times}
        for _, values in bounds:  # from cumulative counts to those of each bucket
            counts.append([max(values.get(when, 0) - below[when], 0) for when in times])
            below = {when: values.get(when, below[when]) for when in times}
        used = [i for i, row in enumerate(counts) if any(row)] or [0]
        first, last = max(used[0] - 1, 0), min(used[-1] + 1, len(counts) - 1)
        axes = self.axes(panel["gridPos"], left=0.62, right=0.1, top=0.3, bottom=0.26)
        self.style(axes)
        axes.grid(False)
        colors = plt.get_cmap("Oranges").copy()
        colors.set_under("white")
        axes.pcolormesh([*times, times[-1] + self.step], range(last - first + 2),
                        counts[first:last + 1], cmap=colors, vmin=1e-9,
                        vmax=max(max(row) for row in counts) or 1)
        axes.set_yticks(range(1, last - first + 2))
        labels = ["+Inf" if math.isinf(bound) else format_value(bound, unit)
                  for bound, _ in bounds[first:last + 1]]
        thin = math.ceil(len(labels) / 8)
        axes.set_yticklabels([label if i % thin == 0 else "" for i, label in enumerate(labels)])

    def draw_stat(self, panel, data):
        defaults = panel["fieldConfig"]["defaults"]
        axes = self.axes(panel["gridPos"], top=0.28, bottom=0.05)
        axes.axis("off")
        if panel["options"]["textMode"] == "name":
            for i, (name, _, _) in enumerate(data):
                axes.text(0.5, 0.55 - 0.2 * i, name, fontsize=10, color=COLORS["green"],
                          ha="center", va="center")
            return
        for i, (name, values, _) in enumerate(data):
            x = (i + 0.5) / len(data)
            axes.text(x, 0.55, format_value(values[-1][1], defaults["unit"]), fontsize=17,
                      weight="bold", ha="center", va="center",
                      color=threshold_color(defaults, values[-1][1]))
            if len(data) > 1:
                axes.text(x, 0.12, name, fontsize=7, color=PALE, ha="center", va="center")

    def draw_states(self, panel, data):
        shown = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
        axes = self.axes(panel["gridPos"], left=1.5, right=0.1, top=0.3, bottom=0.42)
        self.style(axes)
        axes.grid(False)
        axes.set(ylim=(len(data), 0), yticks=[i + 0.5 for i in range(len(data))])
        axes.set_yticklabels([name for name, _, _ in data])
        for i, (_, values, _) in enumerate(data):
            for when, value in values:
                axes.barh(i + 0.5, self.step, left=when, height=0.7, align="center", linewidth=0,
                          color=COLORS[shown[str(int(value))]["color"]])
        for i, mapping in enumerate(shown.values()):
            axes.text(0.25 * i, -0.28, "■ " + mapping["text"], fontsize=6.5,
                      color=COLORS[mapping["color"]], transform=axes.transAxes, va="center")


def draw(dashboard, prometheus, start, end, path):
    canvas = Canvas(dashboard, prometheus, start, end)
    for panel in dashboard["panels"]:
        (canvas.draw_row if panel["type"] == "row" else canvas.draw_panel)(panel)
    canvas.figure.savefig(path, dpi=90, pil_kwargs={"optimize": True})
    plt.close(canvas.figure)
