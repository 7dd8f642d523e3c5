"""Pictures: the look, and the text for who cannot see them."""

import sys
from base64 import b64decode

import IPython.display
import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from ipywidgets import IntSlider

from llmtok.plots import COLOURS, figure, play, show


@pytest.fixture
def shown(monkeypatch):
    """What `show` displays."""
    plt.switch_backend("agg")
    displayed = []
    monkeypatch.setattr(IPython.display, "display", displayed.append)
    return displayed


def test_show_says_what_is_seen(shown):
    fig, ax = figure()
    ax.plot([1, 2])
    show(fig, alt="A line that rises.")
    data, metadata = shown[0]._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"} or set(data) == {"image/png"}
    assert metadata["image/png"]["alt"] == "A line that rises."
    assert shown[0].data.startswith(b"\x89PNG")
    assert b"Software" not in shown[0].data  # else the file changes with every release of Matplotlib
    assert not plt.fignum_exists(fig.number)  # else JupyterLab shows it a second time


def test_same_picture_same_bytes(shown):
    for _ in range(2):
        fig, ax = figure()
        ax.bar(["a", "b"], [1, 2])
        show(fig, alt="Two bars.")
    assert shown[0].data == shown[1].data


def test_one_look(shown):
    before = dict(matplotlib.rcParams)
    fig, (left, right) = figure(1, 2, figsize=(9, 3))
    for ax in (left, right):
        ax.plot([1, 2], label="rises")
        ax.plot([2, 1], label="falls")
        ax.legend()
    left.set_title("What was found")
    right.set_title("On the right", fontsize=8)
    show(fig, alt="Lines.")
    assert dict(matplotlib.rcParams) == before  # nothing global
    assert [line.get_color() for line in left.lines] == COLOURS[:2]
    assert left.get_title(loc="left") == "What was found" and left.get_title() == ""
    assert left._left_title.get_fontweight() == "bold" and left._left_title.get_fontsize() == 11
    assert right._left_title.get_fontsize() == 8
    assert not left.get_legend().get_frame_on()
    assert not left.spines["top"].get_visible() and left.spines["bottom"].get_visible()
    assert fig.get_facecolor() == (1.0, 1.0, 1.0, 1.0)  # readable on a dark page
    assert list(fig.get_size_inches()) == [9, 3]


@pytest.fixture
def played(monkeypatch):
    """What `play` displays: its data and metadata."""
    plt.switch_backend("agg")
    displayed = []
    monkeypatch.setattr(
        IPython.display, "display", lambda data, raw, metadata: displayed.append((data, metadata))
    )
    return displayed


def widgets_of(data):
    """The controls and what stands below them, of a live view."""
    from ipywidgets.widgets import widget

    view = data["application/vnd.jupyter.widget-view+json"]
    assert view.keys() == {"version_major", "version_minor", "model_id"} and view["version_major"] == 2
    every = (
        widget._instances if hasattr(widget, "_instances") else widget.Widget.widgets
    )  # ipywidgets 8, or 7
    return every[view["model_id"]].children


def test_play_a_table(played):
    slider = IntSlider(2, 1, 9)
    play(lambda k: pd.DataFrame({"squared": [k**2], "title": ["<b>"]}), {"k": slider})
    [(data, metadata)] = played
    assert not metadata
    assert "<td>4</td>" in data["text/html"] and "&lt;b&gt;" in data["text/html"]
    assert data["text/plain"].split() == ["squared", "title", "0", "4", "<b>"]
    grid, table = widgets_of(data)
    assert grid.children == (slider,) and table.value == data["text/html"]
    slider.value = 5
    assert "<td>25</td>" in table.value


def test_play_a_picture(played):
    def draw(k):
        fig, ax = figure()
        ax.plot([0, k])
        return fig, f"from 0 to <{k}>"

    slider, open_before = IntSlider(2, 1, 9), plt.get_fignums()
    play(draw, {"k": slider})
    [(data, metadata)] = played
    assert data["text/plain"] == metadata["image/png"]["alt"] == "from 0 to <2>"
    _, picture, line = widgets_of(data)
    assert b64decode(data["image/png"]) == picture.value and line.value == "from 0 to &lt;2&gt;"
    before = picture.value
    slider.value = 9
    assert picture.value != before and line.value == "from 0 to &lt;9&gt;"
    assert plt.get_fignums() == open_before


def test_play_on_colab(shown, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    slider = IntSlider(2, 1, 9)
    play(lambda k: pd.DataFrame({"squared": [k**2]}), {"k": slider})
    [live] = shown  # itself: Colab knows what to do with a widget
    grid, table = live.children
    assert grid.children == (slider,)
    slider.value = 5
    assert "<td>25</td>" in table.value
