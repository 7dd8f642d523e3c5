"""One look for the pictures of the course, and their way into a notebook: with a text for who cannot see."""

from __future__ import annotations

import io

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
    import matplotlib.pyplot as plt
    from IPython.display import Image, display

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
    display(Image(buffer.getvalue(), format="png", alt=alt))
