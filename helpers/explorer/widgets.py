"""The explorer's controls.

show(networks, choice, number, frames(views))      # controls where a kernel runs, fixed frames elsewhere
"""

from __future__ import annotations

import html
import time
from collections.abc import Mapping

import ipywidgets as widgets
import numpy as np

from ..settings import WIDGET_MIME, CourseError
from ..studies.first_look import Strip
from ..studies.image_files import read_image
from .display import STYLE, page, picture
from .views import Choice, Networks, explore, test_image
from .wording import ATTACKS, STAGES, THREATS

LARGEST_EPS, LARGEST_STEPS = 32, 50
ANY = -1
"""The class "any". Not None, which would leave the control empty."""

ELSEWHERE = (
    "The explorer appears here while the notebook runs (make lab). The pictures below show what it does."
)

SLIDER_ELSEWHERE = "A slider appears here while the notebook runs (make lab). The strip below shows the same."


def show(networks: Networks, choice: Choice = Choice(), number: int = 0, fixed: str = "") -> Panel:  # noqa: B008
    """Display the controls, or ``fixed`` on a page without a kernel.

    Args:
        networks: what load returns.
        fixed: HTML (frames).
        choice: the initial choice.
        number: the number of the first test image.
    """
    from IPython.display import display

    panel = Panel(networks, choice, number)
    content = {WIDGET_MIME: panel.box._repr_mimebundle_()[WIDGET_MIME], "text/plain": ELSEWHERE}
    display(content | ({"text/html": fixed} if fixed else {}), raw=True)
    return panel


def slider(strip: Strip) -> widgets.IntSlider:
    """Display a photograph under a slider that chooses the step's size; nothing on a page without a kernel.

    Args:
        strip: what was computed (studies.first_look.strip).
    """
    from IPython.display import display

    control = widgets.IntSlider(0, min=0, max=len(strip.levels) - 1, description="step, of 255")
    output = widgets.HTML()

    def show_step(_=None) -> None:
        said, image = strip.said[control.value], strip.images[control.value]
        shown = picture("attacked", image, said, "", said)
        output.value = f'{STYLE}<div class="explorer"><div class="pictures">{shown}</div></div>'

    control.observe(show_step, "value")
    show_step()
    box = widgets.VBox([control, output])
    display({WIDGET_MIME: box._repr_mimebundle_()[WIDGET_MIME], "text/plain": SLIDER_ELSEWHERE}, raw=True)
    return control


def _dropdown(
    description: str, titles: Mapping[str, str], value: str, width: str = "21em"
) -> widgets.Dropdown:
    return widgets.Dropdown(
        options=[(title, key) for key, title in titles.items()],
        value=value,
        description=description,
        style={"description_width": "6.5em"},
        layout=widgets.Layout(width=width),
    )


