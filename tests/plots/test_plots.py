"""Figures: one style, colours for colour-blind readers, text that is legible on paper, the same bytes."""

import inspect

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from diagram_samples import FLOW, LINES, STRIP, SURFACE
from matplotlib import rc_params_from_file
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D
from matplotlib.text import Text

from helpers import evaluation, plots, settings
from helpers.pipeline import published
from helpers.studies import toy_regions
from helpers.sweeps import cost

PRINTED = (210 - 2 * 16) / 25.4
"""Inches between the margins of the report's A4 pages (report.css)."""

SMALLEST = 6.5
"""Points, on paper. Journals ask for 5 to 7 at least."""


def record(percent, **fields):
    common = {
        "dataset": "cifar10",
        "profile": "smoke",
        "model": "resnet20",
        "stage": "initial",
        "defense": "none",
        "input": "pgd",
        "threat": "static",
        "eps": 8 / 255,
        "steps": 10,
        "seed": 0,
    }
    return evaluation.record(np.arange(200) < 2 * percent, **{**common, **fields})


TABLE = [record(v, input=i, stage=s, defense=d) for (i, s, d), v in published.PAPER["resnet20"].items()]
AWARE = [
    record(r["accuracy"] * 10, threat=t, **{k: r[k] for k in ("stage", "defense", "input")})
    for r in TABLE
    for t in ("grey_box", "adaptive")
]
HISTORY = [{"loss": 1 / k, "accuracy": 1 - 1 / k} for k in range(1, 12)]
BUDGETS = [
    record(90 - 4 * k, eps=k / 255, input=i) for k in range(0, 17, 4) for i in ("noise", "fgsm", "pgd")
]
KINDS = ("seed", "departure", "departure")
AUDIT = {
    "rows": [
        {"title": "the course", "records": TABLE},
        *(
            {
                "title": "a departure with a long title",
                "kind": kind,
                "records": TABLE,
                "differences": [{"points": 10.0, "low": 5, "high": 15}] * 12,
            }
            for kind in KINDS
        ),
    ]
}
STEPS = [
    {"input": "pgd", "defense": "ae", **step}
    for step in (
        {"cause": "course", "title": "the course", "accuracy": 57.7},
        {
            "cause": "autoencoder",
            "title": "the recipe (the released one)",
            "points": 1.5,
            "least": 0,
            "most": 3,
        },
        {
            "cause": "raw_gradient",
            "title": "the raw gradient (only it)",
            "points": -4.0,
            "least": -6,
            "most": 2,
        },
        {"cause": "base", "title": "base network (mixup and label smoothing)", "points": 9.0},
        {"cause": "paper", "title": "the paper", "accuracy": 72.8, "points": 8.6},
    )
]
IMAGES = np.random.default_rng(0).random((8, 32, 32, 3)).astype(np.float32)

