"""The look of all figures, and those of pictures and sizes: empty, with the sources that fill them."""

from typing import Any

from bokeh.models import ColumnDataSource, LinearColorMapper
from bokeh.plotting import figure

BLUE, RED, ORANGE, AMBER, GREEN, GREY = "#2b5c8a", "#c1272d", "#ff9d2e", "#e8a33d", "#2f9e44", "#868e96"
Sources = dict[str, ColumnDataSource]
_LOOK: dict[str, Any] = {
    "toolbar_location": None,
    "min_border": 4,
    "outline_line_color": None,
    "background_fill_color": "#ffffff",
}


def blank(**changes: Any) -> Any:
    """Return a figure in the page's look, with some of bokeh's settings changed."""
    made = figure(**(_LOOK | changes))
    made.grid.grid_line_color = "#e9ecef"
    made.axis.axis_line_color = made.axis.major_tick_line_color = "#adb5bd"
    made.axis.minor_tick_line_color = None
    made.axis.major_label_text_font_size = made.axis.axis_label_text_font_size = "12px"
    made.axis.axis_label_text_font_style = "normal"
    made.axis.axis_label_text_color = made.axis.major_label_text_color = "#495057"
    made.title.text_font_size, made.title.text_color = "13px", "#343a40"
    made.toolbar.logo = None
    return made


def legend(made: Any, **changes: Any) -> None:
    """Bring a figure's legend into the page's look."""
    made.legend.update(
        **(
            {
                "label_text_font_size": "11px",
                "border_line_color": None,
                "background_fill_alpha": 0.8,
                "padding": 4,
                "spacing": 0,
                "margin": 4,
                "glyph_height": 14,
            }
            | changes
        )
    )


def picture(side: int) -> tuple[Any, Sources]:
    """Return a picture of equal sides in grey with outlines and a scale bar: sources image, truth, found, bar."""
    made = blank(
        width=side, height=side, tools="pan,wheel_zoom,reset", match_aspect=True, x_range=(0, 1), y_range=(0, 1)
    )
    made.axis.visible = False
    made.grid.visible = False
    made.min_border, made.background_fill_color = 0, "#f1f3f5"
    sources = {
        "image": ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []}, name="picture"),
        "truth": ColumnDataSource({"xs": [], "ys": []}),
        "found": ColumnDataSource({"xs": [], "ys": []}),
        "bar": ColumnDataSource({"x0": [], "x1": [], "y": [], "middle": [], "text": []}),
    }
    shades = LinearColorMapper([f"#{i:02x}{i:02x}{i:02x}" for i in range(256)], low=0, high=255)
    made.image("image", x="x", y="y", dw="dw", dh="dh", color_mapper=shades, source=sources["image"])
    made.multi_line("xs", "ys", source=sources["truth"], line_color="#4dd4ff", line_width=1.6, line_dash="dashed")
    made.multi_line("xs", "ys", source=sources["found"], line_color=ORANGE, line_width=1.8)
    made.segment("x0", "y", "x1", "y", source=sources["bar"], line_color="white", line_width=4)
    made.text("middle", "y", "text", source=sources["bar"], text_color="white", text_align="center", text_baseline="bottom", y_offset=-8, background_fill_color="black", background_fill_alpha=0.6, padding=3, text_font_size="13px", text_font_style="bold")  # fmt: skip
    return made, sources


def fit(made: Any, width: float, height: float) -> None:
    """Show a field of some width and height in the middle of a square picture."""
    side = max(width, height)
    for axis, size in ((made.x_range, width), (made.y_range, height)):
        axis.update(start=(size - side) / 2, end=(size + side) / 2)


def scale_bar(width: float, height: float, unit: float = 1.0) -> dict[str, list[Any]]:
    """Return a bar of a round length, a fifth of a picture or less, for the source bar.

    Args:
        width: of the picture.
        height: of the picture.
        unit: of both [nm].
    """
    length = max(
        n * 10.0**k
        for k in range(-1, 4)
        for n in (1, 2, 5)
        if n * 10.0**k <= 0.22 * width * unit or (k == -1 and n == 1)
    )
    left, low = 0.04 * width, 0.045 * height
    right = left + length / unit
    return {"x0": [left], "x1": [right], "y": [low], "middle": [(left + right) / 2], "text": [f"{length:g} nm"]}


def sizes(width: int, height: int) -> tuple[Any, Sources]:
    """Return a histogram of diameters: source bars (left, right, whole, top)."""
    made = blank(width=width, height=height, tools="", x_range=(0, 5), y_range=(0, 5), title="Particle sizes")
    source = ColumnDataSource({name: [] for name in ("left", "right", "whole", "top")})
    made.quad(
        left="left",
        right="right",
        bottom=0,
        top="whole",
        source=source,
        fill_color=BLUE,
        line_color="white",
        legend_label="whole",
    )
    made.quad(
        left="left",
        right="right",
        bottom="whole",
        top="top",
        source=source,
        fill_color="#ced4da",
        line_color="white",
        legend_label="cut by the edge",
    )
    made.xaxis.axis_label, made.yaxis.axis_label = "equivalent diameter [nm]", "particles"
    legend(made, location="top_left")
    return made, {"bars": source}
