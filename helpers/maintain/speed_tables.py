"""The benchmark's results as text, for the README and for the terminal."""

from __future__ import annotations

from ..classifiers.registry import MODELS
from ..evaluation import titles

README_MARKERS = ("<!-- speed -->", "<!-- /speed -->")

TITLES = {
    "BatchNorm folded": "fused BatchNorm",
    "BatchNorm folded, bfloat16": "fused BatchNorm, bfloat16",
}
"""The reader's words for keys of benchmarks.json."""

JUDGE = "AutoAttack (torchattacks)"
"""The ensemble whose time and verdicts the others are compared with."""

NETWORKS = {
    "single_step": "the network from single-step adversarial training",
    "initial": "the initial classifier",
}
"""The reader's words for the network that the worst case was measured on."""


def markdown(results: dict) -> str:
    """Return the README's section on speed."""
    speeds = {**results["gradients"], **results["attacks"]}
    limit = speeds["tf2cv's graph"]["median_per_second"]
    ours = speeds["the course"]["median_per_second"]
    machine = results["environment"]["machine"]
    lines = [
        f"{MODELS[results['model']].title}, {results['dataset']}, batch {results['batch']}, float32 unless "
        f"said otherwise, medians of {results['rounds']} alternating rounds on {machine}. Only the ratios "
        "carry over to another machine.",
        "",
        "| PGD-10 | images/s | the course against it | peak MiB |",
        "|---|---|---|---|",
    ]
    for name, speed in results["attacks"].items():
        ratio = ours / speed["median_per_second"]
        lines.append(
            f"| {name} | {speed['median_per_second']:.1f} | {ratio:.2f}x | {results['peak_mib'][name]:,} |"
        )
    if "peers" in results:
        lines += ["", _about(results["peers"])]
    if "worst_case" in results:
        lines += _worst_case_markdown(results["worst_case"])
    lines += ["", "| input gradients | images/s | against the tf2cv graph |", "|---|---|---|"]
    for name, speed in results["gradients"].items():
        median = speed["median_per_second"]
        lines.append(f"| {TITLES.get(name, name)} | {median:.0f} | {median / limit:.2f}x |")
    tuning = results["training"]["fine-tuning"]
    lines += [
        "",
        f"Fine-tuning runs at {100 * tuning['loop_against_step']:.0f}% of the speed of its bare training "
        "step.",
        "",
        "Accuracy in percent, in float32, under attacks crafted in float32 and in bfloat16 "
        f"(n = {results['bfloat16'][0]['float32']['n']:,}; the same images, so the interval is paired):",
        "",
        "| attack | on | float32 | bfloat16 | difference |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in map(_strength, results["bfloat16"])),
    ]
    return "\n".join(lines)


def _about(peers: dict) -> str:
    """Return a sentence on what PyTorch ran with."""
    return (
        f"torchattacks {peers['torchattacks']} runs on PyTorch {peers['torch']} with channels last, in a "
        f"process of its own with as many threads ({peers['threads']}) as the course has cores; in "
        "*compiled* the network went through `torch.compile`."
    )


def _worst_case(measured: dict) -> list[tuple[str, ...]]:
    """Return a row for each ensemble: name, seconds, gain, robust accuracy, and other verdicts."""
    judge = measured["ensembles"][JUDGE]["seconds"]
    return [
        (
            name,
            f"{found['seconds']:,.0f}",
            f"{judge / found['seconds']:.2f}x",
            titles.percent(found),
            f"{found['robust_only_here']} and {found['robust_only_there']}",
        )
        for name, found in measured["ensembles"].items()
    ]


def _worst_case_markdown(measured: dict) -> list[str]:
    """Return the README's lines on the time to the worst case."""
    network = NETWORKS[measured["network"]]
    return [
        "",
        f"Time to the worst case of {measured['n']:,} images, on {network}. The course's own ensemble "
        f"({', '.join(measured['attacks'])}) spends less than AutoAttack. *The course, AutoAttack* has the "
        "attacks and budgets of AutoAttack's standard version (apgd-ce, apgd-t, fab-t, square). Robust "
        "accuracy is measured in float32. The last column counts the images that are robust only to the "
        f"ensemble of the row, and only to {JUDGE}.",
        "",
        "| ensemble | seconds | gain in speed | robust accuracy in percent | other verdicts |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in _worst_case(measured)),
    ]


def _strength(record: dict) -> tuple[str, ...]:
    """Return a row on the strength of an attack in two precisions."""
    system = titles.STAGE_TITLES[record["stage"]] + ", end-to-end" * (record["defense"] == "ae")
    exact, rounded = (100 * record[name]["accuracy"] for name in ("float32", "mixed_bfloat16"))
    moved, low, high = (100 * record[name] for name in ("difference", "ci_low", "ci_high"))
    attack = {"fgsm": "FGSM", "pgd": "PGD-10"}[record["input"]]
    return attack, system, f"{exact:.1f}", f"{rounded:.1f}", f"{moved:+.2f} [{low:+.2f}, {high:+.2f}]"


def table(results: dict) -> str:
    """Return the results as a table for the terminal."""
    limit = results["gradients"]["tf2cv's graph"]["median_per_second"]
    ours = results["attacks"]["the course"]["median_per_second"]
    lines = [f"{'input gradients':34} {'images/s':>9}  {'against the tf2cv graph':>23}"]
    for name, speed in results["gradients"].items():
        median = speed["median_per_second"]
        lines.append(f"{TITLES.get(name, name):34} {median:9.0f}  {median / limit:22.2f}x")
    lines.append(f"\n{'PGD-10':34} {'images/s':>9}  {'the course against it':>23}  {'MiB':>6}")
    for name, speed in results["attacks"].items():
        ratio = ours / speed["median_per_second"]
        lines.append(
            f"{name:34} {speed['median_per_second']:9.1f}  {ratio:22.2f}x  {results['peak_mib'][name]:6,}"
        )
    rows = _worst_case(results["worst_case"]) if "worst_case" in results else []
    for name, seconds, gain, robust, other in rows:
        lines.append(
            f"worst case, {name}: {seconds} s (gain {gain}), {robust}% robust, other verdicts: {other}"
        )
    share = results["attacks"]["the course"]["gradients_against_tf2cv"]
    lines.append(f"\nPGD-10's gradients against the tf2cv graph's raw gradients: {share:.2f}x")
    for attack, system, exact, rounded, moved in map(_strength, results["bfloat16"]):
        lines.append(
            f"{attack} on {system}: {exact}% if crafted in float32, {rounded}% in bfloat16, {moved} points"
        )
    for name, speed in results["training"].items():
        lines.append(
            f"{name}: {speed['loop']['median_per_second']:.1f} steps/s in the loop, "
            f"{speed['bare step']['median_per_second']:.1f} of the bare step "
            f"({100 * speed['loop_against_step']:.0f}%)"
        )
    for kind in ("n", "steps"):
        points = ", ".join(f"{p[kind]:,}: {p['seconds']:.1f} s" for p in results["scaling"][kind])
        lines.append(f"PGD against {kind}: {points}")
    return "\n".join(lines)
