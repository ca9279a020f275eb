"""The figures of the page: empty, with the sources that fill them."""

from typing import Any

from bokeh import models
from bokeh.models import ColumnDataSource
from bokeh.palettes import Magma256, Viridis256
from bokeh.plotting import figure

from passband.app.views import PAIR, Q_SHOWN
from passband.figures.style import BLUE, GREY, ORANGE, PREDICTION, TRUTH, bar_length

#: Colour and mark of each zone, apart also for the colour-blind.
ZONES = {"stable": (BLUE, "circle"), "degraded": ("#f2c14e", "triangle"), "collapse": (ORANGE, "square")}
Sources = dict[str, ColumnDataSource]
_PAIR_TIPS = {"trained at": "@train_label", "tested at": "@test_label", "loss": "@loss{0.000}", "Dice": "@dice{0.000}"}
_LEGEND: dict[str, Any] = {"label_text_font_size": "12px", "border_line_color": None, "background_fill_alpha": 0.8, "padding": 4, "spacing": 0, "margin": 4, "glyph_height": 16}  # fmt: skip
_LOOK: dict[str, Any] = {"toolbar_location": None, "min_border": 4, "outline_line_color": None, "background_fill_color": "#ffffff", "sizing_mode": "stretch_width"}  # fmt: skip


def blank(**changes: Any) -> Any:
    """Return a figure in the page's look, with some of bokeh's settings changed."""
    plot = figure(**(_LOOK | changes))
    plot.grid.grid_line_color = "#e9ecef"
    plot.axis.axis_line_color = plot.axis.major_tick_line_color = "#adb5bd"
    plot.axis.minor_tick_line_color = None
    plot.axis.major_label_text_font_size = plot.axis.axis_label_text_font_size = "12px"
    plot.axis.axis_label_text_font_style = "normal"
    plot.axis.axis_label_text_color = plot.axis.major_label_text_color = "#495057"
    plot.title.text_font_size, plot.title.text_color = "13px", "#343a40"
    plot.toolbar.logo = None
    return plot


def legend(plot: Any, **changes: Any) -> None:
    """Style a figure's legend."""
    plot.legend.update(**(_LEGEND | changes))


def picture() -> tuple[Any, Sources]:
    """Return a square picture in grey with outlines, numbers and a scale bar: sources image, truth, prediction, numbers, bar."""
    plot = blank(sizing_mode="scale_width", aspect_ratio=1, max_width=720, tools="pan,wheel_zoom,reset", x_range=(0, 1), y_range=(0, 1))  # fmt: skip
    plot.axis.visible = False
    plot.grid.visible = False
    plot.min_border, plot.background_fill_color = 0, "#f1f3f5"
    sources = {
        "image": _source("image", "x", "y", "dw", "dh"),
        "truth": _source("xs", "ys"),
        "prediction": _source("xs", "ys"),
        "numbers": _source("x", "y", "text"),
        "bar": _source("x0", "x1", "y", "middle", "text"),
    }
    sources["image"].name = "picture"
    shades = models.LinearColorMapper([f"#{i:02x}{i:02x}{i:02x}" for i in range(256)], low=0, high=255)
    plot.image("image", x="x", y="y", dw="dw", dh="dh", color_mapper=shades, source=sources["image"])
    plot.multi_line("xs", "ys", source=sources["truth"], line_color=TRUTH, line_width=1.8, line_dash="dashed")
    plot.multi_line("xs", "ys", source=sources["prediction"], line_color=PREDICTION, line_width=2)
    plot.segment("x0", "y", "x1", "y", source=sources["bar"], line_color="white", line_width=4)
    label: dict[str, Any] = {"text_color": "white", "text_align": "center", "background_fill_color": "black", "background_fill_alpha": 0.6, "padding": 3, "text_font_style": "bold"}  # fmt: skip
    plot.text("x", "y", "text", source=sources["numbers"], text_baseline="middle", text_font_size="12px", **label)
    plot.text("middle", "y", "text", source=sources["bar"], text_baseline="bottom", y_offset=-8, text_font_size="14px", **label)  # fmt: skip
    return plot, sources


