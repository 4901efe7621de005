"""``bbhost up`` as a real process, and commands beside it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

COMMAND_SECONDS = 60
IDENTITY = ("-c", "user.name=Dev", "-c", "user.email=dev@example.invalid")
PROVIDER = """
[providers.echo]
kind = "command"
argv = ["sh", "-c", 'echo "asked: $1"', "agent", "{prompt}"]
[providers.write]
kind = "command"
argv = ["sh", "-c", "echo more > written", "agent", "{prompt}"]
"""


@frozen
class CommandLine:
    """Runs ``bbhost`` for one data directory, without the settings of whoever runs the tests."""

    place: Path

    @property
    def environ(self) -> Mapping[str, str]:
        """What the commands see."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("BB_", "BBHOST_", "GIT_"))
        }
        return {
            **kept,
            "BBHOST_DATA_DIR": str(self.data_dir),
            "BBHOST_CONFIG": str(self.place / "config.toml"),
            "TERM": "xterm",
        }

    @property
    def data_dir(self) -> Path:
        """Of hub and daemon."""
        return self.place / "data"

    @property
    def repository(self) -> Path:
        """A repository with one commit."""
        return self.place / "repo"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "bbhost", *arguments],
            env=self.environ,
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run a command with ``--json``; return the last document it prints."""
        done = self.run(*arguments, "--json")
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command that runs until it is stopped."""
        return subprocess.Popen(
            [sys.executable, "-m", "bbhost", *arguments],
            env=self.environ,
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def make_place(place: Path) -> CommandLine:
    """Make a repository and a configuration."""
    cli = CommandLine(place)
    cli.repository.mkdir()
    (place / "config.toml").write_text(PROVIDER)
    (cli.repository / "file.txt").write_text("one\n")
    for arguments in (
        (("init", "-q", "-b", "main")),
        ("add", "."),
        ("commit", "-q", "-m", "Begin"),
    ):
        subprocess.run(["git", *IDENTITY, *arguments], cwd=cli.repository, check=True)
    return cli


def end(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[int, str, str]:
    """End a process with a signal; return its exit code and what else it said."""
    if process.poll() is None:
        process.send_signal(number)
    out, err = process.communicate(timeout=COMMAND_SECONDS)
    return process.returncode, out, err


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    """Nothing runs yet."""
    return make_place(tmp_path)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """``bbhost up`` runs."""
    cli = make_place(tmp_path_factory.mktemp("up"))
    process = cli.start("up", "--port", "0", "--json")
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline() or "{}")
        assert told.get("outcome") == "ok", process.stderr.read() if process.stderr else ""
        yield cli
    finally:
        end(process)
