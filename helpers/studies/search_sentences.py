"""What notebook 03b found, in words: each sentence is chosen by what was measured (comparison)."""

from __future__ import annotations

from scipy.stats import spearmanr

from .. import evaluation
from ..evaluation.titles import percent
from . import comparison
from .comparison import Compared, in_points


def measured(compared: Compared) -> str:
    """Say whose autoencoders are compared, and on how many images."""
    n, few = (next(iter(compared.records(kind).values()))["n"] for kind in ("regular", "adaptive"))
    whose = (
        f"The course ships these {len(compared.found)} autoencoders, one training seed each."
        if compared.shipped
        else "Too few are shipped, so these were trained here, briefly. **Their numbers mean nothing.**"
    )
    return f"{whose} Accuracy in percent, n = {n:,} test images (end-to-end: {few:,})."


def pareto_title(compared: Compared) -> str:
    """Return the title of the figure of the Pareto front."""
    points = comparison.pareto_points(compared)
    front = comparison.pareto_front(points)
    rivals = comparison.dominated_by(points, "paper")
    first = f"{len(front)} of {len(points)} are on the Pareto front; "
    return first + (
        "Table 1 is one of them" if not rivals else f"Table 1 is dominated by {_named(compared, rivals)}"
    )


def pareto_found(compared: Compared) -> str:
    """Say by which accuracies Table 1 is on the Pareto front, among all and in its family."""
    table, lines = comparison.pareto_table(compared, "paper", compared.family), []
    for where, count in {"among all": len(compared.found), "in its family": len(compared.family)}.items():
        kept, lost = (
            list(table.index[table[where] == verdict].unique()) for verdict in ("on it", "dominated")
        )
        lines.append(
            f"- Table 1 {where} ({count}): on the Pareto front by {', '.join(kept) or 'no accuracy'}"
            + (f"; not by {', '.join(lost)}." if lost else ".")
        )
    return "\n".join(lines)


def _named(compared: Compared, names: list[str]) -> str:
    return ", ".join(compared.titles[name] for name in names)


def two_attacks(compared: Compared, name: str) -> str:
    """Say which stand-in for the gradient is the stronger attack, and what both together leave."""
    codes, whole = (compared.test[name][kind] for kind in ("adaptive", "bpda"))
    more = evaluation.paired_difference(codes.correct, whole.correct)
    verdict = (
        "Replacing the codebook alone is the stronger attack"
        if more[1] > 0
        else "Replacing the whole autoencoder is the stronger attack"
        if more[2] < 0
        else "Neither attack is the stronger beyond chance"
    )
    both = evaluation.proportion(codes.correct & whole.correct)
    return (
        f"**{compared.titles[name]}**, n = {both['n']:,}: with the codebook replaced "
        f"{percent(codes.record())}, with the whole autoencoder replaced {percent(whole.record())}. "
        f"{verdict} (a difference of {in_points(more)} points). Right under both, image by image: "
        f"**{percent(both)}**."
    )


def attackers_title(compared: Compared) -> str:
    """Return the title of the figure of attackers."""
    transfer, end_to_end = (
        max(compared.records(kind).values(), key=lambda r: r["accuracy"]) for kind in ("pgd", "adaptive")
    )
    left = f"up to {100 * end_to_end['accuracy']:.1f}%" if end_to_end["correct"] else "nothing"
    return f"Transfer PGD leaves up to {100 * transfer['accuracy']:.1f}%, end-to-end PGD {left}"


def errors(compared: Compared) -> dict[str, float]:
    """Return the mean squared error on attacked validation images of each autoencoder's card."""
    return {name: comparison.attacked_error(one.card) for name, one in compared.found.items()}


def error_title(compared: Compared) -> str:
    """Return the title of the figure of the errors."""
    found, kept = errors(compared), compared.records("pgd")
    best = min(found, key=found.get)
    accuracy = 100 * kept[best]["accuracy"]
    return f"The smallest error ({compared.titles[best]}) keeps {accuracy:.1f}% under transfer PGD"


