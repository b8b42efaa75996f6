"""What notebook 08 found, in words: each sentence is chosen by the sweep's records (seeds)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..classifiers.registry import MODELS
from ..pipeline import Run
from . import seeds
from .seeds import Place

TRANSFER: Place = ("fine_tuned", "ae", "pgd", "static")
END_TO_END: Place = ("fine_tuned", "ae", "pgd", "adaptive")
TITLES = {TRANSFER: "transfer attack (oblivious)", END_TO_END: "end-to-end (adaptive)"}
"""The two places that notebook 08 maps, and their titles."""

ROUNDING = 1e-9
"""In percent. Means of the same counts may differ by this in their last digits."""


def design(records: list[dict]) -> str:
    """Say what a sweep covers, as text in lines."""
    budgets = _listed({f"{255 * r['eps']:.3g}" for r in records if r["eps"]})
    steps, drawn = (_listed({r[name] for r in records if r["eps"]}) for name in ("steps", "seed"))
    models = ", ".join(MODELS[name].title for name in dict.fromkeys(r["model"] for r in records))
    return (
        f"{records[0]['profile']} on {records[0]['dataset']}, {models}\n"
        f"budgets {budgets} of 255; PGD with {steps} steps; seeds {drawn}\n"
        f"{len(records)} records of {records[0]['n']:,} test images each"
    )


def _listed(values: set) -> str:
    return ", ".join(map(str, sorted(values, key=float)))


def label(records: list[dict]) -> str:
    """Return the note on a sweep for its figures; empty for a full one on CIFAR-10."""
    first = records[0]
    marks = [] if first["profile"] == "full" else [f"{first['profile']} sweep"]
    return "; ".join(marks + ([] if first["dataset"] == "cifar10" else [f"{first['dataset']}, not CIFAR-10"]))


def notice(run: Run, records: list[dict]) -> str:
    """Say what the reader must know before reading the lesson beside these records; empty if nothing."""
    if records[0]["profile"] == "smoke":
        return (
            "> **Notice.** The text describes the sweep that the course ships. The outputs are those of a "
            "small one, run here to show that everything works: **do not read the numbers.**"
        )
    if run.notice:
        return (
            "> **Notice.** Text and outputs are those of the sweep that the course ships, whatever the "
            "parameters of this run are. Another sweep is run by `make sweep`."
        )
    return ""


# --------------------------------------------------------------------------------------------------- the maps


def maps_title(maps: Mapping[str, pd.DataFrame]) -> str:
    """Return the title of the figure of the two maps (title of a place to its seeds.grid_of)."""
    high, low = (maps[title].to_numpy() for title in TITLES.values())
    return (
        f"The defense keeps {high.min():.0f} to {high.max():.0f}% under the transfer attack, "
        f"{low.min():.0f} to {low.max():.0f}% end-to-end"
    )


def maps_alt(maps: Mapping[str, pd.DataFrame]) -> str:
    """Describe the figure of the two maps."""
    return (
        "Two maps of accuracy behind the autoencoder after fine-tuning, budgets in the rows and PGD's steps "
        f"in the columns: {' and '.join(maps)}. {maps_title(maps)}."
    )


def order(maps: Mapping[str, pd.DataFrame]) -> str:
    """Say in how many pairs of neighbouring cells a larger budget or more steps leave a higher accuracy."""
    lines = []
    for title, frame in maps.items():
        rises = [np.diff(frame.to_numpy(), axis=axis) for axis in (0, 1)]
        found = ", ".join(
            f"{np.sum(rise > ROUNDING)} of {rise.size} pairs {words}"
            for rise, words in zip(rises, ("with a larger budget", "with more steps"), strict=True)
            if rise.size  # a small sweep may have one budget
        )
        largest = max(rise.max(initial=0.0) for rise in rises)
        told = f", by at most {largest:.1f} points" if largest > ROUNDING else ""
        lines.append(f"- {title}: accuracy rises in {found}{told}.")
    return "\n".join(lines)


# -------------------------------------------------------------------------------------------------- the seeds


def seeds_title(cells: list[dict]) -> str:
    """Return the title of the figure of the seeds (seeds.against_images)."""
    inside = sum(cell["inside"] for cell in cells)
    every = "every cell" if inside == len(cells) else f"{inside} of {len(cells)} cells"
    return f"In {every}, all seeds lie within the interval of the test images"


def seeds_alt(cells: list[dict]) -> str:
    """Describe the figure of the seeds."""
    widest = _widest(cells)
    return (
        "For each budget and number of steps, one marker for the accuracy with each seed, on the 95% "
        f"interval that the number of test images leaves. {seeds_title(cells)}. Widest apart: "
        f"{_told(widest)}."
    )


def _widest(cells: list[dict]) -> dict:
    return max(cells, key=lambda cell: np.ptp(list(cell["by_seed"].values())))


def _told(cell: dict) -> str:
    values = ", ".join(f"{value:.1f}" for value in cell["by_seed"].values())
    return f"{values} at {255 * cell['eps']:.3g}/255 with {cell['steps']} steps"


def seeds_found(records: list[dict]) -> str:
    """Say how far apart the seeds are, and how often they deviate by more than the images would."""
    lines = []
    for place, title in TITLES.items():
        table, widest = seeds.spread(records, place), _widest(seeds.against_images(records, place))
        larger = table["deviation"] > table["of the images alone"]
        apart = np.ptp(list(widest["by_seed"].values()))
        lines.append(
            f"- {title}: up to {apart:.1f} points between two seeds ({_told(widest)}). The seeds' deviation "
            f"is the larger one in {larger.sum()} of {len(table)} cells."
        )
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------- the claims


def claims_title(found: Mapping[str, list[dict]]) -> str:
    """Return the title of the figure of the claims (claim to its seeds.check)."""
    held = sum(all(row["points"] > 0 for row in rows) for rows in found.values())
    return f"{held} of {len(found)} conclusions hold in every seed, budget and number of steps"


def claims_alt(found: Mapping[str, list[dict]]) -> str:
    """Describe the figure of the claims."""
    told = "; ".join(
        f"{claim}, {min(r['points'] for r in rows):.1f} to {max(r['points'] for r in rows):.1f}"
        for claim, rows in found.items()
    )
    return (
        "For each conclusion, by how many points of accuracy it holds: one marker for each seed, budget and "
        f"number of steps, with a dotted line at zero. {told}."
    )


def verdicts(records: list[dict]) -> str:
    """Say of each claim in how many cells it survives, in how many it is sure, and by how many points."""
    lines = []
    for claim, row in seeds.verdicts(records).iterrows():
        kept, sure, cells = (int(n) for n in (_kept(row), row["sure in every seed"], row["cells"]))
        word = "survives" if kept == cells else "does not survive" if not kept else "depends on the cell"
        lines.append(f"{claim}: {word}")
        lines.append(
            f"  same sign in every seed in {kept} of {cells} cells, sure in {sure}; "
            f"{row['least (points)']:+.1f} to {row['most (points)']:+.1f} points"
        )
    return "\n".join(lines)


def _kept(row: pd.Series) -> float:
    return row["sure in every seed"] + row["the seeds agree"]


def conclusions(records: list[dict]) -> str:
    """Return the box that closes the notebook."""
    table, cells = seeds.verdicts(records), seeds.against_images(records, TRANSFER)
    whole = table[table.apply(_kept, axis=1) == table["cells"]]
    unsure = whole[whole["sure in every seed"] < whole["cells"]]
    widest = _widest(cells)
    inside = sum(cell["inside"] for cell in cells)
    drawn = len(widest["by_seed"])
    lines = [
        f"**What we found** ({records[0]['profile']} sweep on {records[0]['dataset']}, {drawn} seeds, "
        f"n = {records[0]['n']:,} test images).",
        "",
        f"- {len(whole)} of {len(table)} conclusions survive: same sign in every seed, budget and number of "
        "steps.",
        *(
            f"- Not sure everywhere: *{claim}* (sure in {row['sure in every seed']:.0f} of "
            f"{row['cells']:.0f} cells; {row['least (points)']:.1f} to {row['most (points)']:.1f} points)."
            for claim, row in unsure.iterrows()
        ),
        f"- Under the transfer attack, two seeds are up to {np.ptp(list(widest['by_seed'].values())):.1f} "
        f"points apart. In {inside} of {len(cells)} cells, all seeds lie within the interval of the images.",
    ]
    return "\n".join("> " + line for line in lines)


def cost_title(steps: list[dict]) -> str:
    """Return the title of the figure of what a sweep's jobs cost (sweeps.cost.recorded)."""
    start = np.mean([step["seconds"] for step in steps if step["name"] == "start"])
    return f"A job starts for {start:.0f} s; after that, time grows with the images and the passes"
