"""One look for the pictures of the course, and their way into a notebook: with a text for who cannot see."""

from __future__ import annotations

import io
import sys
from base64 import b64encode
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipywidgets import Widget
    from matplotlib.figure import Figure
    from pandas import DataFrame

# Okabe and Ito's palette, made to be told apart by colour-blind readers: https://jfly.uni-koeln.de/color/
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000"]

_STYLE = {
    "figure.figsize": (7.0, 3.6),
    "figure.dpi": 110,
    "figure.facecolor": "white",  # readable in JupyterLab's dark theme too
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.8,
}


def figure(nrows: int = 1, ncols: int = 1, **kwargs):
    """Make a figure and its axes in the course's style; arguments as for ``matplotlib.pyplot.subplots``."""
    import matplotlib.pyplot as plt

    colours = plt.cycler(color=COLOURS)
    with plt.rc_context({**_STYLE, "axes.prop_cycle": colours}):
        return plt.subplots(nrows, ncols, layout="constrained", **kwargs)


def show(fig, alt: str) -> None:
    """Show a figure in the notebook, with `alt`, which tells in words what the picture shows."""
    from IPython.display import Image, display

    display(Image(_png(fig), format="png", metadata={"alt": alt}))  # IPython 7, on Colab, has no `alt=`


def play(
    draw: Callable[..., DataFrame | tuple[Figure, str]], controls: dict[str, Widget], columns: int = 1
) -> None:
    """Show what `draw` makes of some controls, and make it anew whenever one of them is moved.

    Where no kernel runs (a saved notebook on the web, a page), what the controls begin with stands in its place.

    Parameters
    ----------
    draw : function
        Takes the values of the controls by name. Gives a table; or a Matplotlib figure and a line that says in
        words and numbers what is to be seen on it, which is also its alt text.
    controls : dict of str to ipywidgets widget
        One for each argument of `draw`.
    columns : int
        How many controls stand side by side.

    Examples
    --------
    >>> from ipywidgets import IntSlider
    >>> play(lambda k: pd.DataFrame({"numbers": [k]}), {"k": IntSlider(50, 1, 100)})  # doctest: +SKIP
    """
    from IPython.display import display
    from ipywidgets import HTML, GridBox, Image, Layout, VBox

    table, picture, line = HTML(), Image(format="png"), HTML()
    picture.layout = Layout(width="100%", max_width="max-content")

    def make():
        made = draw(**{name: control.value for name, control in controls.items()})
        if isinstance(made, tuple):
            picture.value, line.value = _png(made[0]), escape(made[1])
            return made[1]
        look = '<div class="jp-RenderedHTMLCommon">{}</div>'  # JupyterLab's own, in a widget too
        table.value = look.format(made.to_html(border=0, justify="left"))
        return made.to_string()

    text = make()
    for control in controls.values():
        control.observe(lambda _: make(), "value")
    grid = Layout(grid_template_columns=f"repeat({columns}, max-content)", grid_gap="2px 16px")
    shown = [picture, line] if picture.value else [table]
    live = VBox([GridBox(list(controls.values()), layout=grid), *shown])
    if "google.colab" in sys.modules:  # which may show what stands in its place, though a kernel runs
        display(live)
        return
    # What a front end without these widgets shows. `normalise` leaves only that in a saved notebook.
    still = {"image/png": b64encode(picture.value).decode()} if picture.value else {"text/html": table.value}
    metadata = {"image/png": {"alt": text}} if picture.value else {}
    # By hand, for ipywidgets 7 has no `_repr_mimebundle_`.
    view = {"version_major": 2, "version_minor": 0, "model_id": live.model_id}
    live_or_still = {"application/vnd.jupyter.widget-view+json": view, **still, "text/plain": text}
    display(live_or_still, raw=True, metadata=metadata)


def _png(fig) -> bytes:
    """Draw a figure in the course's style, and close it."""
    import matplotlib.pyplot as plt

    for ax in fig.axes:  # Matplotlib reads these from its settings later, when a title or a legend is made
        if title := ax.get_title():
            size = min(ax.title.get_fontsize(), 11)
            ax.set_title("")
            ax.set_title(title, loc="left", fontsize=size, fontweight="bold")
        if legend := ax.get_legend():
            legend.set_frame_on(False)
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=fig.dpi, metadata={"Software": None})
    plt.close(fig)
    return buffer.getvalue()
