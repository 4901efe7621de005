"""The life of the service under a real systemd. Run by ``test_systemd_service.py``, inside of it only."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from attrs import evolve

from bbhost.daemon.config import load_config
from bbhost.daemon.service.engine import (
    InstallOutcome,
    ServiceState,
    UninstallOutcome,
    install,
    read_status,
    show_logs,
    uninstall,
)
from bbhost.daemon.service.plan import ServiceKind, ServicePlan, make_plan
from bbhost.daemon.service.systemd import unit_name
from tests.fakes.stock_server import StockServer
from tests.system.daemon.conftest import data_dir, quiet_git, repo, server  # noqa: F401 - fixtures
from tests.system.daemon.harness import context_of, identify, worktree_spec

pytestmark = pytest.mark.skipif(
    not Path("/run/systemd-runner").is_dir(), reason="only within systemd_runner.sh"
)
ONE = "env_one"
FAULT_FILE = Path("/run/bbhost-fault.env")


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"systemctl {words}: {done.stderr}{journal()}"
    return done.stdout


def journal() -> str:
    done = subprocess.run(
        ["journalctl", "--no-pager", "--output=cat", "--lines=60"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def fact(plan: ServicePlan, name: str) -> str:
    return systemctl("show", "--value", f"--property={name}", unit_name(plan)).strip()


async def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Look again and again: systemd tells nobody else."""
    with trio.move_on_after(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await trio.sleep(0.1)
        return
    raise AssertionError(f"{what}\n{journal()}")


async def in_thread(function: Callable[..., object], *args: object) -> None:
    await trio.to_thread.run_sync(lambda: function(*args))


async def test_the_life_of_the_service(
    server: StockServer,  # noqa: F811
    data_dir: Path,  # noqa: F811
    repo: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Install, ready, status, reload, boundary, watchdog, stop, wrong configuration, uninstall."""
    with trio.fail_after(150):
        # What systemd looks at is ours alone in here; the machine's own units stay as they are.
        subprocess.run(["mount", "-t", "tmpfs", "none", "/etc/systemd/system"], check=True)
        identify(server, data_dir)
        settings = tmp_path / "config.toml"
        settings.write_text(f'server_url = "{server.url}"\ndata_dir = "{data_dir}"\n')
        config = load_config({}, environ={}, file=settings)
        plan = evolve(make_plan(config, ServiceKind.SYSTEMD_SYSTEM), watchdog_seconds=3)
        drop_in = Path(f"/run/systemd/system/{unit_name(plan)}.d")
        drop_in.mkdir(parents=True)
        (drop_in / "fault.conf").write_text(f"[Service]\nEnvironmentFile=-{FAULT_FILE}\n")

        # --- installed means ready --------------------------------------------------------------
        assert (await read_status(plan)).state is ServiceState.NOT_INSTALLED
        began = time.monotonic()
        report = await install(plan)
        ready_seconds = time.monotonic() - began
        assert report.outcome is InstallOutcome.INSTALLED
        status = await read_status(plan)
        assert status.state is ServiceState.RUNNING
        assert "server open" in status.status_text, status
        assert (await install(plan)).outcome is InstallOutcome.UNCHANGED
        assert (await read_status(plan)).pid == status.pid, "an unchanged service is left alone"

        # --- an environment, its processes in a cgroup of their own ------------------------------
        (repo / ".bb-env-setup.sh").write_text(
            "setsid nohup sleep 1000 >/dev/null 2>&1 & echo $! > ../../pid\n"
        )
        for args in (("add", "-A"), ("commit", "-qm", "setup")):
            subprocess.run(["git", *args], cwd=repo, check=True, capture_output=True)
        server.environments[ONE] = "ready"
        made = await server.run_command(worktree_spec(data_dir, ONE, repo))
        assert made["ok"], made
        workspace = Path(context_of(data_dir, ONE, repo)["workspacePath"])
        pid = int((workspace.parent.parent / "pid").read_text())
        cgroup = Path(f"/proc/{pid}/cgroup").read_text()
        assert f"/{unit_name(plan)}/bbhost-" in cgroup, cgroup
        daemon_cgroup = Path(f"/proc/{status.pid}/cgroup").read_text()
        assert cgroup != daemon_cgroup
        await wait_for(lambda: "1 ready" in fact(plan, "StatusText"), "the status line counts")

        # --- reload -------------------------------------------------------------------------------
        settings.write_text(settings.read_text() + 'log_level = "debug"\ngit_processes = 3\n')
        await in_thread(systemctl, "reload", unit_name(plan))
        await wait_for(lambda: "configuration read again" in journal(), "reloaded")
        assert (await read_status(plan)).pid == status.pid
        settings.write_text("this is not TOML")
        await in_thread(systemctl, "reload", unit_name(plan))
        await wait_for(lambda: "the configuration stays as it was" in journal(), "refused")
        assert fact(plan, "ActiveState") == "active"
        settings.write_text(f'server_url = "{server.url}"\ndata_dir = "{data_dir}"\n')

        # --- a blocked loop is found out, killed and started again -------------------------------
        FAULT_FILE.write_text("BBHOST_FAULT=block:health.check\n")
        await in_thread(systemctl, "restart", unit_name(plan))
        FAULT_FILE.unlink()
        blocked_at = time.monotonic()
        before = server.session
        await wait_for(lambda: fact(plan, "Result") == "watchdog", "the watchdog bites")
        await wait_for(
            lambda: int(fact(plan, "NRestarts")) >= 1 and fact(plan, "ActiveState") == "active",
            "the watchdog restarts it",
        )
        restart_seconds = time.monotonic() - blocked_at
        await server.wait_connected(other_than=before)
        await wait_for(lambda: "1 ready" in fact(plan, "StatusText"), "the environment is back")
        assert workspace.exists()

        # --- stop, with an environment and a process in it ----------------------------------------
        context = context_of(data_dir, "env_two", repo)
        server.environments["env_two"] = "ready"
        assert (await server.run_command(worktree_spec(data_dir, "env_two", repo)))["ok"]
        pid = int((Path(context["workspacePath"]).parent.parent / "pid").read_text())
        assert Path(f"/proc/{pid}").exists()
        began = time.monotonic()
        await in_thread(systemctl, "stop", unit_name(plan))
        stop_seconds = time.monotonic() - began
        assert stop_seconds < 10
        assert fact(plan, "Result") == "success"
        assert not Path(f"/proc/{pid}").exists()
        assert workspace.exists()

        # --- one line for each transition in the journal ------------------------------------------
        pieces: list[bytes] = []
        await show_logs(plan, pieces.append, lines=1000)
        lines = [json.loads(one) for one in b"".join(pieces).splitlines() if one.startswith(b"{")]
        made_lines = [one for one in lines if one["message"] == "provisioning -> ready"]
        assert {one["environment"] for one in made_lines} == {ONE, "env_two"}
        assert all(one["incarnation"] == 1 and one["duration_ms"] >= 0 for one in made_lines)

        # --- what cannot get better by being started again is not ----------------------------------
        settings.write_text("nonsense = 1\n")
        subprocess.run(["systemctl", "start", unit_name(plan)], capture_output=True, check=False)
        await wait_for(lambda: fact(plan, "ActiveState") == "failed", "it is left down")
        assert fact(plan, "NRestarts") == "0"
        assert fact(plan, "ExecMainStatus") == "78"

        assert await uninstall(plan) is UninstallOutcome.REMOVED
        assert await uninstall(plan) is UninstallOutcome.NOT_INSTALLED
        assert (await read_status(plan)).state is ServiceState.NOT_INSTALLED
        print(
            f"ready {ready_seconds:.2f} s, watchdog to active {restart_seconds:.2f} s, stop {stop_seconds:.2f} s"
        )
