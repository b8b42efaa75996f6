"""The explorer's face: a view as HTML, the controls that ask for one, and the same without a kernel.

    show(networks)                      # in a notebook: controls where a kernel runs, fixed frames elsewhere

``page`` is what the controls and the frames share. It takes its text colours from JupyterLab's theme.
"""

from __future__ import annotations

import base64
import html
import io
import time
from collections.abc import Mapping, Sequence

import ipywidgets as widgets
import matplotlib.colors
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from .. import explorer, plots, settings
from ..settings import WIDGET_MIME, CourseError
from .views import ATTACKS, STAGES, THREATS, Choice, Networks, View, percent, with_article

BLUE, VERMILLION, GREY = (matplotlib.colors.to_hex(plots.PALETTE[k]) for k in (0, 3, 7))
LARGEST_EPS, LARGEST_STEPS = 32, 50
ANY = -1  # class; None would leave the control empty
ELSEWHERE = (
    "The explorer appears here while the notebook runs (make lab). The pictures below show what it does."
)

STYLE = f"""<style>
.explorer {{ line-height: 1.35; font-size: 14px; max-width: 62em; color: var(--jp-content-font-color1, inherit); }}
.explorer p, .explorer figure {{ margin: 0; }}
.explorer .verdict {{ border-left: 6px solid {GREY}; padding: 0.2em 0.7em; margin: 0.4em 0; }}
.explorer .verdict strong {{ font-size: 17px; font-weight: 600; }}
.explorer .verdict.right {{ border-color: {BLUE}; }}
.explorer .verdict.wrong {{ border-color: {VERMILLION}; }}
.explorer .view {{ display: flex; flex-wrap: wrap; gap: 0.8em 2.2em; align-items: flex-start; }}
.explorer .pictures {{ display: grid; grid-template-columns: repeat(2, 11em); gap: 0.8em; }}
.explorer .pictures img {{ width: 11em; height: 11em; display: block; margin: 0; image-rendering: pixelated; }}
.explorer .pictures .unused img {{ opacity: 0.45; }}
.explorer figcaption {{ font-size: 13px; }}
.explorer table {{ border-collapse: collapse; font-size: 13px; margin: 0; flex: 1 1 24em; max-width: 42em;
  table-layout: fixed; width: auto; border: none; }}
.explorer caption {{ text-align: left; padding-bottom: 0.3em; caption-side: top; }}
.explorer table tr, .explorer table td, .explorer table th {{ background: none; border: none; padding: 2px 4px;
  text-align: left; font-weight: normal; vertical-align: middle; white-space: nowrap; }}
.explorer thead th:first-child {{ width: 10.5em; }}
.explorer thead th + th {{ width: 4.2em; }}
.explorer thead th:last-child {{ width: auto; }}
.explorer table .number {{ text-align: right; font-variant-numeric: tabular-nums; }}
.explorer table .true th {{ font-weight: 700; }}
.explorer .bar {{ display: block; height: 7px; min-width: 1px; margin: 1px 0; print-color-adjust: exact; }}
.explorer .swatch {{ display: inline-block; width: 0.8em; height: 0.8em; print-color-adjust: exact; }}
.explorer .choices {{ display: flex; flex-wrap: wrap; gap: 0.3em 2.2em; margin-bottom: 0.4em; }}
.explorer fieldset {{ border: none; padding: 0; margin: 0; }}
.explorer fieldset legend, .explorer fieldset label {{ padding: 0; margin: 0 0.9em 0 0.15em; }}
.explorer fieldset legend {{ float: left; }}
.explorer .frame {{ display: none; }}
</style>"""


# ---------------------------------------------------------------------------------------------------------- a view


def page(view: View) -> str:
    """A view as HTML without its style sheet (STYLE): verdict, four pictures, the probabilities before and after."""
    right = {True: "right", False: "wrong", None: ""}[explorer.is_right(view)]
    return (
        f'<div class="verdict {right}" role="status"><strong>{html.escape(explorer.verdict(view))}</strong>'
        f"<p>{html.escape(explorer.threat_model(view.choice))}</p></div>"
        f'<div class="view"><div class="pictures">{_pictures(view)}</div>{_bars(view)}</div>'
    )


