"""Works in git work trees as a process of its own: ``git_churn.py SEED LIBRARY OUTSIDE TREE...``.

One step for each line on its standard input, then a line that says what it did and where. Every write has
finished when that line comes.
"""

import contextlib
import mmap
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

NAMES = ("a", "b", "c d", "node_modules", "é", "x.log")
BRANCHES = ("main", "one", "two", "three")


class Churn:
    """Somebody at work in a few work trees of one repository."""

    def __init__(self, seed: int, library: Path, outside: Path, trees: list[Path]) -> None:
        self.chance = random.Random(seed)
        self.library = library
        self.outside = outside
        self.trees = trees
        self.tree = trees[0]
        self.kept_open = None
        self.left: list[Callable[[Churn], None]] = []

    def step(self) -> str:
        """Do one thing; return its name and the number of the tree. What cannot be done is left out."""
        self.tree = self.chance.choice(self.trees)
        if not self.left:  # each kind once, then each once more
            self.left = [getattr(Churn, name) for name in KINDS]
            self.chance.shuffle(self.left)
        kind = self.left.pop()
        with contextlib.suppress(OSError, IndexError, ValueError):
            kind(self)
        return f"{kind.__name__} {self.trees.index(self.tree)}"

    # --- what there is ------------------------------------------------------------------

    def git(self, *args: str, cwd: Path | None = None) -> str:
        """Git as a person runs it; it may refuse."""
        done = subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *args],
            cwd=cwd or self.tree,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
        )
        return done.stdout.strip()

    def entries(self, *, directories: bool) -> list[Path]:
        found: list[Path] = []
        for top, names, files in os.walk(self.tree):
            names[:] = sorted(name for name in names if name != ".git")
            found += (Path(top, one) for one in (names if directories else sorted(files)))
        return [one for one in found if one.name != ".git"]

    def file(self) -> Path:
        found = self.chance.choice(self.entries(directories=False))
        if self.is_untold(found):
            raise IndexError(f"{found} is left alone")
        return found

    def is_untold(self, path: Path) -> bool:
        """The kernel tells of a write only where the name is that it was written by.

        So whoever follows another name of the file, in another tree, hears nothing, nor does anybody of a
        name in an ignored directory or a nested repository, which are not watched. One of the things that
        the age of an answer bounds, see ``watch/watch.py``.
        """
        found = path.lstat()
        if found.st_nlink == 1:
            return False
        here = [one.lstat().st_ino for one in self.entries(directories=False)]
        above = path.relative_to(self.tree).parents[:-1]
        if here.count(found.st_ino) < found.st_nlink or any(
            (self.tree / one / ".git").exists() for one in above
        ):
            return True
        asked = ["git", "check-ignore", "-q", str(path)]
        return subprocess.run(asked, cwd=path.parent, check=False).returncode == 0

    def directory(self) -> Path:
        return self.chance.choice([self.tree, *self.entries(directories=True)])

    def name(self) -> str:
        return self.chance.choice(NAMES)

    def text(self) -> str:
        return f"{self.chance.randrange(10)}\n" * self.chance.randrange(1, 4)

    def git_dir(self) -> Path:
        return Path(self.git("rev-parse", "--absolute-git-dir"))

    def common_dir(self) -> Path:
        return Path(self.git("rev-parse", "--path-format=absolute", "--git-common-dir"))

    # --- files ----------------------------------------------------------------------------

    def do_edit(self) -> None:
        self.file().write_text(self.text())

    def do_edit_again(self) -> None:
        self.file().write_text(self.text())

    def do_append(self) -> None:
        with self.file().open("a") as file:
            file.write(self.text())

    def do_make(self) -> None:
        (self.directory() / f"{self.name()}.txt").write_text(self.text())

    def do_make_deep(self) -> None:
        where = self.directory().joinpath(*(self.name() for _ in range(3)))
        where.mkdir(parents=True, exist_ok=True)
        (where / "deep.txt").write_text(self.text())

    def do_remove(self) -> None:
        self.file().unlink()

    def do_rename(self) -> None:
        self.file().rename(self.directory() / f"{self.name()}.txt")

    def do_save_like_an_editor(self) -> None:
        file = self.file()
        copy = file.with_name(f".{file.name}.swp")
        copy.write_text(self.text())
        copy.replace(file)

    def do_same_content(self) -> None:
        file = self.file()
        file.write_bytes(file.read_bytes())

    def do_touch_back(self) -> None:
        os.utime(self.file(), (1_600_000_000, 1_600_000_000))

    def do_symlink(self) -> None:
        (self.directory() / f"{self.name()}.link").symlink_to(self.name())

    def do_hard_link(self) -> None:
        os.link(self.file(), self.directory() / f"{self.name()}.hard")

    def do_permissions(self) -> None:
        file = self.file()
        file.chmod(file.stat().st_mode ^ 0o111)

    def do_close_to_others(self) -> None:
        directory = self.directory()
        directory.chmod(directory.stat().st_mode ^ 0o077)

    def do_map(self) -> None:
        with self.file().open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[0:1] = str(self.chance.randrange(10)).encode()

    def do_write_what_was_kept_open(self) -> None:
        if self.kept_open is None or self.chance.randrange(3) == 0:
            self.kept_open = self.file().open("ab", buffering=0)
        if not self.is_untold(Path(f"/proc/self/fd/{self.kept_open.fileno()}").readlink()):
            self.kept_open.write(b"more\n")

    # --- directories ----------------------------------------------------------------------

    def do_rename_directory(self) -> None:
        target = self.directory() / self.name()
        self.chance.choice(self.entries(directories=True)).rename(target)

    def do_move_out(self) -> None:
        directory = self.chance.choice(self.entries(directories=True))
        shutil.rmtree(self.outside, ignore_errors=True)
        directory.rename(self.outside)

    def do_move_in(self) -> None:
        if not self.outside.exists():
            (self.outside / "inner").mkdir(parents=True)
            (self.outside / "inner" / "moved.txt").write_text(self.text())
        self.outside.rename(self.directory() / self.name())

    def do_write_outside(self) -> None:
        """A directory that was moved out keeps its watch unless somebody thinks of it."""
        (self.outside / "late.txt").write_text(self.text())

    def do_remove_directory(self) -> None:
        shutil.rmtree(self.chance.choice(self.entries(directories=True)))

    def do_replace_directory_by_file(self) -> None:
        directory = self.chance.choice(self.entries(directories=True))
        shutil.rmtree(directory)
        directory.write_text(self.text())

    # --- rules ----------------------------------------------------------------------------

    def do_ignore(self) -> None:
        with (self.directory() / ".gitignore").open("a") as file:
            file.write(f"{self.name()}\n")

    def do_ignore_no_more(self) -> None:
        found = [one for one in self.entries(directories=False) if one.name == ".gitignore"]
        self.chance.choice(found).unlink()

    def do_negate(self) -> None:
        with (self.tree / ".gitignore").open("a") as file:
            file.write(f"!{self.name()}\n")

    def do_exclude(self) -> None:
        exclude = self.common_dir() / "info" / "exclude"
        exclude.write_text(self.chance.choice(["", "b*\n", "a/\n", "*.txt\n"]))

    def do_exclude_everywhere(self) -> None:
        exclude = Path.home() / ".config" / "git" / "ignore"
        exclude.parent.mkdir(parents=True, exist_ok=True)
        exclude.write_text(self.chance.choice(["", "c*\n", "*.hard\n"]))

    def do_configure(self) -> None:
        self.git("config", "core.fileMode", self.chance.choice(["true", "false"]))

    def do_configure_everywhere(self) -> None:
        value = self.chance.choice(["true", "false"])
        self.git("config", "--global", "core.ignoreCase", value)

    # --- the index ------------------------------------------------------------------------

    def do_add(self) -> None:
        self.git("add", "-A")

    def do_add_what_is_ignored(self) -> None:
        self.git("add", "-f", ".")

    def do_take_out(self) -> None:
        self.git("rm", "-q", "--cached", "--", str(self.file().relative_to(self.tree)))

    def do_move(self) -> None:
        source = self.file().relative_to(self.tree)
        self.git("mv", "-k", "--", str(source), f"moved{self.chance.randrange(5)}.txt")

    def do_assume_unchanged(self) -> None:
        flag = self.chance.choice(["--assume-unchanged", "--no-assume-unchanged"])
        self.git("update-index", flag, str(self.file().relative_to(self.tree)))

    # --- commits and branches ---------------------------------------------------------------

    def do_commit(self) -> None:
        self.git("commit", "-q", "-a", "-m", "work")

    def do_commit_everything(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "everything")

    def do_amend(self) -> None:
        self.git("commit", "-q", "--amend", "--allow-empty", "-m", "again")

    def do_switch(self) -> None:
        self.git("checkout", "-q", "-f", self.chance.choice(BRANCHES))

    def do_new_branch(self) -> None:
        self.git("checkout", "-q", "-B", f"new{self.chance.randrange(4)}")

    def do_detach(self) -> None:
        self.git("checkout", "-q", "--detach")

    def do_unborn(self) -> None:
        self.git("symbolic-ref", "HEAD", f"refs/heads/unborn{self.chance.randrange(3)}")

    def do_reset(self) -> None:
        how = self.chance.choice(["--soft", "--mixed", "--hard"])
        self.git("reset", "-q", how, self.chance.choice(["HEAD~1", "main", "HEAD"]))

    def do_clean(self) -> None:
        self.git("clean", "-q", "-f", "-d")

    def do_stash(self) -> None:
        self.git("stash", "push", "-q", *self.chance.choice([(), ("-u",)]))

    def do_unstash(self) -> None:
        self.git("stash", "pop", "-q")

    def do_rebase(self) -> None:
        self.git("rebase", "-q", self.chance.choice(BRANCHES))

    def do_merge(self) -> None:
        self.git("merge", "-q", "--no-edit", self.chance.choice(BRANCHES))

    def do_pick(self) -> None:
        self.git("cherry-pick", self.chance.choice(BRANCHES))

    def do_give_up(self) -> None:
        for what in ("rebase", "merge", "cherry-pick"):
            self.git(what, "--abort")

    def do_move_main(self) -> None:
        """Behind the back of whoever has it checked out."""
        commit = self.git("commit-tree", "-p", "main", "-m", "moved", "main^{tree}")
        self.git("update-ref", "refs/heads/main", commit)

    def do_move_remote(self) -> None:
        self.git("update-ref", "refs/remotes/origin/main", "HEAD")
        self.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")

    def do_forget_remote(self) -> None:
        self.git("update-ref", "-d", "refs/remotes/origin/main")

    def do_delete_branch(self) -> None:
        self.git("branch", "-q", "-D", f"new{self.chance.randrange(4)}")

    def do_pack(self) -> None:
        self.git("pack-refs", "--all")

    def do_collect(self) -> None:
        self.git("gc", "-q")

    def do_sibling(self) -> None:
        path = self.outside.with_name("sibling")
        if path.exists():
            self.git("worktree", "remove", "--force", str(path))
        else:
            self.git("worktree", "add", "-q", "--detach", str(path))

    # --- submodules -------------------------------------------------------------------------

    def do_add_submodule(self) -> None:
        self.git("submodule", "--quiet", "add", "-f", str(self.library), "library")

    def do_edit_submodule(self) -> None:
        (self.tree / "library" / "lib.txt").write_text(self.text())

    def do_commit_in_submodule(self) -> None:
        inside = self.tree / "library"
        if (inside / ".git").exists():
            self.git("commit", "-q", "--allow-empty", "-a", "-m", "inside", cwd=inside)

    def do_switch_submodule(self) -> None:
        inside = self.tree / "library"
        if (inside / ".git").exists():
            self.git("checkout", "-q", "-f", "--detach", "HEAD~1", cwd=inside)

    def do_update_submodule(self) -> None:
        self.git("submodule", "--quiet", "update", "--init", "--force")

    def do_nested_repository(self) -> None:
        inside = self.directory() / "nested"
        inside.mkdir()
        self.git("init", "-q", cwd=inside)
        (inside / "inner.txt").write_text(self.text())
        self.git("add", "-A", cwd=inside)
        self.git("commit", "-q", "-m", "inner", cwd=inside)


KINDS = sorted(name for name in vars(Churn) if name.startswith("do_"))


def main(seed: int, library: Path, outside: Path, trees: list[Path]) -> None:
    """Do a step for each line, until there are no more."""
    churn = Churn(seed, library, outside, trees)
    for _ in sys.stdin:
        print(churn.step(), flush=True)


if __name__ == "__main__":
    places = [Path(one) for one in sys.argv[2:]]
    main(int(sys.argv[1]), places[0], places[1], places[2:])
