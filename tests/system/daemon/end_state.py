"""What is left when everything is done: the whole world as plain values that can be compared.

What two runs of the same commands cannot have in common (times, random names, commit ids, process ids)
is replaced; everything else counts: every file's bytes and mode, git's books, the journal's rows, what
the server was told, the processes and the kernel's watches.
"""

import difflib
import hashlib
import json
import os
import re
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from attrs import frozen

from bbhost.daemon.assembly import JOURNAL_NAME
from bbhost.daemon.publishing_commands import FACTS_PREFIX
from bbhost.processes.environ import MARKER_VARIABLE
from bbhost.processes.marker import data_directory_id, parse_markers
from tests.fakes.stock_server import StockCommand, StockServer
from tests.system.daemon.harness import DaemonProcess

VOLATILE_FILES = {
    "auth.json",
    "host-id",
    "run",
    "bbhost.lock",
    JOURNAL_NAME,
    f"{JOURNAL_NAME}-wal",
    f"{JOURNAL_NAME}-shm",
}
"""Of the data directory; looked at by themselves, or not about environments."""
VOLATILE_KEYS = {"changedAt", "changed_at", "incarnation", "completedAt", "startedAt", "durationMs",
                 "producerEventId", "sequence", "sessionId", "commandId", "lastFetchAt", "transcript"}  # fmt: skip
_SHA = re.compile(r"\b[0-9a-f]{40}\b")


