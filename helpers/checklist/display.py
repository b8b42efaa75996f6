"""Show the checklist's table to readers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from .checks import NOT_RUN


def failed_checks(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the table that failed."""
    return table.loc[~table["passed"]]


def results(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table for readers: pass, FAIL or not run for each check, and what a failure means."""
    ran = ~table["value"].str.startswith(NOT_RUN)
    result = np.where(~table["passed"], "FAIL", np.where(ran, "pass", NOT_RUN))
    return pd.DataFrame(
        {
            "check": table["check"],
            "result": result,
            "value": table["value"].str.removeprefix(f"{NOT_RUN}: "),
            "bound": table["bound"],
            "if it fails": table["meaning"].where(~table["passed"], ""),
        }
    )


def markdown(table: pd.DataFrame) -> str:
    """Write the readers' table in Markdown."""
    shown = results(table)
    lines = [list(shown.columns), ["---"] * len(shown.columns), *shown.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def summary(table: pd.DataFrame) -> str:
    """Say how many checks passed, failed and were not run, and which failed."""
    words = list(results(table)["result"])
    passed, failed, left_out = (words.count(word) for word in ("pass", "FAIL", NOT_RUN))
    names = ", ".join(f"*{name}*" for name in failed_checks(table)["check"])
    which = f" ({names})" if failed else ""
    return f"{passed} checks passed, {failed} failed{which}, {left_out} were not run."


def show(table: pd.DataFrame, first: Sequence[str] = ()) -> None:
    """Display the readers' table in a notebook, with failures highlighted.

    Args:
        table: the table.
        first: the names of the checks to show; the others are folded, but for those that failed. All are
            shown if there is none.
    """
    from IPython.display import display

    seen = table["check"].isin(first) | ~table["passed"] if len(first) else table["passed"].notna()
    above, folded = table.loc[seen], table.loc[~seen]
    html, text = _html(above), markdown(above)
    if len(folded):
        fold = f"\n<details><summary>The other {len(folded)} checks</summary>\n\n{{}}\n</details>\n"
        html, text = html + fold.format(_html(folded)), text + "\n" + fold.format(markdown(folded))
    display({"text/html": html, "text/markdown": text, "text/plain": text}, raw=True)


def _html(table: pd.DataFrame) -> str:
    """Write the readers' table in HTML."""
    look = {"FAIL": "font-weight: bold; background-color: #f6d5c3; color: #000000"}
    shown = results(table)
    # Pandas would name the table at random, and then no two runs of a notebook would be alike.
    name = hashlib.sha256(shown.to_csv().encode()).hexdigest()[:8]
    style = shown.style.set_uuid(name).hide(axis="index")
    style = style.map(lambda word: look.get(word, ""), subset=["result"])
    return style.set_properties(**{"text-align": "left"}).to_html()
