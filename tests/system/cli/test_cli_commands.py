"""The command line with real processes: outcomes, exit codes, and what stays behind."""

import json
import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from bbhost.daemon.lock import lock_owner
from tests.system.cli.conftest import CommandLine, end

pytestmark = pytest.mark.slow


def test_an_environment_from_its_making_to_its_end(up: CommandLine) -> None:
    """Made, edited, asked, destroyed, refused: each with the outcome that scripts see."""
    made = up.json("env", "create", str(up.repository), "--name", "life")["environment"]
    assert made["state"] == "ready"
    workspace = Path(made["workspacePath"])
    (workspace / "file.txt").write_text("two\n")
    status = up.json("env", "status", "life")["workspaceStatus"]
    assert [file["path"] for file in status["workingTree"]["files"]] == ["file.txt"]
    assert "+two" in up.run("env", "diff", "life").stdout
    assert up.json("files", "ls", "life")["files"][0]["path"] == "file.txt"
    assert up.run("files", "cat", "life", "file.txt").stdout == "two\n"
    assert up.json("env", "ls")["environments"][0]["name"] == "life"
    assert up.json("status")["health"] == "healthy"
    gone = up.json("env", "destroy", "life")
    assert gone["environment"]["state"] == "destroyed"
    assert not workspace.exists()
    refused = up.json("env", "status", made["id"], code=4)
    assert refused["outcome"] == "refused"
    assert refused["error"]["code"] == "environment_destroyed"
    assert not workspace.exists()


def test_a_checkout_has_the_permissions_of_the_person(up: CommandLine) -> None:
    """The daemon's own files are private; what git and agents write is as without the daemon."""
    person = 0o777 & ~current_umask()
    made = up.json("env", "create", str(up.repository), "--name", "modes")["environment"]
    workspace = Path(made["workspacePath"])
    assert mode_of(workspace) == person
    assert mode_of(workspace / "file.txt") == person & 0o666
    up.json("thread", "start", "modes", "x", "--provider", "write", "--wait")
    assert mode_of(workspace / "written") == person & 0o666
    up.json("env", "commit", "modes", "-m", "Write")
    up.json("env", "merge", "modes", "--into", "main", "-m", "Write")
    assert mode_of(up.repository / "written") == person & 0o666
    up.json("env", "destroy", "modes")
    for private in (up.data_dir, workspace.parent.parent, up.data_dir / "bbhost.sqlite"):
        assert mode_of(private) & 0o077 == 0


def test_a_branch_that_exists_is_continued(up: CommandLine) -> None:
    """Its commits are work: only ``--base`` sets a branch to something else."""
    made = up.json("env", "create", str(up.repository), "--branch", "topic")["environment"]
    workspace = Path(made["workspacePath"])
    (workspace / "only-here").write_text("x\n")
    up.json("env", "commit", made["id"], "-m", "Only here")
    up.json("env", "destroy", made["id"])
    again = up.json("env", "create", str(up.repository), "--branch", "topic")["environment"]
    assert (Path(again["workspacePath"]) / "only-here").exists()
    up.json("env", "destroy", again["id"])
    anew = up.json("env", "provision", made["id"])["environment"]
    assert (Path(anew["workspacePath"]) / "only-here").exists()
    up.json("env", "destroy", made["id"])


def made_so_far(cli: CommandLine) -> list[Path]:
    """What there is of the data directory."""
    return sorted(cli.data_dir.rglob("*")) + ([cli.data_dir] if cli.data_dir.exists() else [])


def mode_of(path: Path) -> int:
    """Return the permission bits of a file."""
    return stat.S_IMODE(path.lstat().st_mode)