def _pictures(view: View) -> str:
    truth = "an uploaded image" if view.label is None else with_article(view.classes[view.label])
    used = view.choice.defense == "ae"
    largest = 255 * float(np.abs(view.change).max())
    scale = f" × {_times(0.5 / view.choice.eps)}" if view.changed else ""
    magnified = plots.magnified(view.change, view.choice.eps)
    note = f"grey: no change; largest {largest:.3g}/255" if view.changed else "no change"
    return (
        _picture("original", view.original, "original", truth, f"The original image: {truth}.")
        + _picture(
            "perturbation",
            magnified,
            f"perturbation{scale}",
            note,
            f"What the attack changed{scale}; {note}.",
        )
        + _picture("attacked", view.attacked, "attacked", "original + perturbation", "The attacked image.")
        + _picture(
            "reconstructed" if used else "reconstructed unused",
            view.reconstructed,
            "reconstructed",
            "what the network sees" if used else "not used: autoencoder off",
            "What the autoencoder makes of the attacked image.",
        )
    )


def _times(factor: float) -> str:
    return f"{factor:.0f}" if factor >= 10 else f"{factor:.1f}"


def _picture(name: str, image: np.ndarray, title: str, note: str, alt: str) -> str:
    return (
        f'<figure class="{name}"><img decoding="sync" src="data:image/png;base64,{_png(image)}" '
        f'alt="{html.escape(alt)}"><figcaption><b>{title}</b><br>{html.escape(note)}</figcaption></figure>'
    )


