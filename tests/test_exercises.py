"""A check says what is wrong, and never raises."""

import doctest

import pytest

import llmtok.exercises
from llmtok.exercises import OPEN, Verdict, self_check


@self_check
def check_length(length):
    assert length([]) == 0, "an empty list has length 0"
    assert length([1, 2]) == 2, f"two things, and not {length([1, 2])}"
    return "Counted."


def test_examples():
    assert doctest.testmod(llmtok.exercises).failed == 0


@pytest.mark.parametrize("answer", [..., lambda items: ...])
def test_open(answer):
    assert check_length(answer) == OPEN


def test_right():
    assert check_length(len) == "Right. Counted."


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda items: 1, "an empty list has length 0"),
        (lambda items: 3 if items else 0, "two things, and not 3"),
        (lambda items: None, "`<lambda>` gives nothing back: does it end on a `return`?"),
        (7, "TypeError: 'int' object is not callable"),
    ],
)
def test_wrong(answer, said):
    assert check_length(answer) == f"Not yet: {said}"


def test_an_error_in_the_answer_is_one_line_with_its_place():
    cell = compile("def length(items):\n    count = 0\n    return count + items.size", "<cell>", "exec")
    names = {}
    exec(cell, names)
    said = check_length(names["length"])
    assert said == "Not yet: AttributeError in line 3 of your cell: 'list' object has no attribute 'size'"


def test_an_answer_that_is_an_array_is_not_taken_for_dots():
    import numpy as np

    @self_check
    def check_shape(array):
        assert array.shape == (2,), f"the shape is {array.shape}"
        return "Two numbers."

    assert check_shape(np.zeros(2)) == "Right. Two numbers."
    assert check_shape(np.zeros(3)) == "Not yet: the shape is (3,)"


def test_an_answer_with_a_name_is_still_found_by_it():
    @self_check
    def check_name(function):
        assert function.__name__ == "mine", "keep the name"
        return "Kept."

    def mine():
        return 1

    assert check_name(mine) == "Right. Kept."


@pytest.mark.parametrize(("text", "mark"), [("Right. A <b>", "✔"), ("Not yet: <b>", "✘"), (OPEN, "…")])
def test_seen_in_a_notebook(text, mark):
    html = Verdict(text)._repr_html_()
    assert mark in html and "<b>" not in html  # a learner's text is never markup
    assert repr(Verdict(text)) == repr(text)
