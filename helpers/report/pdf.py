"""Print the report as a PDF."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from ..settings import CourseError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
"""Programs that can print a page without showing it. The first one on the PATH is used."""


def find_browser() -> str | None:
    """Return the path of a Chromium on this machine, if there is one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def print_to_pdf(page: Path, target: Path, seconds: int = 300) -> None:
    """Print a page as a PDF with a headless Chromium, without a network.

    Args:
        page: the HTML file.
        target: the PDF file.
        seconds: how long the browser may take.

    Raises:
        CourseError: there is no Chromium here, or it printed nothing.
    """
    browser = find_browser()
    if browser is None:
        raise CourseError(
            f"there is no Chromium here, so no {target.name}: install one (Debian, Ubuntu: apt-get install "
            f"chromium) and make the report again, or open {page.name} in any browser and print it"
        )
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "page.pdf"
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--no-pdf-header-footer",
            "--generate-pdf-document-outline",
            f"--user-data-dir={scratch}/profile",
            f"--print-to-pdf={made}",
            page.resolve().as_uri(),
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(
                1, "--no-sandbox"
            )  # Chromium refuses to run as root otherwise; containers run as root
        try:
            subprocess.run(command, capture_output=True, timeout=seconds, check=True)
            made.stat()
        except (OSError, subprocess.SubprocessError) as error:
            raise CourseError(
                f"{Path(browser).name} could not print {page.name} ({type(error).__name__}); open it in a "
                "browser and print it from there"
            ) from error
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, target)
