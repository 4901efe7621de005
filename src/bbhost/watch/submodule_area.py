"""The part of a submodule's repository that the status of its workspace depends on."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from attrs import define

from bbhost.watch import kernel
from bbhost.watch.areas import Area
from bbhost.watch.git_names import Concern, common_dir_concern, is_surveyed_in_common
from bbhost.watch.table import Node

if TYPE_CHECKING:
    from bbhost.watch.tree_area import TreeArea


@define(eq=False)
class SubmoduleArea(Area):
    """The git dir of a submodule, for the commit of its HEAD."""

    tree: "TreeArea | None" = None

    def handle_name(self, node: Node, mask: int, name: str) -> None:
        """Note an event of ``name`` in the directory of ``node``."""
        directory = node.path
        path = f"{directory}/{name}" if directory else name
        if mask & kernel.IS_DIRECTORY and self.admits(path):
            self.note_directory(node, mask, name, path)
        if Concern.REFS in common_dir_concern(directory, name):
            self.touch()

    def touch(self) -> None:
        """Tell the watch that its workspace was touched."""
        for watch in self.watches:
            watch.touch(workspace=True)

    def admits(self, path: str) -> bool:
        """Only where refs are kept that HEAD can name."""
        return is_surveyed_in_common(path) and path not in {"info", "refs/remotes", "refs/tags"}

    def rejected(self, paths: Collection[str]) -> None:
        """Nothing to remember: the answer is always the same."""

    def dispense(self) -> bool:
        """It is gone: whoever removed it has changed the tree as well, so look there again."""
        if self.tree is not None:
            self.tree.drop_submodule(self)
        return True

    def release(self) -> None:
        """Give up all kernel watches now, and the tree, which would otherwise be a cycle."""
        super().release()
        self.tree = None
