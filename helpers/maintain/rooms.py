"""Draw the rooms of `helpers` from their imports, for CONTRIBUTING.md (python -m helpers.maintain.rooms)."""

from __future__ import annotations

import sys
from pathlib import Path

from .. import settings

PAGE = settings.ROOT / "CONTRIBUTING.md"
MARKERS = ("<!-- rooms -->", "<!-- /rooms -->")


def imports() -> dict[str, set[str]]:
    """Return which rooms each room imports, read from the code by grimp (import-linter's library)."""
    import grimp

    graph = grimp.build_graph("helpers", cache_dir=None)
    found = {}
    for room in sorted(graph.find_children("helpers")):
        if room == "helpers.__main__":
            continue
        modules = {room} | graph.find_descendants(room)
        targets = {
            t.split(".")[1] for m in modules for t in graph.find_modules_directly_imported_by(m) if "." in t
        }
        found[room.split(".")[1]] = targets - {room.split(".")[1]}
    return found


def reduced(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """Leave out every arrow that follows from others: imports that a room has through another room."""

    def below(room: str) -> set[str]:
        return edges[room] | {r for target in edges[room] for r in below(target)}

    return {
        room: {t for t in targets if not any(t in below(o) for o in targets - {t})}
        for room, targets in edges.items()
    }


def diagram() -> str:
    """Return the picture as a Mermaid flowchart with an arrow from each room to those it imports directly."""
    lines = ["```mermaid", "flowchart TD"]
    lines += [
        f"  {room} --> {target}"
        for room, targets in sorted(reduced(imports()).items())
        for target in sorted(targets)
    ]
    return "\n".join([*lines, "```"])


def renewed(page: str) -> str:
    """Return the page with today's picture between the markers."""
    head, _, rest = page.partition(MARKERS[0])
    tail = rest.partition(MARKERS[1])[2]
    return f"{head}{MARKERS[0]}\n{diagram()}\n{MARKERS[1]}{tail}"


def main(page: Path = PAGE) -> int:
    """Write the picture into CONTRIBUTING.md."""
    page.write_text(renewed(page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