def placed(shades: Any, width: float, height: float) -> dict[str, list[Any]]:
    """Return the source image of shades of grey on a field of some width and height."""
    return {"image": [shades], "x": [0], "y": [0], "dw": [width], "dh": [height]}


def fit(plot: Any, width: float, height: float) -> None:
    """Show a field of some width and height in the middle of a square picture."""
    side = max(width, height)
    for axis, size in ((plot.x_range, width), (plot.y_range, height)):
        axis.update(start=(size - side) / 2, end=(size + side) / 2)


def scale_bar(width: float, height: float, unit: float = 1.0) -> dict[str, list[Any]]:
    """Return a bar of a round length for the source bar, in a picture of some width and height in a unit [nm]."""
    length = bar_length(10 * width * unit) / 10
    left, low = 0.04 * width, 0.045 * height
    right = left + length / unit
    return {"x0": [left], "x1": [right], "y": [low], "middle": [(left + right) / 2], "text": [f"{length:g} nm"]}


def sizes(height: int) -> tuple[Any, Sources]:
    """Return a histogram of diameters: source bars (left, right, whole, top)."""
    plot = blank(height=height, tools="", x_range=(0, 5), y_range=(0, 5), title="Particle sizes")
    source = _source("left", "right", "whole", "top")
    for bottom, top, colour, label in ((0, "whole", BLUE, "whole"), ("whole", "top", "#ced4da", "cut by the edge")):
        plot.quad(left="left", right="right", bottom=bottom, top=top, source=source, fill_color=colour, line_color="white", legend_label=label)  # fmt: skip
    plot.xaxis.axis_label, plot.yaxis.axis_label = "equivalent diameter [nm]", "particles"
    # Counts have no ticks between whole numbers.
    plot.yaxis.ticker = models.BasicTicker(min_interval=1, desired_num_ticks=4)
    legend(plot, location="top_left")
    return plot, {"bars": source}


def curves() -> tuple[Any, Sources]:
    """Return the transfer over |q|: sources curve and training."""
    plot = blank(height=340, tools="", x_range=(0, Q_SHOWN), y_range=(-1.05, 1.05), title="Transfer")
    curve = _source("q", "transfer", "magnitude", "envelope", "below")
    training = _source("q", "low", "middle", "high")
    plot.add_layout(models.Band(base="q", lower="low", upper="high", source=training, fill_color=ORANGE, fill_alpha=0.18, level="underlay"))  # fmt: skip
    plot.add_layout(models.Span(location=0, dimension="width", line_color=GREY, line_width=1))
    plot.line("q", "middle", source=training, line_color=ORANGE, line_width=1.5, line_dash="dotdash", legend_label="training: median, 80 %")  # fmt: skip
    for name in ("envelope", "below"):
        plot.line("q", name, source=curve, line_color=GREY, line_dash="dashed", legend_label="envelopes")
    plot.line("q", "transfer", source=curve, line_color="#9db8d2", line_width=1.3, legend_label="T along +x")
    plot.line("q", "magnitude", source=curve, line_color=BLUE, line_width=2.4, legend_label="mean |T| over azimuth")
    plot.xaxis.axis_label, plot.yaxis.axis_label = "spatial frequency |q| [1/Å]", "transfer T(q)"
    legend(plot, orientation="horizontal", spacing=12, ncols=2)
    plot.add_layout(plot.legend[0], "below")
    return plot, {"curve": curve, "training": training}


