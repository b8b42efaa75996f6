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
    """Return the README's section on speed: what has been measured, section by section."""
    parts = {
        "attacks": _attacks_markdown,
        "worst_case": _worst_case_markdown,
        "gradients": _gradients_markdown,
        "training": _training_markdown,
        "bfloat16": _strength_markdown,
    }
    return "\n".join(
        line for name, write in parts.items() if name in results for line in write(results)
    ).strip()


def _attacks_markdown(results: dict) -> list[str]:
    """Return the README's lines on PGD-10's speed."""
    ours = results["attacks"]["the course"]["median_per_second"]
    lines = [
        f"{MODELS[results['model']].title}, {results['dataset']}, batch {results['batch']}, float32 unless "
        f"said otherwise, medians of {results['rounds']} alternating rounds on "
        f"{results['measured']['pgd']['machine']}. Only the ratios carry over to another machine.",
        "",
        "| PGD-10 | images/s | the course against it | peak MiB |",
        "|---|---|---|---|",
    ]
    for name, speed in results["attacks"].items():
        ratio = ours / speed["median_per_second"]
        lines.append(f"| {name} | {speed['median_per_second']:.1f} | {ratio:.2f}x | {_peak(results, name)} |")
    return [*lines, "", _about(results["peers"])] if "peers" in results else lines


def _peak(results: dict, name: str) -> str:
    """Return a contender's peak memory; a dash where the section ``peaks`` has not measured it."""
    peak = results.get("peak_mib", {}).get(name)
    return "–" if peak is None else f"{peak:,}"


def _gradients_markdown(results: dict) -> list[str]:
    """Return the README's lines on input gradients."""
    limit = results["gradients"]["tf2cv's graph"]["median_per_second"]
    lines = ["", "| input gradients | images/s | against the tf2cv graph |", "|---|---|---|"]
    for name, speed in results["gradients"].items():
        median = speed["median_per_second"]
        lines.append(f"| {TITLES.get(name, name)} | {median:.0f} | {median / limit:.2f}x |")
    return lines


def _training_markdown(results: dict) -> list[str]:
    """Return the README's line on training loops."""
    tuning, denoising = (
        100 * results["training"][name]["loop_against_step"] for name in ("fine-tuning", "autoencoder")
    )
    return [
        "",
        f"Fine-tuning runs at {tuning:.0f}% of the speed of its bare training step, and the autoencoder's "
        f"training at {denoising:.0f}%.",
    ]


def _strength_markdown(results: dict) -> list[str]:
    """Return the README's lines on the strength of attacks in bfloat16."""
    return [
        "",
        "Accuracy in percent, in float32, under attacks crafted in float32 and in bfloat16 "
        f"(n = {results['bfloat16'][0]['float32']['n']:,}; the same images, so the interval is paired):",
        "",
        "| attack | on | float32 | bfloat16 | difference |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in map(_strength, results["bfloat16"])),
    ]


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


def _worst_case_markdown(results: dict) -> list[str]:
    """Return the README's lines on the time to the worst case."""
    measured = results["worst_case"]
    network = NETWORKS[measured["network"]]
    return [
        "",
        f"Time to the worst case of {measured['n']:,} images, on {network}. The course's own ensemble "
        f"({', '.join(measured['attacks'])}) spends less than AutoAttack. In "
        "bfloat16, it climbs a rounded copy of the network; what only the copy gets wrong is attacked again "
        "in float32. Robust accuracy is measured in float32. The last column counts the images that are "
        f"robust only to the ensemble of the row, and only to {JUDGE}.",
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
    """Return what has been measured as a table for the terminal."""
    parts = {
        "gradients": _gradients_table,
        "attacks": _attacks_table,
        "worst_case": _worst_case_table,
        "bfloat16": _strength_table,
        "training": _training_table,
        "scaling": _scaling_table,
    }
    return "\n".join(line for name, write in parts.items() if name in results for line in write(results))


def _gradients_table(results: dict) -> list[str]:
    limit = results["gradients"]["tf2cv's graph"]["median_per_second"]
    lines = [f"{'input gradients':34} {'images/s':>9}  {'against the tf2cv graph':>23}"]
    for name, speed in results["gradients"].items():
        median = speed["median_per_second"]
        lines.append(f"{TITLES.get(name, name):34} {median:9.0f}  {median / limit:22.2f}x")
    return lines


def _attacks_table(results: dict) -> list[str]:
    ours = results["attacks"]["the course"]["median_per_second"]
    lines = [f"\n{'PGD-10':34} {'images/s':>9}  {'the course against it':>23}  {'MiB':>6}"]
    for name, speed in results["attacks"].items():
        ratio = ours / speed["median_per_second"]
        lines.append(
            f"{name:34} {speed['median_per_second']:9.1f}  {ratio:22.2f}x  {_peak(results, name):>6}"
        )
    share = results["attacks"]["the course"]["gradients_against_tf2cv"]
    return [*lines, f"\nPGD-10's gradients against the tf2cv graph's raw gradients: {share:.2f}x"]


def _worst_case_table(results: dict) -> list[str]:
    return [
        f"worst case, {name}: {seconds} s (gain {gain}), {robust}% robust, other verdicts: {other}"
        for name, seconds, gain, robust, other in _worst_case(results["worst_case"])
    ]


def _strength_table(results: dict) -> list[str]:
    return [
        f"{attack} on {system}: {exact}% if crafted in float32, {rounded}% in bfloat16, {moved} points"
        for attack, system, exact, rounded, moved in map(_strength, results["bfloat16"])
    ]


def _training_table(results: dict) -> list[str]:
    return [
        f"{name}: {speed['loop']['median_per_second']:.1f} steps/s in the loop, "
        f"{speed['bare step']['median_per_second']:.1f} of the bare step "
        f"({100 * speed['loop_against_step']:.0f}%)"
        for name, speed in results["training"].items()
    ]


def _scaling_table(results: dict) -> list[str]:
    return [
        f"PGD against {kind}: " + ", ".join(f"{p[kind]:,}: {p['seconds']:.1f} s" for p in points)
        for kind, points in results["scaling"].items()
    ]
