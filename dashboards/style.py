"""The look of all figures: one size, one font, one colour and marker per arm."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

WIDTH_IN = 5.2  # 5.2 in at 400 CSS px still shows a 12 pt label at 11 px
INK, MUTED, GRID, BAND = "#1f2328", "#59636e", "#e4e7eb", "#0072b2"

# Okabe-Ito colours, yellow left out (too faint on white); markers tell arms apart in print.
ARM_LOOKS = (
    ("#1f2328", "d"),
    ("#56b4e9", "D"),
    ("#e69f00", "^"),
    ("#009e73", "s"),
    ("#0072b2", "o"),
    ("#cc79a7", "v"),
    ("#8c959f", "X"),
    ("#d55e00", "P"),
    ("#332288", "h"),
    ("#882255", "<"),
    ("#117733", "p"),
    ("#aa4499", "*"),
    ("#999933", ">"),
    ("#661100", "H"),
)
DASHED = (0, (4, 1.5))
GREEN = "#009e73"
# From dark to light along one hue order that survives grey print: an ordered quantity.
LEVEL_COLOURS = ("#08306b", "#0072b2", "#009e73", "#e69f00", "#d55e00", "#cc79a7")
LEVEL_MARKERS = ("o", "s", "^", "D", "v", "P")

_RC: Any = {  # Any: the stubs ask for literal keys in some versions, for str in others
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same on every machine
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.labelsize": 12,
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
    "legend.fontsize": 11,
    "text.parse_math": False,  # a "$" in a name is a "$"
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.4,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "figure.constrained_layout.use": True,
}


def arm_look(number: int) -> tuple[str, str]:
    """Colour and marker for the number of a look; the first 64 are all different."""
    round_, first = divmod(number, len(ARM_LOOKS))
    return ARM_LOOKS[first][0], ARM_LOOKS[(first + round_) % len(ARM_LOOKS)][1]


@contextmanager
def drawing_rules() -> Iterator[None]:
    """Matplotlib with our settings only; the user's matplotlibrc does not change reports."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def new_figure(*heights_in: float, sharex: bool = True) -> list[Axes]:
    """The axes of a new figure, one per height, from top to bottom; use inside `drawing_rules`."""
    figure = Figure(figsize=(WIDTH_IN, sum(heights_in)))
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        len(heights_in), 1, squeeze=False, sharex=sharex, height_ratios=heights_in
    )
    return list(grid[:, 0])


def figure_of(axes: Axes) -> Figure:
    """The figure that `new_figure` made.

    Raises:
        ValueError: the axes have no figure.
    """
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("these axes belong to no figure")
    return figure


def legend_below(axes: Axes, columns: int = 2) -> None:
    """One legend below the figure, where it does not cover data."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure_of(axes).legend(handles, labels, loc="outside lower center", ncols=columns)


class _Percent(ScalarFormatter):
    """Fractions as percent, with as many decimals as the finest tick needs."""

    def format_ticks(self, values: Iterable[float]) -> list[str]:
        ticks = [100 * v for v in values]
        digits = next((d for d in range(3) if all(abs(t - round(t, d)) < 1e-6 for t in ticks)), 3)
        return [f"{t:.{digits}f}".replace("-", "−") for t in ticks]


def percent_ticks(axes: Axes, x: bool = False, y: bool = False) -> None:
    """Show fractions at the ticks in percent; the axis label has the sign."""
    if x:
        axes.xaxis.set_major_formatter(_Percent())
    if y:
        axes.yaxis.set_major_formatter(_Percent())


def to_png(axes: Axes) -> bytes:
    """PNG bytes at twice the screen resolution; equal figures give equal bytes."""
    figure = figure_of(axes)
    buffer = io.BytesIO()
    figure.set_dpi(200)
    # Not `savefig`, which draws everything twice for the same bytes.
    # Without Software: the version of matplotlib must not change the bytes.
    canvas = FigureCanvasAgg(figure)
    canvas.print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()
