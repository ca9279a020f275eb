"""The curves and planes of the page: empty, with the sources that fill them."""

from typing import Any

from bokeh.models import (
    Band,
    CDSView,
    ColorBar,
    ColumnDataSource,
    GroupFilter,
    HoverTool,
    LogColorMapper,
    LogTicker,
    Span,
)
from bokeh.palettes import Magma256, Viridis256

from passband.app.figures import AMBER, BLUE, GREEN, GREY, RED, Sources, blank, legend
from passband.app.views import Q_SHOWN

#: Of the zones.
ZONES = {"stable": GREEN, "degraded": AMBER, "collapse": RED}


def curves(width: int, height: int) -> tuple[Any, Sources]:
    """Return the transfer over |q|: sources curve and training."""
    made = blank(width=width, height=height, tools="", x_range=(0, Q_SHOWN), y_range=(-1.05, 1.05), title="Transfer")
    sources = {
        "curve": ColumnDataSource({name: [] for name in ("q", "transfer", "magnitude", "envelope", "below")}),
        "training": ColumnDataSource({name: [] for name in ("q", "low", "middle", "high")}),
    }
    made.add_layout(
        Band(
            base="q",
            lower="low",
            upper="high",
            source=sources["training"],
            fill_color=GREEN,
            fill_alpha=0.18,
            level="underlay",
        )
    )
    made.add_layout(Span(location=0, dimension="width", line_color=GREY, line_width=1))
    made.line(
        "q",
        "middle",
        source=sources["training"],
        line_color=GREEN,
        line_width=1.5,
        legend_label="in training: median, 80 %",
    )
    for name, label in (("envelope", "envelopes"), ("below", "envelopes")):
        made.line("q", name, source=sources["curve"], line_color=GREY, line_dash="dashed", legend_label=label)
    made.line("q", "transfer", source=sources["curve"], line_color="#9db8d2", line_width=1.3, legend_label="T along +x")
    made.line(
        "q", "magnitude", source=sources["curve"], line_color=BLUE, line_width=2.4, legend_label="mean |T| over azimuth"
    )
    made.xaxis.axis_label, made.yaxis.axis_label = "spatial frequency |q| [1/Å]", "T(q)"
    legend(made, orientation="horizontal", spacing=14)
    made.add_layout(made.legend[0], "below")
    return made, sources


def plane(width: int, height: int) -> tuple[Any, Sources]:
    """Return the plane of σ and ε: sources studied and current."""
    made = blank(
        width=width,
        height=height,
        tools="",
        x_range=(0, 1.02),
        y_range=(0, 1),
        title="ε and σ: where the model was scored, and where this condition lies",
    )
    sources = {
        "studied": ColumnDataSource({name: [] for name in ("sigma", "epsilon", "zone", "ratio", "dice", "label")}),
        "current": ColumnDataSource({"sigma": [], "epsilon": []}),
    }
    dots = [
        made.scatter(
            "sigma",
            "epsilon",
            source=sources["studied"],
            view=CDSView(filter=GroupFilter(column_name="zone", group=zone)),
            size=8,
            fill_color=colour,
            line_color="white",
            line_width=0.6,
            fill_alpha=0.85,
            legend_label=zone,
        )
        for zone, colour in ZONES.items()
    ]
    made.scatter("sigma", "epsilon", source=sources["current"], marker="cross", size=24, line_width=3, line_color="#111111", legend_label="this condition")  # fmt: skip
    tips = [
        ("", "@label"),
        ("loss over own", "@ratio{0.00}, @zone"),
        ("Dice", "@dice{0.000}"),
        ("σ, ε", "@sigma{0.00}, @epsilon{0.00}"),
    ]
    made.add_tools(HoverTool(renderers=dots, tooltips=tips))
    made.xaxis.axis_label = "σ: largest share that a training condition has in common with it"
    made.yaxis.axis_label = "ε: share of the band transferred"
    legend(made, location="top_left")
    return made, sources


def matrix(side: int) -> tuple[Any, Sources, Any]:
    """Return the table of scores as a picture, its source and its colours."""
    mapper = LogColorMapper(Magma256[::-1])
    made = blank(width=side, height=side, tools="", x_axis_location="above", x_range=(0, 1), y_range=(1, 0))
    source = ColumnDataSource(
        {
            name: []
            for name in (
                "x",
                "y",
                "score",
                "text",
                "ink",
                "train_label",
                "test_label",
                "loss",
                "dice",
                "sigma",
                "delta_epsilon",
            )
        }
    )
    made.title.text = "Score"
    cells = made.rect(
        "x", "y", 1, 1, source=source, fill_color={"field": "score", "transform": mapper}, line_color=None
    )
    tips = [
        ("trained at", "@train_label"),
        ("tested at", "@test_label"),
        ("loss", "@loss{0.000}"),
        ("Dice", "@dice{0.000}"),
        ("σ", "@sigma{0.00}"),
        ("Δε", "@delta_epsilon{+0.00}"),
    ]
    made.add_tools(HoverTool(renderers=[cells], tooltips=tips))
    made.text(
        "x",
        "y",
        "text",
        source=source,
        text_color="ink",
        text_align="center",
        text_baseline="middle",
        text_font_size="10px",
    )
    made.add_layout(ColorBar(color_mapper=mapper, width=12, ticker=LogTicker(mantissas=[1, 2, 3, 5, 7])), "right")
    made.xaxis.axis_label, made.yaxis.axis_label = "tested at", "trained at"
    made.grid.visible = False
    return made, {"cells": source}, mapper


def shift_plane(width: int, height: int) -> tuple[Any, Sources, Any]:
    """Return the plane of σ and Δε coloured by a score: source pairs, and the colours."""
    mapper = LogColorMapper(Magma256[::-1])
    made = blank(
        width=width,
        height=height,
        tools="pan,wheel_zoom,box_zoom,reset",
        toolbar_location="right",
        x_range=(0, 1.02),
        y_range=(-1, 1),
        title="Test score over σ and Δε",
    )
    source = ColumnDataSource(
        {name: [] for name in ("sigma", "delta_epsilon", "score", "train_label", "test_label", "loss", "dice", "ratio")}
    )
    made.add_layout(Span(location=0, dimension="width", line_color=GREY, line_width=1))
    dots = made.scatter("sigma", "delta_epsilon", source=source, size=8, fill_color={"field": "score", "transform": mapper}, line_color="#343a40", line_width=0.4)  # fmt: skip
    tips = [
        ("trained at", "@train_label"),
        ("tested at", "@test_label"),
        ("loss", "@loss{0.000}"),
        ("over own", "@ratio{0.00}"),
        ("Dice", "@dice{0.000}"),
    ]
    made.add_tools(HoverTool(renderers=[dots], tooltips=tips))
    made.add_layout(ColorBar(color_mapper=mapper, width=12, ticker=LogTicker(mantissas=[1, 2, 3, 5, 7])), "right")
    made.xaxis.axis_label, made.yaxis.axis_label = (
        "σ(train, test): share of the training transfer that the test keeps",
        "Δε = ε(test) − ε(train)",
    )
    return made, {"pairs": source}, mapper


def colours(score: str) -> list[str]:
    """Return the palette of a score: dark is bad in both."""
    return list(Magma256[::-1]) if score == "loss" else list(Viridis256)