MAP = pd.DataFrame({5: [80.0, 60.0], 10: [70.0, 50.0]}, index=[2.0, 8.0])
FIGURES = {
    "regions_figure": lambda: plots.regions_figure(toy_regions.regions(), "A title"),
    "strip_figure": lambda: plots.strip_figure(STRIP, (0, 2, 3), "A title"),
    "surface_figure": lambda: plots.surface_figure(SURFACE, "A title"),
    "lines_figure": lambda: plots.lines_figure(LINES, "A title"),
    "pipeline_figure": lambda: plots.pipeline_figure(FLOW, "A title"),
    "gallery": lambda: plots.gallery(
        {"original": IMAGES, "attacked": IMAGES}, {"original": ["automobile"] * 8}
    ),
    "accuracy_curve": lambda: plots.accuracy_curve(BUDGETS, "eps", "eps (1/255)", "A title", 255),
    "steps_figure": lambda: plots.steps_figure(
        [{**record(a), "steps": s} for s, a in enumerate((90, 14, 1, 0))],
        "A title",
        {"FGSM": {**record(20), "steps": 1}},
    ),
    "training_curve": lambda: plots.training_curve(
        HISTORY, {"loss": "training", "accuracy": "validation"}, "loss", "A title"
    ),
    "results_figure": lambda: plots.results_figure(TABLE, "resnet20", "A title"),
    "answer_figure": lambda: plots.answer_figure(
        {"built again": TABLE[0], "its attacker knows it": TABLE[1]}, "A title", ("the paper's claim", 79.36)
    ),
    "sources_figure": lambda: plots.sources_figure(
        {
            "initial": {"clean": record(92), "PGD": record(0)},
            "fine-tuned": {"clean": record(86), "PGD": record(77)},
        },
        "A title",
    ),
    "paper_figure": lambda: plots.paper_figure(TABLE, "resnet20", "A title"),
    "threats_figure": lambda: plots.threats_figure(TABLE + AWARE, "A title"),
    "knowledge_figure": lambda: plots.knowledge_figure(TABLE, AWARE, "A title"),
    "ladder_figure": lambda: plots.ladder_figure(
        {"initial": {f"PGD on something {k}": record(9 * k) for k in range(9)}},
        {"initial": record(90)},
        "A title",
    ),
    "budgets_figure": lambda: plots.budgets_figure(
        {"PGD end-to-end": BUDGETS[::3], "noise": BUDGETS[1::3]}, "A"
    ),
    "certified_figure": lambda: plots.certified_figure(
        {"sigma 0.25": BUDGETS[::3]}, published.PUBLISHED_CERTIFICATES, 8 / 255, "A title"
    ),
    "tradeoff_figure": lambda: plots.tradeoff_figure(
        {"this": (record(90), record(5))}, published.ROBUSTBENCH, "A title"
    ),
    "hump_figure": lambda: plots.hump_figure(
        [128, 512, 4096],
        {"clean": [record(20), record(70), record(90)], "PGD": [record(20), record(60), record(10)]},
        "A title",
        curve=np.array([-0.05, 0.9, -3.5]),
        bare={"clean": record(92)},
        further={"PGD": [np.array([0.2, 0.5, 0.1])]},
        marked=1,
    ),
    "passing_figure": lambda: plots.passing_figure(
        [128, 512, 4096],
        [0.01, 0.002, 0.0005],
        {"PGD": [(0.1, 0.09, 0.11), (0.3, 0.29, 0.31), (0.9, 0.88, 0.92)]},
        "A title",
    ),
    "pareto_figure": lambda: plots.pareto_figure(
        {"VQ-VAE": (2304, 0.6), "8 x 8 x 2": (4096, 0.2), "Table 1": (16384, 0.63)},
        ["VQ-VAE", "Table 1"],
        {"VQ-VAE": "codebook", "8 x 8 x 2": "Table 1's form", "Table 1": "Table 1's form"},
        "A title",
    ),
    "attackers_figure": lambda: plots.attackers_figure(
        {
            f"autoencoder {k} (16,384 bits)": {
                "clean": record(90),
                "PGD": record(50),
                "PGD end-to-end": record(1),
            }
            for k in range(14)
        },
        "A title",
    ),
    "error_figure": lambda: plots.error_figure(
        {"a": 0.0003, "b": 0.008},
        {"no attack": {"a": record(92), "b": record(21)}, "static PGD": {"a": record(9), "b": record(20)}},
        0.0006,
        "A title",
        {"a": "the smallest error", "b": "Table 1"},
    ),
    "codes_figure": lambda: plots.codes_figure(np.arange(512), "A title", "500 test images, not attacked"),
    "audit_figure": lambda: plots.audit_figure(AUDIT, "A title"),
    "waterfall_figure": lambda: plots.waterfall_figure([STEPS] * 4, "A title"),
    "heat_maps": lambda: plots.heat_maps({"static": MAP, "adaptive": MAP / 9}, "A title"),
    "seeds_figure": lambda: plots.seeds_figure(
        {"a claim": [{"seed": k % 3, "points": 10.0 + k} for k in range(12)]}, "A title"
    ),
    "spread_figure": lambda: plots.spread_figure(
        [
            {"eps": k / 255, "steps": 10, "by_seed": {0: 70.0, 1: 70.0 + k}, "low": 60.0, "high": 80.0}
            for k in range(1, 13)
        ],
        "A title",
    ),
    "cost_figure": lambda: plots.cost_figure(cost.recorded()["steps"], "A title", cost.line),
}


DPI = 50
"""Dots an inch of the files; few, so that they are made quickly."""


@pytest.fixture(scope="module", params=FIGURES)
def drawn(request):
    """A figure's name, its PNG file, and the figure."""
    figure = FIGURES[request.param]()
    return request.param, as_file(figure), figure


def as_file(figure):
    with plt.rc_context({"savefig.dpi": DPI}):
        return plots.png(figure, "smoke run")


def test_every_figure_is_looked_at():
    drawers = {
        name
        for name, function in inspect.getmembers(plots, inspect.isfunction)
        if inspect.signature(function).return_annotation == "Figure"
    }
    assert drawers == set(FIGURES)


@pytest.mark.deep
def test_the_same_figure_has_the_same_bytes(drawn):
    name, first, _ = drawn
    assert as_file(FIGURES[name]()) == first


@pytest.mark.deep
def test_a_file_names_neither_a_program_nor_a_time(drawn):
    _, first, _ = drawn
    assert b"Software" not in first and b"tIME" not in first and b"Matplotlib" not in first


def test_text_can_be_read_on_paper(drawn):
    _, file, figure = drawn
    width = int.from_bytes(file[16:20], "big") / DPI
    scale = min(1, PRINTED / width)
    for text in figure.findobj(
        lambda artist: isinstance(artist, Text) and artist.get_text() and artist.get_visible()
    ):
        assert text.get_fontsize() * scale >= SMALLEST, (
            f"{text.get_text()!r}: {text.get_fontsize() * scale:.1f} points"
        )


