"""``bbhost diagrams``: write the pictures of the machines, or say which are stale."""

import shutil
import subprocess
from pathlib import Path

from bbhost.lifecycle.diagrams import render_diagrams

DEFAULT_FOLDER = Path("state_diagrams")


def stale_diagrams(folder: Path) -> list[str]:
    """Return the names of generated files that are missing or differ from the classes.

    SVG files are not compared: their bytes depend on the version of graphviz.
    """
    stale = []
    for name, text in render_diagrams().items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    return stale


def write_diagrams(folder: Path) -> list[str]:
    """Write every generated file into ``folder``, and SVG too where graphviz is installed.

    Returns:
        The names written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    dot = shutil.which("dot")
    for name, text in render_diagrams().items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        written.append(name)
        if dot is not None and path.suffix == ".dot":
            picture = path.with_suffix(".svg")
            subprocess.run([dot, "-Tsvg", "-o", str(picture), str(path)], check=True)
            written.append(picture.name)
    return written
