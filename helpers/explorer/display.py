"""Views as HTML and as a figure: what the controls show, and the same for a page without a kernel.

The text takes its colours from JupyterLab's theme.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence

import matplotlib.colors
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from .. import plots, settings
from .views import View
from .wording import (
    SHORT,
    STAGES,
    THREATS,
    finding,
    image_title,
    is_right,
    percent,
    threat_model,
    verdict,
    with_article,
)

BLUE, VERMILLION, GREY = (matplotlib.colors.to_hex(plots.PALETTE[k]) for k in (0, 3, 7))

STYLE = f"""<style>
.explorer {{ line-height: 1.35; font-size: 14px; max-width: 62em; color: var(--jp-content-font-color1,
inherit); }} .explorer p, .explorer figure {{ margin: 0; }} .explorer .verdict {{ border-left: 6px solid
{GREY}; padding: 0.2em 0.7em; margin: 0.4em 0; }} .explorer .verdict strong {{ font-size: 17px; font-weight:
600; }} .explorer .verdict.right {{ border-color: {BLUE}; }} .explorer .verdict.wrong {{ border-color:
{VERMILLION}; }} .explorer .view {{ display: flex; flex-wrap: wrap; gap: 0.8em 2.2em; align-items: flex-start;
}} .explorer .pictures {{ display: grid; grid-template-columns: repeat(2, 11em); gap: 0.8em; }} .explorer
.pictures img {{ width: 11em; height: 11em; display: block; margin: 0; image-rendering: pixelated; }}
.explorer .pictures .unused img {{ opacity: 0.45; }} .explorer figcaption {{ font-size: 13px; }} .explorer
table {{ border-collapse: collapse; font-size: 13px; margin: 0; flex: 1 1 24em; max-width: 42em;
  table-layout: fixed; width: auto; border: none; }}
.explorer caption {{ text-align: left; padding-bottom: 0.3em; caption-side: top; }}
.explorer table tr, .explorer table td, .explorer table th {{ background: none; border: none; padding: 2px
  4px; text-align: left; font-weight: normal; vertical-align: middle; white-space: nowrap; }}
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


def page(view: View) -> str:
    """Return a view as HTML, without the style sheet: verdict, four pictures, class probabilities."""
    right = {True: "right", False: "wrong", None: ""}[is_right(view)]
    return (
        f'<div class="verdict {right}" role="status"><strong>{html.escape(verdict(view))}</strong>'
        f"<p>{html.escape(threat_model(view.choice))}</p></div>"
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
        picture("original", view.original, "original", truth, f"The original image: {truth}.")
        + picture(
            "perturbation", magnified, f"perturbation{scale}", note, f"The perturbation{scale}; {note}."
        )
        + picture("attacked", view.attacked, "attacked", "original + perturbation", "The attacked image.")
        + picture(
            "reconstructed" if used else "reconstructed unused",
            view.reconstructed,
            "reconstructed",
            "what the network sees" if used else "not used: autoencoder off",
            "The autoencoder's reconstruction of the attacked image.",
        )
    )


def _times(factor: float) -> str:
    return f"{factor:.0f}" if factor >= 10 else f"{factor:.1f}"


def picture(name: str, image: np.ndarray, title: str, note: str, alt: str) -> str:
    """Return an image in [0, 1] with its title as HTML."""
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
        f'<table><caption>Class probabilities: {system}</caption><thead><tr><th scope="col">class</th>{heads}'
        f"<td></td></tr></thead><tbody>{rows}</tbody></table>"
    )


def _bar(probability: float, color: str) -> str:
    return (
        f'<span class="bar" style="width:{100 * np.nan_to_num(probability):.1f}%;background:{color}"></span>'
    )


def frames(views: Mapping[tuple[str, float], View], name: str = "frames") -> str:
    """Return views as HTML that shows one at a time, beginning with the paper's budget.

    Radio buttons and a style sheet choose the view. It works where scripts are stripped.

    Args:
        views: by (threat, eps).
        name: of the radio buttons, different for each such element of a page.
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
    """Draw the same views as one figure, one column for each budget, with attacked and reconstructed images.

    Wrong answers are bold.

    Args:
        views: by (threat, eps).
        number: of the test image.
    """
    rows, titles, wrong = {}, {}, {}
    for threat in dict.fromkeys(threat for threat, _ in views):
        chosen = [view for (other, _), view in views.items() if other == threat]
        attacked, behind = f"{SHORT[threat]}:\nattacked", f"{SHORT[threat]}:\nbehind the AE"
        rows[attacked] = np.stack([view.attacked for view in chosen])
        rows[behind] = np.stack([view.reconstructed for view in chosen])
        titles[attacked] = [f"eps {255 * view.choice.eps:.3g}/255" for view in chosen]
        titles[behind] = [_answer(view) for view in chosen]
        wrong[behind] = [not is_right(view) for view in chosen]
    figure = plots.gallery(rows, titles, wrong)
    title = f"{image_title(views, number)}. {finding(views)}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return figure


def _answer(view: View) -> str:
    answer = view.answers[1]
    return "no answer (NaN)" if answer < 0 else f"{view.classes[answer]} {percent(view.after[answer])}"
