"""Rescued work of all repositories that the daemon knows: listing, showing, giving back, forgetting."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from attrs import frozen

from bbhost.daemon.managed_places import known_repositories
from bbhost.domain.environment import EnvironmentRecord
from bbhost.errors import BbhostError, RescueError
from bbhost.workspace.disk import on_disk
from bbhost.workspace.rescue_list import (
    Rescue,
    drop_rescue,
    list_rescues,
    show_rescue,
)
from bbhost.workspace.rescue_restore import restore_rescue
from bbhost.workspace.tools import WorkspaceTools


@frozen
class RescueDesk:
    """Where rescued work is asked for, in the daemon or without one."""

    tools: WorkspaceTools
    records: Callable[[], Iterable[EnvironmentRecord]]

    async def listing(self, repository: Path | None = None) -> dict[str, Any]:
        """List what was rescued, oldest first, in one repository or in all that are known."""
        found, troubles = await self._look(repository)
        return {
            "rescues": [describe_rescue(rescue) for rescue in found],
            "unreadable": [
                {"repository": str(place), "reason": reason} for place, reason in troubles
            ],
        }

    async def show(self, name: str, repository: Path | None = None) -> dict[str, Any]:
        """Describe one, with the files of each of its parts.

        Raises:
            RescueError: there is none of that name, or several.
        """
        rescue = await self._find(name, repository)
        parts = {}
        for part in sorted(rescue.refs):
            if part in {"branch", "head"}:  # commits, and no files beside them
                continue
            files = await show_rescue(self.tools.git, rescue, part)
            parts[part] = [{"path": file.path, "status": file.status} for file in files]
        return {"rescue": describe_rescue(rescue), "files": parts}

    async def restore(
        self, name: str, target: Path, *, repository: Path | None = None, overwrite: bool = False
    ) -> dict[str, Any]:
        """Give one back at ``target``, which must be absolute.

        Raises:
            RescueError: as :func:`restore_rescue`, or there is none of that name.
        """
        if not target.is_absolute():
            raise RescueError(f"Name the place with an absolute path, not {target}")
        rescue = await self._find(name, repository)
        report = await restore_rescue(self.tools, rescue, target, overwrite=overwrite)
        return {
            "rescue": describe_rescue(rescue),
            "target": str(report.target),
            "written": list(report.written),
            "deleted": list(report.deleted),
            "indexRestored": report.index_restored,
        }

    async def drop(self, name: str, repository: Path | None = None) -> dict[str, Any]:
        """Forget one; its commits go with git's next garbage collection.

        Raises:
            RescueError: there is none of that name, or several.
        """
        rescue = await self._find(name, repository)
        await drop_rescue(self.tools.git, rescue)
        return {"rescue": describe_rescue(rescue)}

    async def _find(self, name: str, repository: Path | None) -> Rescue:
        found, troubles = await self._look(repository)
        named = [rescue for rescue in found if name in {rescue.name, rescue.environment_id}]
        if not named:
            hidden = f"; {len(troubles)} repositories could not be read" if troubles else ""
            raise RescueError(f"Nothing was rescued as {name}{hidden}", code="rescue_not_found")
        places = {rescue.common_dir for rescue in named}
        if len(places) > 1:
            shown = ", ".join(sorted(map(str, places)))
            raise RescueError(f"{name} was rescued in several repositories: {shown}; name one")
        return max(named, key=lambda rescue: rescue.incarnation)

    async def _look(self, repository: Path | None) -> tuple[list[Rescue], list[tuple[Path, str]]]:
        """Return the rescues, and the repositories that could not be looked into with the reason."""
        if repository is not None:
            return await list_rescues(self.tools.git, repository), []
        places = await on_disk(known_repositories, self.tools.data_dir, list(self.records()))
        found: list[Rescue] = []
        troubles = []
        for place in places:
            try:
                found += await list_rescues(self.tools.git, place)
            except BbhostError as error:
                troubles.append((place, error.message))
        return sorted(found, key=lambda rescue: (rescue.rescued_at_s, rescue.name)), troubles


def describe_rescue(rescue: Rescue) -> dict[str, Any]:
    """Values of a rescue for a JSON document."""
    note = rescue.note
    return {
        "name": rescue.name,
        "environmentId": rescue.environment_id,
        "incarnation": rescue.incarnation,
        "repository": str(rescue.common_dir),
        "rescuedAtMs": rescue.rescued_at_s * 1000,
        "path": None if note is None else note.path,
        "branch": None if note is None else note.branch,
        "parts": dict(sorted(rescue.refs.items())),
    }
