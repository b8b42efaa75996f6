"""Titles: the words for the reader."""

import pytest

from helpers.evaluation import titles


@pytest.mark.parametrize(
    ("title", "begun"), [("PGD training", "PGD training"), ("one step", "One step"), ("", "")]
)
def test_titles_that_begin_a_sentence_keep_their_capitals(title, begun):
    assert titles.capitalize(title) == begun