@frozen
class Observer:
    """Looks at one world. ``top`` holds all of it: repository, data directory, home."""

    top: Path
    repo: Path
    data_dir: Path

    # --- while the daemon runs ------------------------------------------------------------------

    async def observe_daemon(self, daemon: DaemonProcess) -> dict[str, Any]:
        """What it believes, what the kernel watches for it, and what its doctor says."""
        status = await daemon.control("GET", "/status")
        report = await daemon.control("GET", "/doctor")
        return {
            "environments": sorted(
                (one["id"], one["state"], self.plain(one["path"]), self.plain(one["watchTrouble"]),
                 self.plain(one["teardownTrouble"])) for one in status["environmentList"]
            ),
            "terminals": status["terminals"],
            "doctor": sorted(
                (one["check"], one["severity"], self.plain(one["what"]))
                for one in report["findings"]
                if one["severity"] in {"warning", "error"}
            ),
            "watched": self._watched(daemon.process.pid),
            "processes": self.processes(),
        }  # fmt: skip

    def _watched(self, pid: int) -> list[str]:
        """Every watch of the kernel, by the path of its inode where it is one of this world's."""
        places = {self.top: self.top.stat().st_ino}
        for directory, names, files in os.walk(self.top):
            for name in [*names, *files]:
                path = Path(directory, name)
                places[path] = path.lstat().st_ino
        paths = {inode: self.plain(str(path)) for path, inode in places.items()}
        found = []
        for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
            try:
                text = entry.read_text()
            except OSError:
                continue
            inodes = re.findall(r"^inotify wd:\S+ ino:(\S+)", text, re.MULTILINE)
            found += [paths.get(int(inode, 16), "gone") for inode in inodes]
        return sorted(found)

    def processes(self) -> list[str]:
        """Command lines of the processes that carry a marker of this data directory."""
        ours = data_directory_id(self.data_dir)
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                variables = (place / "environ").read_bytes().split(b"\0")
                command = (place / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            except OSError:
                continue
            prefix = f"{MARKER_VARIABLE}=".encode()
            for variable in variables:
                if not variable.startswith(prefix):
                    continue
                text = variable.removeprefix(prefix).decode(errors="replace")
                if any(marker.data_id == ours for marker in parse_markers(text)):
                    found.append(self.plain(b" ".join(command).decode(errors="replace")))
        return sorted(found)

    # --- afterwards -----------------------------------------------------------------------------

    def observe_disk(self) -> dict[str, Any]:
        """Files, git and journal. The daemon has ended."""
        return {
            "repository files": self.files(self.repo),
            "data directory": self.files(self.data_dir),
            "git": self._git(),
            "journal": self._journal(),
            "processes left": self.processes(),
        }

    def files(self, root: Path) -> dict[str, str]:
        """Every file beneath ``root``: mode and content. Repositories' own files are git's business."""
        found = {}
        for directory, names, files in os.walk(root):
            if Path(directory) == self.data_dir:
                names[:] = [name for name in names if name not in VOLATILE_FILES]
                files = [name for name in files if name not in VOLATILE_FILES]
                if "trash" in names and not any(Path(directory, "trash").iterdir()):
                    names.remove("trash")  # made when it is first needed
            if ".git" in names:
                names.remove(".git")
            for name in [*names, *files]:
                path = Path(directory, name)
                relative = self._random(str(path.relative_to(root)))
                found[relative] = self._describe(path)
        return found

    def _describe(self, path: Path) -> str:
        mode = f"{path.lstat().st_mode:o}"
        if path.is_symlink():
            return f"{mode} -> {self.plain(str(path.readlink()))}"
        if path.is_dir():
            return mode
        content = path.read_bytes()
        if path.name == "note.json":
            content = self.plain(json.dumps(self._settled(json.loads(content)))).encode()
        elif path.name == ".git":
            content = self.plain(content.decode()).encode()
        return f"{mode} {hashlib.sha256(content).hexdigest()[:12]} {content[:60]!r}"

    def _git(self) -> dict[str, Any]:
        listed = self._run_git("worktree", "list", "--porcelain")
        worktrees = [self.plain(block) for block in listed.strip().split("\n\n")]
        common = self.repo / ".git"
        registered = sorted(path.name for path in (common / "worktrees").glob("*"))
        return {
            "worktrees": sorted(worktrees),
            "registered": registered,
            "locks": sorted(str(path.relative_to(common)) for path in common.rglob("*.lock")),
            "refs": self._refs(),
            "status": self.plain(self._run_git("status", "--porcelain", "--ignored")),
            "damage": self._run_git("fsck", "--no-dangling", "--no-progress"),
            "configuration": self._run_git("config", "--local", "--list"),
        }

    def _refs(self) -> dict[str, list[str]]:
        names = self._run_git("for-each-ref", "--format=%(refname)").split()
        return {name: self._history(name) for name in names}

    def _history(self, name: str) -> list[str]:
        """The commits that lead to a ref, by tree and message."""
        text = self._run_git("log", "-z", "--format=%T %B", name, "--")
        return [self.plain(one).strip() for one in text.split("\0")]

    def _journal(self) -> dict[str, Any]:
        connection = sqlite3.connect(f"file:{self.data_dir / JOURNAL_NAME}?mode=ro", uri=True)
        try:
            tables = [
                name
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
                )
            ]
            rows = {
                name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables
            }
        finally:
            connection.close()
        # Records of processes that have ended are dropped now and then, and say nothing.
        lasting = [row for row in rows.pop("processes") if Path(f"/proc/{row[0]}").exists()]
        environments = [self._settled(json.loads(row[-1])) for row in rows.pop("environments")]
        return {
            "environments": [self.plain(json.dumps(one, sort_keys=True)) for one in environments],
            "settled": len(rows.pop("settled")),
            "processes": lasting,
            # Those of publishing commands are dropped in batches after they have been answered.
            "facts": [row[0] for row in rows.pop("facts") if not row[0].startswith(FACTS_PREFIX)],
            **{name: [self.plain(str(row)) for row in rest] for name, rest in rows.items()},
        }

    # --- what the server was told -----------------------------------------------------------------

    def observe_server(self, server: StockServer, rows: list[StockCommand]) -> dict[str, Any]:
        """Results and the kinds of events; at least once means that counts may differ.

        Not the changes: they are hints to ask again, and a restart gives them once more. Nor the transcript
        within a result: what another daemon had made is told by the events alone.
        """
        return {
            "results": [
                self.plain(json.dumps(self._settled(row.result), sort_keys=True)) for row in rows
            ],
            "expired": [row.command_id for row in rows if row.deliveries > 2],
            "events": sorted({self.plain(_kind(one["event"])) for one in server.events}),
        }

    # --- making comparable ------------------------------------------------------------------------

    def _settled(self, value: Any) -> Any:
        """Without the values that no two runs have in common."""
        if isinstance(value, dict):
            return {
                key: self._settled(one)
                for key, one in value.items()
                if key not in VOLATILE_KEYS and not key.endswith(("_ms", "At", "Ms"))
            }
        if isinstance(value, list):
            return [self._settled(one) for one in value]
        return value

    def plain(self, text: str) -> str:
        """Without this world's paths and with commits told by their content."""
        text = self._random(text.replace(str(self.top), "<top>"))
        return _SHA.sub(lambda match: self._content(match[0]), text)

    def _content(self, sha: str) -> str:
        done = subprocess.run(
            ["git", "log", "-1", "--format=%T:%s", sha],
            cwd=self.repo, check=False, capture_output=True, text=True,
        )  # fmt: skip
        return f"<{done.stdout.strip()}>" if done.returncode == 0 else "<unknown>"

    @staticmethod
    def _random(text: str) -> str:
        text = re.sub(r"(env_\w+-\d+-)[0-9a-f]{8}\b", r"\1<random>", text)
        # What git says about a branch that is already there; and commits by a few of their digits.
        text = re.sub(r"Preparing worktree \([^)]*\)", "Preparing worktree", text)
        return re.sub(r"(HEAD is now at |Using branch: \S+ \()[0-9a-f]+", r"\1<short>", text)

    def _run_git(self, *args: str) -> str:
        done = subprocess.run(
            ["git", *args], cwd=self.repo, check=True, capture_output=True, text=True
        )
        return done.stdout


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Where two states differ, line by line."""
    before, after = (
        json.dumps(state, indent=1, sort_keys=True, default=str).splitlines()
        for state in (expected, found)
    )
    return [line for line in difflib.ndiff(before, after) if line[0] in "+-"]


def _kind(event: dict[str, Any]) -> str:
    entries = event.get("entries") or []
    return " ".join([event["type"], *(f"{one.get('key')}" for one in entries)])
