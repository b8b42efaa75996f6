"""The picture of the rooms in CONTRIBUTING.md is the one that the imports give."""

from helpers.maintain import rooms


def test_the_picture_is_todays():
    page = rooms.PAGE.read_text()
    assert rooms.renewed(page) == page, "write it anew: python -m helpers.maintain.rooms"


def test_an_arrow_that_follows_from_others_is_left_out():
    edges = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert rooms.reduced(edges) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_only_the_picture_is_renewed(monkeypatch):
    monkeypatch.setattr(rooms, "diagram", lambda: "new")
    assert rooms.renewed("before <!-- rooms -->old<!-- /rooms --> after") == (
        "before <!-- rooms -->\nnew\n<!-- /rooms --> after"
    )