def rank_agreement(compared: Compared) -> str:
    """Say how far the ranking by error agrees with the rankings by accuracy (Spearman)."""
    found, lines = errors(compared), []
    for kind, words in {"regular": "clean", "pgd": "transfer PGD", "adaptive": "end-to-end PGD"}.items():
        records = compared.records(kind)
        accuracy = [records[name]["accuracy"] for name in found]
        spread = f"{100 * min(accuracy):.1f} to {100 * max(accuracy):.1f} %"
        apart, pairs = comparison.told_apart(list(records.values()))
        if 2 * apart < pairs:
            lines.append(
                f"- {words}: {spread}; only {apart} of {pairs} pairs can be told apart: no order to compare."
            )
            continue
        order = spearmanr([-found[name] for name in found], accuracy)
        p = "p < 0.01" if order.pvalue < 0.01 else f"p = {order.pvalue:.2f}"
        lines.append(f"- {words}: {spread}; agreement with the smaller error {order.statistic:+.2f} ({p}).")
    return f"Over {len(found)} autoencoders:\n\n" + "\n".join(lines)


def conclusions(compared: Compared) -> str:
    """Return the box that closes the notebook."""
    if not compared.shipped:
        return "> **What we found.** Nothing: these autoencoders were trained for a demonstration."
    transfer, end_to_end = (compared.records(kind) for kind in ("pgd", "adaptive"))
    best, last = (max(found, key=lambda name: found[name]["accuracy"]) for found in (transfer, end_to_end))
    fallen = sum(r["ci_low"] <= 0.1 for r in end_to_end.values())
    lines = [
        f"**What we found** (n = {transfer[best]['n']:,} test images; end-to-end {end_to_end[last]['n']:,}; "
        "one training seed each).",
        "",
        f"- Transfer PGD leaves most behind {compared.titles[best]}: {percent(transfer[best])} %.",
        f"- End-to-end PGD leaves at most {percent(end_to_end[last])} %"
        f"{f' ({compared.titles[last]})' * bool(end_to_end[last]['correct'])}. Of {len(end_to_end)} "
        f"autoencoders, {fallen} keep no more than guessing would.",
        *(f"- {two_attacks(compared, name)}" for name in compared.coded),
        *pareto_found(compared).splitlines(),
    ]
    return "\n".join("> " + line for line in lines)


def codes_title(used: int, codes: int, perplexity: float) -> str:
    """Return the title of the figure of a codebook's use."""
    return f"{used} of {codes} codes are in use; the perplexity is {perplexity:.0f}"


KINDS = {"clean": "regular", "PGD (transfer attack)": "pgd", "PGD end-to-end": "adaptive"}
"""The kinds of image (search.assessed), by the attacker's title in figures."""


def forms(compared: Compared) -> dict[str, str]:
    """Return the form of each autoencoder in words, by its title."""
    named = dict.fromkeys(compared.family, "Table 1's form") | dict.fromkeys(compared.coded, "codebook")
    return {title: named.get(name, title) for name, title in compared.titles.items()}


def attackers_rows(compared: Compared) -> dict[str, dict[str, dict]]:
    """Return the records of each autoencoder by the attacker's title, for plots.attackers_figure."""
    return {
        f"{compared.titles[name]} ({comparison.bits(name):,} bits)": {
            words: compared.test[name][kind].record() for words, kind in KINDS.items()
        }
        for name in sorted(compared.found, key=comparison.bits)
    }


def pareto_alt(compared: Compared) -> str:
    """Describe the figure of the Pareto front."""
    points = comparison.pareto_points(compared)
    return (
        "Accuracy on validation images, the mean of clean, FGSM and PGD, against latent size in bits, for "
        f"{len(points)} autoencoders. On the Pareto front: "
        f"{_named(compared, comparison.pareto_front(points))}."
    )


def attackers_alt(compared: Compared) -> str:
    """Describe the figure of attackers."""
    return (
        "Accuracy on test images behind each autoencoder, the fewest bits at the top: clean, under PGD as a "
        f"transfer attack, and under PGD end-to-end. {attackers_title(compared)}."
    )


def error_alt(compared: Compared) -> str:
    """Describe the figure of the errors."""
    return (
        "Accuracy on test images behind each autoencoder, clean and under PGD as a transfer attack, against "
        f"the mean squared error it leaves on attacked validation images. {error_title(compared)}."
    )
