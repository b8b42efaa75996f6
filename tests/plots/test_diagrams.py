"""Concept pictures: what they write and draw is what was computed."""

import numpy as np
import pytest
from diagram_samples import FLOW, IMAGES, LINES, STRIP, SURFACE
from matplotlib.colors import to_rgba

from helpers import plots
from helpers.plots import diagrams
from helpers.studies import gradient_flow, loss_landscape, toy_regions


def legend(figure):
    """Return the texts of all legends of a figure."""
    boxes = [*figure.legends, *(axis.get_legend() for axis in figure.axes if axis.get_legend())]
    return [text.get_text() for box in boxes for text in box.get_texts()]


def test_the_losses_in_the_picture_of_regions_are_those_at_the_ends_of_the_ways():
    regions = toy_regions.regions()
    figure = plots.regions_figure(regions, "A title")
    model, said = toy_regions.classifier(), " ".join(legend(figure))
    for name, path in regions.paths.items():
        (loss,) = loss_landscape.losses_of(model, path.images[-1:], regions.label)
        assert f"{name}: loss {loss:.2f} at its end" in said
    (loss,) = loss_landscape.losses_of(model, toy_regions.as_images(regions.point[None]), regions.label)
    assert f"the point: loss {loss:.2f}" in said


def test_the_ways_in_the_picture_of_regions_are_those_of_the_attacks():
    regions = toy_regions.regions()
    _, close = plots.regions_figure(regions, "A title").axes
    for name, path in regions.paths.items():
        (line,) = [line for line in close.get_lines() if line.get_label().startswith(name)]
        np.testing.assert_allclose(line.get_xydata(), path.images.reshape(-1, 2))
    (box,) = close.patches[:1]
    np.testing.assert_allclose(box.get_xy(), regions.point - regions.eps)
    assert box.get_width() == box.get_height() == pytest.approx(2 * regions.eps)


def test_the_surface_draws_shadows_in_grey_levels_and_says_where_they_end():
    figure = plots.surface_figure(SURFACE, "A title")
    axis, said = figure.axes[0], " ".join(legend(figure))
    for name, shadow in SURFACE.shadows.items():
        (line,) = [line for line in axis.get_lines() if str(line.get_label()).startswith(name)]
        np.testing.assert_allclose(line.get_xydata(), 255 * shadow)
        assert f"{name}, projected; loss {SURFACE.paths[name].losses[-1]:.1f}" in said


def test_the_lines_are_labelled_with_the_losses_at_eps():
    figure = plots.lines_figure(LINES, "A title")
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {f"{LINES.gradient[2]:.2f}", f"{LINES.random[:, 2].mean():.2f}"} <= texts
    assert LINES.finding == "Loss at eps: 2.00 along the gradient's sign, 0.20 along random signs"


def test_each_attackers_gradient_ends_where_it_should():
    """The squares show the gradients' signs: one at the image, the others at the classifier's input."""
    figure = plots.pipeline_figure(FLOW, "A title")
    places = {}
    for axis in figure.axes:
        for picture in axis.get_images():
            middle = axis.get_position().x0 + axis.get_position().width / 2
            for key, gradient in FLOW.gradients.items():
                if np.array_equal(picture.get_array(), np.clip(0.5 + np.sign(gradient) / 2, 0, 1)):
                    places[key] = middle
    assert set(places) == set(gradient_flow.ATTACKERS)
    columns = diagrams._COLUMNS
    assert places["adaptive"] == pytest.approx(columns["image"])
    assert places["grey_box"] == places["static"] == pytest.approx(columns["reconstructed"])


def test_the_strip_shows_the_answer_to_each_photograph_and_marks_the_wrong_ones():
    figure = plots.strip_figure(STRIP, (0, 2, 3), "A title")
    said = [axis.get_title(loc="center") for axis in figure.axes[:3]]
    assert said == ["step 0/255\nd\n90.0%", "step 2/255\nf\n95.0%", "step 3/255\nf\n99.0%"]
    assert [axis.title.get_fontweight() == "bold" for axis in figure.axes[:3]] == [False, True, True]
    for axis, k in zip(figure.axes, (0, 2, 3), strict=False):
        np.testing.assert_array_equal(axis.get_images()[0].get_array(), IMAGES[k])


@pytest.mark.parametrize(
    "figure",
    [
        lambda: plots.surface_figure(SURFACE, "A title"),
        lambda: plots.lines_figure(LINES, "A title"),
        lambda: plots.pipeline_figure(FLOW, "A title"),
    ],
)
def test_the_paper_is_white_on_a_dark_page_too(figure):
    assert figure().get_facecolor() == to_rgba("white")
