"""Exercises that a learner can check alone: what is wrong is said, not only that it is."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from html import escape

OPEN = "Open: put your answer in place of the dots, and run this cell again."


def self_check(check: Callable[..., str]) -> Callable[..., Verdict]:
    """Turn a check of answers into one that never raises, and says what is wrong in one line.

    Parameters
    ----------
    check : function
        Takes the answers. Asserts what must hold, with a message for a learner on each ``assert``, the likely
        mistakes first; returns what the right answer shows.

    Returns
    -------
    function
        Takes the same answers, and returns a `Verdict` that begins with ``Open`` (an answer, or what a function
        gives back, is still ``...``), ``Not yet`` or ``Right``.

    Examples
    --------
    >>> @self_check
    ... def check_mean(mean):
    ...     assert mean != 6, "this is the sum; divide it by how many there are"
    ...     assert mean == 2, "add the numbers up and divide by how many there are"
    ...     return "The mean of 1, 2 and 3."
    >>> check_mean(...)
    'Open: put your answer in place of the dots, and run this cell again.'
    >>> check_mean(6)
    'Not yet: this is the sum; divide it by how many there are'
    >>> check_mean(2)
    'Right. The mean of 1, 2 and 3.'
    """

    @functools.wraps(check)
    def tell(*answers):
        try:
            return Verdict("Right. " + check(*map(_watch, answers)))
        except _Open:
            return Verdict(OPEN)
        except AssertionError as wrong:
            return Verdict(f"Not yet: {_first_line(wrong)}")
        except Exception as error:
            return Verdict(f"Not yet: {type(error).__name__}{_place(error, answers)}: {_first_line(error)}")

    return tell


class Verdict(str):
    """What a check says: a text, with a coloured edge where a notebook shows it."""

    def _repr_html_(self) -> str:
        mark, colour = {"R": ("✔", "#009E73"), "N": ("✘", "#D55E00"), "O": ("…", "#777777")}[self[0]]
        edge = f"border-left: 4px solid {colour}; padding: 0.2em 0.8em"  # the theme's own colour of text, dark too
        return f'<div style="{edge}">{mark} {escape(self)}</div>'


class _Open(Exception):
    """The exercise has not been begun."""


def _watch(answer):
    """Notice an answer that is still dots; of a function, what it gives back."""
    if answer is ...:
        raise _Open
    if not callable(answer):
        return answer

    @functools.wraps(answer)
    def watched(*args, **kwargs):
        result = answer(*args, **kwargs)
        if result is ...:
            raise _Open
        assert result is not None, f"`{answer.__name__}` gives nothing back: does it end on a `return`?"
        return result

    return watched


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _place(error: Exception, answers: tuple) -> str:
    """Name the line where a learner's function stopped."""
    own = {answer.__code__.co_filename for answer in answers if hasattr(answer, "__code__")}
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename in own]
    return f" in line {lines[-1]} of your cell" if lines else ""