def current_umask() -> int:
    """Return the mask that this process, and what it starts, makes files with."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def test_an_agent_has_a_turn(up: CommandLine) -> None:
    """``run`` makes a worktree, follows the turn, and ends with its outcome."""
    done = up.run("run", "--repo", str(up.repository), "--provider", "echo", "--destroy", "hello")
    assert done.returncode == 0, done.stderr
    assert "asked: hello" in done.stdout
    assert up.json("providers", "ls")["providers"][-2]["id"] == "echo"


def test_a_thread_of_a_destroyed_environment_is_not_watched(up: CommandLine) -> None:
    """Nobody works in it any more; the watch of its storage goes with the environment."""

    def watches() -> int:
        return up.json("status")["daemon"]["watch"]["kernelWatches"]

    before = watches()
    made = up.json("env", "create", str(up.repository), "--name", "storage")["environment"]
    up.json("thread", "start", made["id"], "hello", "--provider", "echo", "--wait")
    assert watches() > before
    up.json("env", "destroy", made["id"])
    assert watches() == before


def test_a_name_is_given_once(up: CommandLine) -> None:
    """With two of a name neither could be named; a destroyed one gives its name free."""
    made = up.json("env", "create", str(up.repository), "--name", "once")["environment"]
    taken = up.json("env", "create", str(up.repository), "--name", "once", code=4)
    assert taken["error"]["code"] == "name_taken"
    up.json("env", "destroy", made["id"])
    again = up.json("env", "create", str(up.repository), "--name", "once")["environment"]
    up.json("env", "destroy", again["id"])


def test_the_branch_that_is_shown_is_the_one_that_it_is_on(up: CommandLine) -> None:
    """Also after somebody has renamed it, and what a rescue kept of commits is shown."""
    made = up.json("env", "create", str(up.repository), "--branch", "before")["environment"]
    workspace = made["workspacePath"]
    git = ["git", "-c", "user.name=d", "-c", "user.email=d@example.invalid", "-C", workspace]
    subprocess.run([*git, "branch", "-m", "after"], check=True)
    assert "after" in up.run("env", "show", made["id"]).stdout
    subprocess.run([*git, "checkout", "-q", "--detach"], check=True)
    assert "(detached)" in up.run("env", "show", made["id"]).stdout
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "lost"], check=True)
    up.json("env", "destroy", made["id"])
    assert "commits that no branch leads to" in up.run("rescue", "show", made["id"]).stdout


def test_an_agent_that_is_not_known_is_said(up: CommandLine) -> None:
    """A thread that breaks ends the following of it."""
    done = up.json("run", "--repo", str(up.repository), "--provider", "none", "x", code=1)
    assert done["outcome"] == "failed"


def test_a_terminal_that_is_not_known_is_said(up: CommandLine) -> None:
    """The refusal of a socket is told as what it is, not as a hub that does not answer."""
    done = up.json("term", "attach", "term_nobody", code=4)
    assert done["outcome"] == "not_found"
    assert done["error"]["code"] == "terminal_not_found"


def test_a_failed_provisioning_is_said(up: CommandLine, tmp_path: Path) -> None:
    """The environment that could not be made is shown with its error, and with the way out."""
    done = up.run("env", "create", str(tmp_path), "--name", "lost")
    assert done.returncode == 1
    for command in ("provision", "destroy"):
        assert f"bbhost env {command} " in done.stderr
    again = up.json("env", "provision", "lost", code=1)
    assert again["outcome"] == "failed"
    assert again["environment"]["error"]["code"]
    up.json("env", "destroy", "lost")
    gone = up.run("run", "--repo", str(tmp_path / "nowhere"), "--provider", "echo", "hello")
    assert "does not exist" in gone.stderr
    assert "bbhost env destroy " in gone.stderr
    up.json("env", "destroy", up.json("env", "ls")["environments"][-1]["id"])
    assert "lost" not in [one["name"] for one in up.json("env", "ls")["environments"]]


def test_exit_codes(cli: CommandLine) -> None:
    """Usage 2, nobody there 3, wrong configuration 78; and the words of them."""
    assert cli.run("env", "create", "--unknown").returncode == 2
    assert cli.run("up", "--port", "99999").returncode == 2, "not the port that is left of it"
    assert cli.json("env", "ls", code=3)["outcome"] == "unreachable"
    assert cli.json("env", "ls", "--server", "hub", code=78)["outcome"] == "configuration"
    assert cli.json("status", code=3)["health"] == "dead"
    assert cli.json("stop", code=4)["outcome"] == "not_found"
    (cli.place / "config.toml").write_text("nonsense = 1\n")
    assert cli.json("config", "show", code=78)["outcome"] == "configuration"


def test_the_doctor_finds_nothing_wrong_before_the_first_start(cli: CommandLine) -> None:
    """That nothing has been made yet is no fault."""
    findings = cli.json("doctor")["findings"]
    assert "ok" in [one["severity"] for one in findings if one["check"] == "disk"]
    assert made_so_far(cli) == []


def test_looking_for_leftovers_leaves_none(cli: CommandLine) -> None:
    """Without a daemon, before the first start."""
    assert cli.json("gc")["items"] == []
    assert made_so_far(cli) == []


def test_help_changes_nothing(cli: CommandLine) -> None:
    """Neither --help nor config show makes a file."""
    before = sorted(cli.place.rglob("*"))
    for arguments in (("--help",), ("up", "--help"), ("daemon", "--help"), ("config", "show")):
        assert cli.run(*arguments).returncode == 0
    assert sorted(cli.place.rglob("*")) == before


def test_settings_tell_where_they_come_from(cli: CommandLine) -> None:
    """Value and source of each; secrets hidden."""
    done = cli.json("config", "show")
    settings = {one["name"]: one for one in done["settings"]}
    assert settings["data_dir"]["source"] == "BBHOST_DATA_DIR"
    assert settings["log_level"] == {
        **settings["log_level"],
        "value": "info",
        "source": "default",
    }
    assert done["providers"]["echo"] == ["argv", "kind"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_restarts_a_daemon_and_ends_cleanly(cli: CommandLine, number: int) -> None:
    """A killed daemon is started again and that is said; a signal ends both, in good order."""
    process = cli.start("up", "--port", "0", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    told = json.loads(process.stdout.readline())
    os.kill(told["daemonPid"], signal.SIGKILL)
    assert "was killed by SIGKILL" in process.stderr.readline()
    code, _, _ = end(process, number)
    assert code == 0
    assert lock_owner(cli.data_dir) is None
    assert not (cli.data_dir / "run" / "hub.json").exists()
    assert (cli.data_dir / "hub" / "hub-token").stat().st_mode & 0o777 == 0o600


def test_a_second_up_is_refused(up: CommandLine) -> None:
    """It says who owns the data directory and what to do."""
    done = up.run("up", "--port", "0")
    assert done.returncode == 1
    assert "bbhost stop" in done.stderr


@pytest.mark.long
def test_the_demonstration_passes(cli: CommandLine) -> None:
    """Every check of it."""
    done = cli.json("demo")
    assert [check["name"] for check in done["checks"] if not check["passed"]] == []