def test_lines_have_colours_that_the_colour_blind_tell_apart(drawn):
    *_, figure = drawn
    palette = {to_hex(color) for color in sns.color_palette("colorblind")}
    for line in figure.findobj(Line2D):
        color = line.get_color()
        red, green, blue = to_rgb(color)
        assert to_hex(color) in palette or max(red, green, blue) - min(red, green, blue) < 0.02, color


def test_the_style_file_is_in_force():
    assert plots.PALETTE
    style = rc_params_from_file(
        settings.ROOT / "helpers" / "plots" / "course.mplstyle", use_default_template=False
    )
    assert len(style) > 10 and all(plt.rcParams[name] == value for name, value in style.items())
    assert set(style["axes.prop_cycle"].by_key()["color"]) <= {
        to_hex(c) for c in sns.color_palette("colorblind")
    }


def test_wrong_answers_stand_out_in_a_gallery(images):
    titles, wrong = {"row": ["cat", "dog"]}, {"row": [False, True]}
    first, second = plots.gallery({"row": images[:2]}, titles, wrong).axes
    assert (first.title.get_fontweight(), second.title.get_fontweight()) == ("normal", "bold")
    assert second.title.get_color() != first.title.get_color()


@pytest.mark.parametrize("cells", [3, 12])
def test_an_audit_of_few_cells_can_be_read_as_one_of_many(cells):
    rows = [
        {**row, "records": row["records"][:cells], "differences": row.get("differences", [])[:cells]}
        for row in AUDIT["rows"]
    ]
    figure = plots.audit_figure(
        {"rows": rows}, "What each departure does to the table, in points of accuracy"
    )
    figure.canvas.draw()
    boxes = sorted(
        (text.get_window_extent() for text in figure.axes[0].texts[:cells]), key=lambda box: box.x0
    )
    assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:], strict=False))
    assert figure.axes[0].title.get_window_extent().x1 <= figure.bbox.x1
    plt.close(figure)


def test_a_training_curve_has_its_marks_and_its_level():
    history = [{"loss": 1.0}, {"loss": 0.5}, {"loss": 0.25}]
    figure = plots.training_curve(
        history, {"loss": "loss"}, "loss", "t", marks={2.5: "second"}, level=(0.4, "before")
    )
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == ["second"]
    assert {0.4} in [set(line.get_ydata()) for line in axis.lines]
    assert "before" in [line.get_label() for line in axis.lines]


def test_a_hump_is_drawn_with_its_parabola_and_further_seeds():
    sizes, curve = [128, 512, 4096], np.array([-0.05, 0.9, -3.5])
    lines = {"clean": [record(20), record(70), record(90)], "PGD": [record(20), record(60), record(10)]}
    further = {"PGD": [np.array([0.2, 0.55, 0.1])]}
    figure = plots.hump_figure(sizes, lines, "t", curve=curve, further=further, marked=1)
    drawn = [line.get_ydata() for line in figure.axes[0].lines]
    assert any(len(y) == 200 and np.isclose(max(y), 55, atol=1) for y in drawn), "100 (0.9^2 / 0.2 - 3.5)"
    assert any(np.array_equal(y, 100 * further["PGD"][0]) for y in drawn)
    assert any(len(y) == 1 and y[0] == 60 for y in drawn), "the ring, on the last line"
    plt.close(figure)


def test_the_pareto_front_is_filled_and_named():
    points = {"VQ-VAE": (2304, 0.6), "8 x 8 x 2": (4096, 0.2), "Table 1": (16384, 0.63)}
    kinds = {"VQ-VAE": "codebook", "8 x 8 x 2": "Table 1's form", "Table 1": "Table 1's form"}
    figure = plots.pareto_figure(points, ["VQ-VAE", "Table 1"], kinds, "t")
    (axis,) = figure.axes
    assert {text.get_text() for text in axis.texts} == {"VQ-VAE", "Table 1"}
    hollow = [line.get_xdata()[0] for line in axis.lines if line.get_markerfacecolor() == "none"]
    assert hollow == [4096]
    plt.close(figure)


def test_the_error_figure_names_whom_it_is_told_to():
    errors = {"a": 0.0003, "b": 0.002, "c": 0.008}
    series = {"no attack": {name: record(50) for name in errors}}
    figure = plots.error_figure(errors, series, 0.0006, "t", {"a": "U-Net", "b": "Table 1"})
    (axis,) = figure.axes
    places = {text.get_text(): text.xy for text in axis.texts if text.get_text() != "guessing"}
    assert {name: x for name, (x, _) in places.items()} == {"U-Net": 0.0003, "Table 1": 0.002}
    assert places["U-Net"][1] != places["Table 1"][1], "in rows of their own"
    assert "validation images (FGSM and PGD)" in axis.get_xlabel() and "test images" in axis.get_ylabel()
    plt.close(figure)
