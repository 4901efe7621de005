"""Personal workspaces: plain directories named after their environment."""

import os
from pathlib import Path

from bbhost.domain.workspace import DiscoveredWorkspace
from bbhost.errors import InvalidPersonalPathError, NotRemovableError
from bbhost.toolkit.faults import fault_point
from bbhost.toolkit.private_directory import make_private_directory
from bbhost.workspace.disk import on_disk
from bbhost.workspace.making import BeforeCreating
from bbhost.workspace.managed_root import PERSONAL_WORKSPACES, require_beneath


def personal_workspace_path(data_dir: Path, environment_id: str, target_path: str) -> Path:
    """Return the directory of an environment's personal workspace. Pure.

    Raises:
        InvalidPersonalPathError: the id is no single path segment, or the target is another path.
    """
    segments = {"", ".", ".."}
    if environment_id in segments or any(char in environment_id for char in "/\\\0"):
        raise InvalidPersonalPathError(
            "Personal workspace environmentId must be a single path segment"
        )
    expected = data_dir / PERSONAL_WORKSPACES / environment_id
    if os.path.normpath(target_path) != str(expected):
        raise InvalidPersonalPathError(f"Personal workspace target path must be {expected}")
    return expected


async def provision_personal(
    environment_id: str, target_path: str, data_dir: Path, before_creating: BeforeCreating
) -> tuple[DiscoveredWorkspace, bool]:
    """Make the directory, or use the one that is there. Returns whether it was made.

    Raises:
        InvalidPersonalPathError: it is not where it must be, or is no real directory.
        OSError: it cannot be made.
    """
    path = personal_workspace_path(data_dir, environment_id, target_path)
    exists = await on_disk(_usable_directory, data_dir, path)
    if not exists:
        await before_creating()
        fault_point("provision.before_personal")
        await on_disk(_make, path)
        fault_point("provision.personal_made")
    return DiscoveredWorkspace(str(path), False, False, None, None), not exists


def _usable_directory(data_dir: Path, path: Path) -> bool:
    try:
        require_beneath(data_dir / PERSONAL_WORKSPACES, path)
    except NotRemovableError as error:
        raise InvalidPersonalPathError(error.message) from error
    if path.exists() and not path.is_dir():
        raise InvalidPersonalPathError(f"{path} is not a directory")
    return path.exists()


def _make(path: Path) -> None:
    make_private_directory(path.parent)
    path.mkdir(exist_ok=True)
