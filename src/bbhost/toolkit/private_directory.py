"""Directories that are their user's alone."""

from pathlib import Path


def make_private_directory(path: Path) -> None:
    """Make ``path`` and what is missing above it, each with mode 0700; what is there stays as it is.

    ``Path.mkdir(parents=True)`` gives its mode to the last one only.

    Raises:
        OSError: it cannot be made; FileExistsError where something else is there.
    """
    try:
        path.mkdir(mode=0o700)
    except FileNotFoundError:
        make_private_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    except (
        OSError
    ):  # as Path.mkdir: some systems say of a directory that is there something else than that
        if not path.is_dir():
            raise
