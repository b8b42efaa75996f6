"""What notebook 03 found, in words: each sentence is chosen by what was measured (latent_size)."""

from __future__ import annotations

import numpy as np

from .. import evaluation, settings
from ..classifiers.registry import MODELS
from ..defenses.architectures import ARCHITECTURES, PIXELS
from ..evaluation.titles import percent
from ..pipeline import Run
from .comparison import in_points, paired, transfer_mean
from .latent_size import SERIES, Estimate, Hump, Measured, Passing, Series


def opening(run: Run) -> str:
    """Say which run this is, and whether the text describes it."""
    here = f"{MODELS[run.model].title} on {run.data.name}, eps {255 * run.eps:.3g}/255, seed {run.seed}"
    told = ("resnet20", "cifar10", "course", 0)
    if (run.model, run.data.name, run.weights, run.seed) == told and abs(run.eps - settings.EPS) < 1e-9:
        return f"{here}, profile *{run.profile.name}*."
    notice = f" {run.data.notice}" if run.data.notice else ""
    return (
        "> **Notice.** The text describes ResNet-20 on CIFAR-10 at 8/255, seed 0; the outputs are those of "
        f"this run: {here}.{notice}"
    )


def sizes_table() -> str:
    """Return the autoencoders that differ in latent size alone, as text in columns."""
    pixel_bits = 8 * PIXELS
    lines = ["bottleneck    numbers     bits  of the image's numbers"]
    for architecture in (ARCHITECTURES[name] for name in SERIES):
        share = 100 * architecture.latent / PIXELS
        side = 32 // 2**architecture.depth
        channels = architecture.latent // side**2
        form = f"{side} x {side} x {channels}"
        lines.append(f"{form:12} {architecture.latent:8,} {architecture.bits:8,}  {share:4.0f}%")
    return "\n".join([*lines, f"{'the image':12} {PIXELS:8,} {pixel_bits:8,}   100%"])


def recipe(compared: Series) -> str:
    """Say how the autoencoders were trained, and with how many seeds."""
    r, run = compared.recipe, compared.run
    seeds = list(compared.by_seed)
    told = (
        f"{len(compared.names)} autoencoders, one recipe: {r.epochs} epochs of "
        f"{min(r.images, len(run.data.train)):,} training images in three forms (clean, FGSM, PGD), "
        f"batches of {r.batch_size}, Adam {r.rates[0]:g} to {r.rates[1]:g}. "
    )
    if not compared.shipped:
        return told + "The course ships none for this run, so they were trained here, briefly: " + _UNREAD
    return told + (
        f"**One training seed ({seeds[0]}).**"
        if len(seeds) == 1
        else f"Training seeds: {', '.join(map(str, seeds))}."
    )


_UNREAD = "enough to see that everything runs; **the numbers mean nothing.**"


def ends(measured: Measured) -> str:
    """Say what the smallest and the largest latent size keep, clean and under PGD."""
    own = measured.answers[measured.series.run.seed]
    lines = []
    for words, k in (("smallest", 0), ("largest", -1)):
        answers = own[measured.series.names[k]]
        clean, attacked = (answers[kind] for kind in ("regular", "pgd"))
        cost = evaluation.paired_difference(clean.correct, attacked.correct)
        lines.append(
            f"- The {words}, {_numbers(measured.series.sizes[k])}: clean {percent(clean.record())}, PGD "
            f"{percent(attacked.record())}. The attack changes accuracy by {in_points(cost)} points."
        )
    return "\n".join(lines)


