"""A service that runs as another user, under a real systemd. Run by ``test_systemd_service.py``, inside of it only."""

import subprocess
import sys
from pathlib import Path

import pytest
import trio

from bbhost.daemon.config import load_config
from bbhost.daemon.service.engine import (
    InstallOutcome,
    ServiceState,
    install,
    read_status,
    uninstall,
)
from bbhost.daemon.service.plan import ServiceKind, make_plan
from bbhost.daemon.service.systemd import unit_name
from tests.fakes.stock_server import StockServer
from tests.system.daemon.conftest import quiet_git, server  # noqa: F401 - fixtures
from tests.system.daemon.harness import context_of, identify, worktree_spec
from tests.system.systemd_service_steps import fact, in_thread, journal, systemctl

pytestmark = pytest.mark.skipif(
    not Path("/run/systemd-runner").is_dir(), reason="only within systemd_runner.sh"
)
ONE = "env_one"
USER, USER_ID = "bbhost-agent", 54_321
HOME = Path("/run/bbhost-agent")
CHECKOUT = Path(__file__).parent.parent.parent


def run(*words: str, cwd: Path | None = None) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, f"{words}: {done.stderr}"


def add_user() -> None:
    """In here only: the account files are ours alone."""
    for name, line in (
        ("passwd", f"{USER}:x:{USER_ID}:{USER_ID}::{HOME}:/bin/sh"),
        ("group", f"{USER}:x:{USER_ID}:"),
    ):
        ours = Path("/run") / name
        ours.write_text(Path("/etc", name).read_text().rstrip("\n") + f"\n{line}\n")
        run("mount", "--bind", str(ours), f"/etc/{name}")


def let_through(path: Path) -> None:
    """Let others reach ``path``, where a directory above it is closed: put an open one in its place, in here
    only, with the same things in it."""
    for above in reversed(path.parents):
        if above.stat().st_mode & 0o001:
            continue
        kept = Path("/run/kept") / str(above).replace("/", "-")
        kept.mkdir(parents=True)
        run("mount", "--bind", str(above), str(kept))
        run("mount", "-t", "tmpfs", "-o", "mode=0755", "none", str(above))
        for one in kept.iterdir():
            if one.is_dir() and not one.is_symlink():
                (above / one.name).mkdir()
                run("mount", "--bind", str(one), str(above / one.name))


def make_home() -> Path:
    """A home with a repository whose set-up script leaves a process behind; returns the repository."""
    repo = HOME / "repo"
    repo.mkdir(parents=True)
    (repo / ".bb-env-setup.sh").write_text(
        "setsid nohup sleep 1000 >/dev/null 2>&1 & echo $! > ../../pid\n"
    )
    for words in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-qm", "first")):
        run("git", *words, cwd=repo)
    return repo


async def test_the_service_of_another_user(server: StockServer) -> None:  # noqa: F811
    """Its files are that user's, its environments have cgroups of their own, and nothing is left of them."""
    with trio.fail_after(100):
        run("mount", "-t", "tmpfs", "none", "/etc/systemd/system")
        add_user()
        for path in (Path(sys.prefix), Path(sys.base_prefix), CHECKOUT):
            let_through(path / "x")
        repo, data_dir = make_home(), HOME / "data"
        identify(server, data_dir)
        settings = HOME / "config.toml"
        settings.write_text(f'server_url = "{server.url}"\ndata_dir = "{data_dir}"\n')
        run("chown", "-R", f"{USER}:{USER}", str(HOME))
        config = load_config({}, environ={}, file=settings)
        plan = make_plan(config, ServiceKind.SYSTEMD_SYSTEM, user=USER)

        assert (await install(plan)).outcome is InstallOutcome.INSTALLED
        status = await read_status(plan)
        assert status.state is ServiceState.RUNNING, journal()
        assert "server open" in status.status_text
        assert Path(f"/proc/{status.pid}").stat().st_uid == USER_ID

        server.environments[ONE] = "ready"
        made = await server.run_command(worktree_spec(data_dir, ONE, repo))
        assert made["ok"], made
        workspace = Path(context_of(data_dir, ONE, repo)["workspacePath"])
        assert workspace.stat().st_uid == USER_ID
        pid = int((workspace.parent.parent / "pid").read_text())
        assert Path(f"/proc/{pid}").stat().st_uid == USER_ID
        cgroup = Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")
        assert f"/{unit_name(plan)}/bbhost-" in cgroup, cgroup
        context = context_of(data_dir, ONE, repo)
        gone = await server.run_command(
            {"type": "environment.destroy", "environmentId": ONE, "workspaceContext": context}
        )
        assert gone["ok"], gone
        assert not Path(f"/proc/{pid}").exists()
        assert not Path("/sys/fs/cgroup", cgroup.lstrip("/")).exists()
        assert not workspace.parent.exists()
        assert [one for one in data_dir.rglob("*") if one.lstat().st_uid != USER_ID] == []

        await in_thread(systemctl, "restart", unit_name(plan))
        assert fact(plan, "ActiveState") == "active"
        await in_thread(systemctl, "stop", unit_name(plan))
        assert fact(plan, "Result") == "success"
        await uninstall(plan)