def _png(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.rint(255 * image).astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _bars(view: View) -> str:
    after = matplotlib.colors.to_hex(plots.COLORS.get(view.choice.attack, plots.COLORS["regular"]))
    rows = "".join(
        f'<tr{" class=true" if k == view.label else ""}><th scope="row">{html.escape(name)}'
        f"{' (true class)' if k == view.label else ''}</th>"
        f'<td class="number">{percent(view.before[k])}</td><td class="number">{percent(view.after[k])}</td>'
        f"<td>{_bar(view.before[k], BLUE)}{_bar(view.after[k], after)}</td></tr>"
        for k, name in enumerate(view.classes)
    )
    system = (
        f"{STAGES[view.choice.stage]} network, autoencoder {'on' if view.choice.defense == 'ae' else 'off'}"
    )
    heads = "".join(
        f'<th scope="col" class="number"><span class="swatch" style="background:{color}"></span> {name}</th>'
        for name, color in (("before", BLUE), ("after", after))
    )
    return (
        f'<table><caption>Class probabilities: {system}</caption><thead><tr><th scope="col">class</th>{heads}<td></td>'
        f"</tr></thead><tbody>{rows}</tbody></table>"
    )


def _bar(probability: float, color: str) -> str:
    return f'<span class="bar" style="width:{100 * probability:.1f}%;background:{color}"></span>'


# ------------------------------------------------------------------------------------------------- without a kernel


def frames(views: Mapping[tuple[str, float], View], name: str = "frames") -> str:
    """Views by (threat, eps) as one piece of HTML that shows one at a time, the paper's budget first: radio buttons and
    a style sheet, no script, so that it works where scripts are stripped or forbidden.

    Args:
        name: of the radio buttons; another one for each such piece on a page.
    """
    threats = list(dict.fromkeys(threat for threat, _ in views))
    budgets = list(dict.fromkeys(eps for _, eps in views))
    rules = ",".join(
        f"#{name}:has(#{name}-threat-{i}:checked):has(#{name}-eps-{k}:checked) .{name}-{i}-{k}"
        for i in range(len(threats))
        for k in range(len(budgets))
    )
    pages = "".join(
        f'<div class="frame {name}-{threats.index(threat)}-{budgets.index(eps)}">{page(view)}</div>'
        for (threat, eps), view in views.items()
    )
    levels = [f"{255 * eps:.3g}" for eps in budgets]
    nearest = min(range(len(budgets)), key=lambda k: abs(budgets[k] - settings.EPS))
    buttons = _radios(f"{name}-eps", "eps, of 255:", levels, nearest)
    buttons += _radios(f"{name}-threat", "The attacker knows:", [THREATS[threat] for threat in threats], 0)
    return (
        f"{STYLE}<style>{rules} {{ display: block; }}</style>"
        f'<div class="explorer" id="{name}"><div class="choices">{buttons}</div>{pages}</div>'
    )


def _radios(name: str, legend: str, titles: Sequence[str], checked: int) -> str:
    buttons = "".join(
        f'<input type="radio" name="{name}" id="{name}-{k}"{" checked" if k == checked else ""}>'
        f'<label for="{name}-{k}">{html.escape(title)}</label>'
        for k, title in enumerate(titles)
    )
    return f"<fieldset><legend>{legend}</legend>{buttons}</fieldset>"


def grid(views: Mapping[tuple[str, float], View], number: int) -> Figure:
    """The same views as one figure: a column for each budget, attacked and reconstructed under each other.

    Args:
        number: of the test image.
    """
    rows, titles = {}, {}
    for threat in dict.fromkeys(threat for threat, _ in views):
        chosen = [view for (other, _), view in views.items() if other == threat]
        attacked, behind = f"{explorer.SHORT[threat]}:\nattacked", f"{explorer.SHORT[threat]}:\nbehind the AE"
        rows[attacked] = np.stack([view.attacked for view in chosen])
        rows[behind] = np.stack([view.reconstructed for view in chosen])
        titles[attacked] = [f"eps {255 * view.choice.eps:.3g}/255" for view in chosen]
        titles[behind] = [_answer(view) for view in chosen]
    figure = plots.gallery(rows, titles)
    label = with_article(next(iter(views.values())).classes[next(iter(views.values())).label])
    figure.suptitle(
        f"Test image {number}, {label}. {explorer.finding(views)}", x=0.01, ha="left", fontsize=12
    )
    return figure


def _answer(view: View) -> str:
    answer = int(view.after.argmax())
    return f"{view.classes[answer]} {percent(view.after[answer])}"


def show(networks: Networks, choice: Choice = Choice(), number: int = 0, fixed: str = "") -> Panel:  # noqa: B008
    """Display the controls; where no kernel answers, a page shows ``fixed`` (frames) instead.

    Args:
        choice, number: what they begin with; the number of a test image.
    """
    from IPython.display import display

    panel = Panel(networks, choice, number)
    content = {WIDGET_MIME: panel.box._repr_mimebundle_()[WIDGET_MIME], "text/plain": ELSEWHERE}
    display(content | ({"text/html": fixed} if fixed else {}), raw=True)
    return panel


# ------------------------------------------------------------------------------------------------------ the controls


class Panel:
    """The controls, and under them the view that they ask for.

    One computation at a time: a callback computes while the kernel is busy, and meanwhile the browser keeps a slider's
    newest position only, so that a view is never behind by more than one.

    Attributes:
        box: the widget to display.
        view: what is shown.
    """

    def __init__(self, networks: Networks, choice: Choice = Choice(), number: int = 0):  # noqa: B008
        self.networks, self.view, self._quiet = networks, None, False
        self._uploaded: np.ndarray | None = None
        both = {"style": {"description_width": "6.5em"}, "layout": widgets.Layout(width="21em")}
        there = set(networks.images.labels)
        kinds = [("any class", ANY), *((name, k) for k, name in enumerate(networks.classes) if k in there)]
        self.kind = widgets.Dropdown(options=kinds, description="Test images", **both)
        self.number = widgets.BoundedIntText(
            number, min=0, max=len(networks.images) - 1, description="Number", **both
        )
        self.upload = widgets.FileUpload(
            accept="image/*",
            description="or upload an image",
            layout=widgets.Layout(width="14em", margin="2px 2px 2px 7em"),
        )
        self.attack = widgets.Dropdown(
            options=[(title, key) for key, title in ATTACKS.items()],
            value=choice.attack,
            description="Attack",
            **both,
        )
        self.threat = widgets.Dropdown(
            options=[(title, key) for key, title in THREATS.items()],
            value=choice.threat,
            description="It knows",
            style=both["style"],
            layout=widgets.Layout(width="27em"),
        )
        level = round(255 * choice.eps)
        self.eps = widgets.IntSlider(
            level, min=0, max=max(LARGEST_EPS, level), description="eps, of 255", **both
        )
        self.steps = widgets.IntSlider(choice.steps, min=1, max=LARGEST_STEPS, description="Steps", **both)
        self.stage = widgets.Dropdown(
            options=[(title, key) for key, title in STAGES.items()],
            value=choice.stage,
            description="Network",
            **both,
        )
        self.defense = widgets.Checkbox(
            choice.defense == "ae", description="autoencoder before it", indent=True, **both
        )
        self.message, self.output, self.seconds = widgets.HTML(), widgets.HTML(), widgets.HTML()
        columns = [
            widgets.VBox([self.kind, self.number, self.upload]),
            widgets.VBox([self.attack, self.threat, self.eps, self.steps]),
            widgets.VBox([self.stage, self.defense]),
        ]
        controls = widgets.HBox(columns, layout=widgets.Layout(flex_flow="row wrap"))
        self.box = widgets.VBox([controls, self.message, self.output, self.seconds])
        self.kind.observe(self._other_class, "value")
        self.number.observe(self._other_number, "value")
        self.upload.observe(self._other_file, "value")
        for control in (self.attack, self.threat, self.eps, self.steps, self.stage, self.defense):
            control.observe(lambda _: self.refresh(), "value")
        self.refresh()

    @property
    def choice(self) -> Choice:
        """What the controls say."""
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
        """The chosen image, and its class if that is known."""
        if self._uploaded is not None:
            return self._uploaded, None
        return explorer.test_image(self.networks, int(self._numbers()[self.number.value]))

    def refresh(self) -> None:
        """Compute the view that the controls ask for, and show it."""
        if self._quiet:
            return
        begin, choice = time.perf_counter(), self.choice
        self.threat.disabled = choice.attack in ("none", "noise")
        self.eps.disabled = choice.attack == "none"
        self.steps.disabled = choice.attack != "pgd"
        try:
            self.view = explorer.explore(self.networks, *self.image, choice)
            self.output.value = f'{STYLE}<div class="explorer">{page(self.view)}</div>'
            self.seconds.value = f"<small>computed in {1000 * (time.perf_counter() - begin):.0f} ms</small>"
        except CourseError as error:
            self._say(str(error))

    def _numbers(self) -> np.ndarray:
        """The test images of the chosen class."""
        labels = self.networks.images.labels
        return np.arange(len(labels)) if self.kind.value == ANY else np.flatnonzero(labels == self.kind.value)

    def _other_class(self, _) -> None:
        self._quiet = True  # the number may have to change, too: one view, not two
        self.number.max = max(0, len(self._numbers()) - 1)
        self.number.value = 0
        self._quiet = False
        self._other_number(_)

    def _other_number(self, _) -> None:
        self._uploaded = None
        self._say("")
        self.refresh()

    def _other_file(self, change) -> None:
        if not change["new"]:
            return
        file = change["new"][0]
        try:
            self._uploaded = explorer.read_image(bytes(file["content"]))
        except CourseError as error:
            self._say(f"{file['name']}: {error}.")
            return
        self._say(
            f"{file['name']}: the square in its middle, as 32×32. Nobody knows its class here: the attack leads away "
            "from what the network says of it. Choose a number to go back to the test images."
        )
        self.refresh()

    def _say(self, text: str) -> None:
        self.message.value = f'<div class="explorer" role="alert">{html.escape(text)}</div>' if text else ""
