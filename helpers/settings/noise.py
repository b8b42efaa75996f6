"""The lines that TensorFlow and Jupyter's kernels write to standard error as a matter of course."""

from __future__ import annotations

import re

_NOISE = re.compile(
    r"\s*$"
    r"|WARNING: All log messages before absl::InitializeLog"
    r"|(\d{4}-\d\d-\d\d [\d:.]+: )?I(\d{4})? "  # what TensorFlow itself calls information
    r"|To enable the following instructions: "
    r"|.*(oneDNN|cuInit|[Uu]nable to register cu\w+ factory|computation_placer|Could not find cuda)"
    r"|\[IPKernelApp\] ERROR \| KeyboardInterrupt caught in kernel"  # an idle kernel is told to end
)


def is_noise(line: bytes) -> bool:
    """Return whether a line tells nothing, such as that there is no GPU."""
    return bool(_NOISE.match(line.decode(errors="replace")))