class Panel:
    """The controls, and below them the chosen view.

    A callback computes while the kernel is busy. Meanwhile the browser keeps only the latest position of a
    slider, so the view is never more than one position behind.

    Attributes:
        box: the widget to display.
        view: what is shown.
    """

    def __init__(self, networks: Networks, choice: Choice = Choice(), number: int = 0):  # noqa: B008
        self.networks, self.view, self._quiet = networks, None, False
        self._uploaded: np.ndarray | None = None
        self._make_controls(choice, number)
        self.message, self.output, self.seconds = widgets.HTML(), widgets.HTML(), widgets.HTML()
        columns = [
            widgets.VBox([self.kind, self.number, self.upload]),
            widgets.VBox([self.attack, self.threat, self.eps, self.steps]),
            widgets.VBox([self.stage, self.defense]),
        ]
        controls = widgets.HBox(columns, layout=widgets.Layout(flex_flow="row wrap"))
        self.box = widgets.VBox([controls, self.message, self.output, self.seconds])
        self.kind.observe(self._on_class, "value")
        self.number.observe(self._on_number, "value")
        self.upload.observe(self._on_upload, "value")
        for control in (self.attack, self.threat, self.eps, self.steps, self.stage, self.defense):
            control.observe(lambda _: self.refresh(), "value")
        self.refresh()

    def _make_controls(self, choice: Choice, number: int) -> None:
        labels, classes = set(self.networks.images.labels), self.networks.classes
        kinds = {"any class": ANY} | {name: k for k, name in enumerate(classes) if k in labels}
        last, level = len(self.networks.images) - 1, round(255 * choice.eps)
        upload = {"description": "or upload an image", "accept": "image/*"}
        place = widgets.Layout(width="14em", margin="2px 2px 2px 7em")
        look = {"style": {"description_width": "6.5em"}, "layout": widgets.Layout(width="21em")}
        self.kind = widgets.Dropdown(options=list(kinds.items()), description="Test images", **look)
        self.number = widgets.BoundedIntText(number, min=0, max=last, description="Number", **look)
        self.upload = widgets.FileUpload(layout=place, **upload)
        self.attack = _dropdown("Attack", ATTACKS, choice.attack)
        self.threat = _dropdown("It knows", THREATS, choice.threat, width="27em")
        highest = max(LARGEST_EPS, level)
        self.eps = widgets.IntSlider(level, min=0, max=highest, description="eps, of 255", **look)
        self.steps = widgets.IntSlider(choice.steps, min=1, max=LARGEST_STEPS, description="Steps", **look)
        self.stage = _dropdown("Network", STAGES, choice.stage)
        preprocessed = choice.defense == "ae"
        self.defense = widgets.Checkbox(preprocessed, description="autoencoder before it", **look)

    @property
    def choice(self) -> Choice:
        """The state of the controls."""
        return Choice(
            self.attack.value,
            self.threat.value,
            self.eps.value / 255,
            self.steps.value,
            self.stage.value,
            "ae" if self.defense.value else "none",
        )

    @property
    def image(self) -> tuple[np.ndarray, int | None]:
        """The chosen image, and its class if it is known."""
        if self._uploaded is not None:
            return self._uploaded, None
        return test_image(self.networks, int(self._numbers()[self.number.value]))

    def refresh(self) -> None:
        """Compute the view for the present state and show it."""
        if self._quiet:
            return
        begin, choice = time.perf_counter(), self.choice
        self.threat.disabled = choice.attack in ("none", "noise")
        self.eps.disabled = choice.attack == "none"
        self.steps.disabled = choice.attack != "pgd"
        try:
            self.view = explore(self.networks, *self.image, choice)
            self.output.value = f'{STYLE}<div class="explorer">{page(self.view)}</div>'
            self.seconds.value = f"<small>computed in {1000 * (time.perf_counter() - begin):.0f} ms</small>"
        except CourseError as error:
            self._say(str(error))

    def _numbers(self) -> np.ndarray:
        """Return the numbers of the test images of the chosen class."""
        labels = self.networks.images.labels
        return np.arange(len(labels)) if self.kind.value == ANY else np.flatnonzero(labels == self.kind.value)

    def _on_class(self, _) -> None:
        self._quiet = True  # the number may change as well, which is to give one view and not two
        self.number.max = max(0, len(self._numbers()) - 1)
        self.number.value = 0
        self._quiet = False
        self._on_number(_)

    def _on_number(self, _) -> None:
        self._uploaded = None
        self._say("")
        self.refresh()

    def _on_upload(self, change) -> None:
        if not change["new"]:
            return
        file = change["new"][0]
        try:
            self._uploaded = read_image(bytes(file["content"]))
        except CourseError as error:
            self._say(f"{file['name']}: {error}.")
            return
        self._say(
            f"{file['name']}: the square in its middle, as 32×32. Its class is unknown, so the attack leads "
            "away from the network's own answer. Choose a number to go back to the test images."
        )
        self.refresh()

    def _say(self, text: str) -> None:
        self.message.value = f'<div class="explorer" role="alert">{html.escape(text)}</div>' if text else ""