def hump_found(found: Hump, images: str) -> str:
    """Say what the test for a hump found.

    Args:
        found: the hump.
        images: what the images are, such as ``validation``.
    """
    size = _numbers(found.sizes[found.top])
    lines = [
        f"n = {found.n:,} {images} images, {_seeds(found)}:",
        "",
        f"- curvature {_per_doubling(found.curvature)} points per squared doubling;",
        f"- the parabola's top at {_summit(found)};",
        f"- {size} against the smallest: {in_points(found.rise)} points;",
        f"- {size} against the largest: {in_points(found.fall)} points.",
        "",
        "**A hump**: the curvature is negative and both ends lie below the top, with their whole intervals."
        if found.is_hump
        else "**No hump that this run can see**: " + _missing(found),
    ]
    return "\n".join(lines)


def _missing(found: Hump) -> str:
    missing = []
    if found.curvature[2] >= 0:
        missing.append("the curvature's interval is not all below 0")
    if found.rise[1] <= 0:
        missing.append("the smallest does not lie below the top beyond chance")
    if found.fall[1] <= 0:
        missing.append("the largest does not lie below the top beyond chance")
    return "; ".join(missing) + "."


def _seeds(found: Hump) -> str:
    if found.seeds == 1:
        return "one training seed, so the intervals cover the choice of images, not another training"
    negative = sum(one < 0 for one in found.by_seed)
    return f"{found.seeds} training seeds, which the bootstrap draws, too (curvature negative for {negative})"


def hump_title(found: Hump, measured: Measured) -> str:
    """Return the title of the figure of the hump."""
    top = 100 * measured.records("pgd")[found.top]["accuracy"]
    if found.is_hump:
        return (
            f"Under transfer PGD {found.sizes[found.top]:,} numbers keep {top:.1f}%; fewer and more keep less"
        )
    return f"Under transfer PGD {found.sizes[found.top]:,} numbers keep {top:.1f}%"


def hump_alt(measured: Measured, images: str) -> str:
    """Describe the figure of the hump."""
    clean, attacked = (measured.records(kind) for kind in ("regular", "pgd"))
    pairs = "; ".join(
        f"{size:,} numbers: clean {100 * a['accuracy']:.0f}, PGD {100 * b['accuracy']:.0f}"
        for size, a, b in zip(measured.series.sizes, clean, attacked, strict=True)
    )
    return (
        f"Accuracy on {clean[0]['n']:,} {images} images behind autoencoders of growing latent size, clean "
        f"and under PGD as a transfer attack, in percent. {pairs}."
    )


def passing_found(found: Passing, compared: Series) -> str:
    """Say what is lost of images, and what comes through of perturbations."""
    names, sizes = compared.names, compared.sizes
    error = [found.error[name] for name in names]
    pgd, signs = ([found.shares[kind][name] for name in names] for kind in ("pgd", "signs"))
    return (
        f"From {_numbers(sizes[0])} to {_numbers(sizes[-1])}, the error on clean images goes from "
        f"{error[0]:.4f} to {error[-1]:.4f}, and the share of PGD's perturbation that comes through from "
        f"{_share(pgd[0])} to {_share(pgd[-1])} of its norm (n = {found.n:,} validation images). Random "
        f"signs, which know nothing of the classifier, come through at {_share(signs[0])} to "
        f"{_share(signs[-1])}; the two shares are at most {_apart(found, names):.0f} points apart."
    )


def passing_title(found: Passing, compared: Series) -> str:
    """Return the title of the figure of what comes through."""
    first, last = (found.shares["pgd"][compared.names[k]][0] for k in (0, -1))
    verb = "A wider bottleneck loses less of the image and lets more of the attack through"
    return verb if last > first else "What is lost of the image, and what comes through of a perturbation"


def passing_alt(found: Passing, compared: Series) -> str:
    """Describe the figure of what comes through."""
    return (
        "Two curves against latent size. Left: the mean squared error on clean images. Right: the share of a "
        "perturbation's norm that comes through, for PGD's and for random signs. "
        + passing_found(found, compared)
    )


def dead(channels: dict[str, tuple[int, int]]) -> str:
    """Say which bottlenecks have dead channels, from latent_size.dead_channels."""
    found = [
        f"{_numbers(ARCHITECTURES[name].latent)}: {of - active} of {of}"
        for name, (active, of) in channels.items()
        if active < of
    ]
    return "Dead channels, on clean validation images: " + ("; ".join(found) or "none") + "."