def plane() -> tuple[Any, Sources]:
    """Return the plane of σ and ε: sources scored and current."""
    title = "Scored conditions, and this one"
    plot = blank(height=380, tools="", x_range=(0, 1.02), y_range=(0, 1), title=title)
    scored, current = _source("sigma", "epsilon", "zone", "ratio", "dice", "label"), _source("sigma", "epsilon")
    marks = []
    for zone, (colour, marker) in ZONES.items():
        view = models.CDSView(filter=models.GroupFilter(column_name="zone", group=zone))
        marks.append(plot.scatter("sigma", "epsilon", source=scored, view=view, marker=marker, size=8, fill_color=colour, line_color="#343a40", line_width=0.5, fill_alpha=0.85, legend_label=zone))  # fmt: skip
    plot.scatter("sigma", "epsilon", source=current, marker="plus", size=22, line_width=1.5, line_color="white", fill_color="#111111", legend_label="this condition")  # fmt: skip
    _tips(plot, marks, {"": "@label", "relative loss": "@ratio{0.00}, @zone", "Dice": "@dice{0.000}", "σ, ε": "@sigma{0.00}, @epsilon{0.00}"})  # fmt: skip
    plot.xaxis.axis_label = "σ: largest share of transfer in common with a training condition"
    plot.yaxis.axis_label = "ε: share of the band transferred"
    legend(plot, location="top_left", glyph_width=24)
    return plot, {"scored": scored, "current": current}


def matrix() -> tuple[Any, Sources, Any]:
    """Return the matrix of scores: source cells, and its colours."""
    plot = blank(height=540, min_width=460, tools="", x_axis_location="above", x_range=(0, 1), y_range=(1, 0), title="Score")  # fmt: skip
    source, mapper = _source("x", "y", "score", "text", "ink", *PAIR), _coloured(plot)
    fill = {"field": "score", "transform": mapper}
    cells = plot.rect("x", "y", 1, 1, source=source, fill_color=fill, line_color=None)
    _tips(plot, [cells], _PAIR_TIPS | {"σ": "@sigma{0.00}", "Δε": "@delta_epsilon{+0.00}"})
    plot.text("x", "y", "text", source=source, text_color="ink", text_align="center", text_baseline="middle", text_font_size="10px")  # fmt: skip
    plot.xaxis.axis_label, plot.yaxis.axis_label = "tested at", "trained at"
    plot.grid.visible = False
    return plot, {"cells": source}, mapper


def shift_plane() -> tuple[Any, Sources, Any]:
    """Return the plane of σ and Δε coloured by a score: source pairs, and its colours."""
    plot = blank(height=540, tools="pan,wheel_zoom,box_zoom,reset", toolbar_location="right", x_range=(0, 1.02), y_range=(-1, 1), title="Test score over σ and Δε")  # fmt: skip
    source, mapper = _source("score", "ratio", *PAIR), _coloured(plot)
    plot.add_layout(models.Span(location=0, dimension="width", line_color=GREY, line_width=1))
    fill = {"field": "score", "transform": mapper}
    dots = plot.scatter("sigma", "delta_epsilon", source=source, size=8, fill_color=fill, line_color="#343a40", line_width=0.4)  # fmt: skip
    _tips(plot, [dots], _PAIR_TIPS | {"relative loss": "@ratio{0.00}"})
    plot.xaxis.axis_label = "σ(train, test): share of the training transfer that the test keeps"
    plot.yaxis.axis_label = "Δε = ε(test) − ε(train)"
    return plot, {"pairs": source}, mapper


def colours(score: str) -> list[str]:
    """Return the palette of a score: dark is bad in both."""
    return list(Magma256[::-1]) if score == "loss" else list(Viridis256)


def _source(*columns: str) -> ColumnDataSource:
    return ColumnDataSource({name: [] for name in columns})


def _coloured(plot: Any) -> models.LogColorMapper:
    """Add a logarithmic colour bar to a figure and return its colours."""
    mapper = models.LogColorMapper(Magma256[::-1], low=0.1, high=1)
    plot.add_layout(
        models.ColorBar(color_mapper=mapper, width=12, ticker=models.LogTicker(mantissas=[1, 2, 3, 5, 7])), "right"
    )
    return mapper


def _tips(plot: Any, renderers: list[Any], tips: dict[str, str]) -> None:
    plot.add_tools(models.HoverTool(renderers=renderers, tooltips=list(tips.items())))