def choice(measured: Measured) -> str:
    """Say which size one would choose on validation images, by two criteria, and how sure the choice is."""
    own, names = measured.answers[measured.series.run.seed], measured.series.names
    criteria = {
        "PGD alone": {name: own[name]["pgd"].correct for name in names},
        "the mean of clean, FGSM and PGD": {name: transfer_mean(own[name]) for name in names},
    }
    lines = []
    for words, right in criteria.items():
        first, second = sorted(names, key=lambda name: -right[name].mean())[:2]
        lead = paired(right[second], right[first])
        sure = "" if lead[1] > 0 else " The interval contains 0: this lead may be chance."
        lines.append(
            f"- By {words}: {_numbers(ARCHITECTURES[first].latent)}, which lead "
            f"{_numbers(ARCHITECTURES[second].latent)} by {in_points(lead)} points.{sure}"
        )
    n = len(own[names[0]]["regular"].correct)
    return f"On n = {n:,} validation images, image by image:\n\n" + "\n".join(lines)


def conclusions(test: Measured, found: Hump, passed: Passing) -> str:
    """Return the box that closes the notebook."""
    compared = test.series
    if not compared.shipped:
        return f"> **What we found.** Nothing: these autoencoders were trained for a demonstration, {_UNREAD}"
    clean, attacked = (test.records(kind) for kind in ("regular", "pgd"))
    k = found.top
    hump = "There is a hump" if found.is_hump else "This run shows no hump beyond chance"
    pgd = [passed.shares["pgd"][name] for name in compared.names]
    lines = [
        f"**What we found** (n = {found.n:,} test images; {_seeds(found)}).",
        "",
        f"- {hump}: curvature {_per_doubling(found.curvature)} points per squared doubling, the parabola's "
        f"top at {_summit(found)}. {_numbers(compared.sizes[k])} keep {percent(attacked[k])} % under "
        f"transfer PGD, the smallest {percent(attacked[0])}, the largest {percent(attacked[-1])}.",
        f"- Too small blurs: {_numbers(compared.sizes[0])} leave {percent(clean[0])} % of clean images "
        "right.",
        f"- Too large lets the attack through: at {_numbers(compared.sizes[-1])}, {_share(pgd[-1])} of "
        f"the perturbation's norm comes through, against {_share(pgd[0])} at {_numbers(compared.sizes[0])}.",
        _selects(passed, compared.names),
    ]
    return "\n".join("> " + line for line in lines)


def _apart(passed: Passing, names: list[str]) -> float:
    """Return the largest difference at any size between the shares of PGD and of random signs, in points."""
    return 100 * max(abs(passed.shares["pgd"][name][0] - passed.shares["signs"][name][0]) for name in names)


def _selects(passed: Passing, names: list[str]) -> str:
    apart = _apart(passed, names)
    told = f"- Shares of PGD's perturbation and of random signs are up to {apart:.0f} points apart"
    return told + (": the bottleneck attenuates both and does not select." if apart < 10 else ".")


def _numbers(size: int) -> str:
    return f"{int(size):,} numbers"


def _share(estimate: Estimate) -> str:
    return "{:.0f}% [{:.0f}, {:.0f}]".format(*(100 * x for x in estimate))


def _per_doubling(estimate: Estimate) -> str:
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*(100 * x for x in estimate))


def _summit(found: Hump) -> str:
    value, low, high = found.summit
    if not np.isfinite([value, low, high]).all():
        return "no size, because it opens upwards in some samples"
    inside = found.sizes[0] < low and high < found.sizes[-1]
    return f"{value:,.0f} numbers [{low:,.0f}, {high:,.0f}]" + (
        "" if inside else ", not surely inside the range"
    )
