"""Terminals under a real systemd. Run by ``test_systemd_service.py``, inside of it only."""

import subprocess
from pathlib import Path

import pytest
import trio
from attrs import evolve

from bbhost.daemon.config import load_config
from bbhost.daemon.service.engine import install, read_status, uninstall
from bbhost.daemon.service.plan import ServiceKind, make_plan
from bbhost.daemon.service.systemd import unit_name
from tests.fakes.stock_server import StockServer
from tests.system.daemon.conftest import data_dir, quiet_git, repo, server  # noqa: F401 - fixtures
from tests.system.daemon.harness import context_of, git, identify, worktree_spec
from tests.system.daemon.test_restart import (
    SETUP,
    left_by_setup,
    replay_of,
    type_and_see,
    wait_gone,
)
from tests.system.daemon.test_terminals import Terminal
from tests.system.systemd_service_steps import in_thread, journal, systemctl, wait_for

pytestmark = pytest.mark.skipif(
    not Path("/run/systemd-runner").is_dir(), reason="only within systemd_runner.sh"
)
ONE = "env_one"


async def test_terminals_and_the_service(
    server: StockServer,  # noqa: F811
    data_dir: Path,  # noqa: F811
    repo: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Restart keeps them; stop, crash and a start that fails leave nothing behind."""
    with trio.fail_after(150):
        subprocess.run(["mount", "-t", "tmpfs", "none", "/etc/systemd/system"], check=True)
        identify(server, data_dir)
        settings = tmp_path / "config.toml"
        settings.write_text(f'server_url = "{server.url}"\ndata_dir = "{data_dir}"\n')
        config = load_config({}, environ={}, file=settings)
        plan = evolve(make_plan(config, ServiceKind.SYSTEMD_SYSTEM), watchdog_seconds=3)
        unit = unit_name(plan)
        drop_in = Path(f"/run/systemd/system/{unit}.d")
        drop_in.mkdir(parents=True)
        (drop_in / "shell.conf").write_text(
            '[Service]\nEnvironment=SHELL=/bin/sh "PS1=$ " ENV=\nRestartSec=100ms\n'
        )

        async def start_again(verb: str) -> None:
            before = server.session
            await in_thread(systemctl, verb, unit)
            await server.wait_connected(other_than=before)

        def fact(name: str) -> str:
            return systemctl("show", "--value", f"--property={name}", unit).strip()

        def members() -> list[str]:
            """What runs in the unit's cgroup, its leaves included."""
            top = Path("/sys/fs/cgroup", fact("ControlGroup").lstrip("/"))
            found = []
            for procs in top.rglob("cgroup.procs") if fact("ControlGroup") else ():
                found += procs.read_text().split()
            return found

        await install(plan)
        (repo / ".bb-env-setup.sh").write_text(SETUP)
        git(repo, "add", "-A")
        git(repo, "commit", "-qm", "set-up")
        server.environments[ONE] = "ready"
        made = await server.run_command(worktree_spec(data_dir, ONE, repo))
        assert made["ok"], made
        terminal = Terminal(server, "term_1", context_of(data_dir, ONE, repo))
        assert (await terminal.open())["type"] == "terminal.opened"
        pid = int(await terminal.ask("echo $$"))
        await terminal.type("KEPT=fort''y-two\r")
        await terminal.shows("KEPT=")
        left = await left_by_setup(data_dir)
        assert "/bbhost-" in Path(f"/proc/{pid}/cgroup").read_text()

        # --- restarted, twice: the shell goes on, with its scrollback and in its leaf -----------------
        for _ in range(2):
            before = await replay_of(terminal)
            main = fact("MainPID")
            await start_again("restart")
            assert fact("MainPID") != main
            assert server.sessions[-1].opened_with["openTerminals"] == [
                {"terminalId": "term_1"}
            ], journal()
            numbers, text, next_seq = await replay_of(terminal)
            assert text.startswith(before[1])
            assert numbers == list(range(next_seq))
            await type_and_see(terminal, "echo $$ is=$KEPT.", f"{pid} is=forty-two.")
            assert fact("NFileDescriptorStore") == "0"
        assert terminal.all("exited") == []
        await wait_gone(left)
        # The daemon's own git comes and goes.
        await wait_for(
            lambda: set(members()) == {fact("MainPID"), str(pid)}, "only the shell is left"
        )

        # --- a crash: nothing survives but the daemon that was started instead ------------------------
        before_crash = server.session
        await in_thread(systemctl, "kill", "--kill-whom=main", "--signal=KILL", unit)
        await server.wait_connected(other_than=before_crash)
        await wait_gone(pid)
        assert server.sessions[-1].opened_with["openTerminals"] == []
        await wait_for(lambda: members() == [fact("MainPID")], "nothing is left")

        # --- a stop: ended, and said so -----------------------------------------------------------------
        second = Terminal(server, "term_2", context_of(data_dir, ONE, repo))
        assert (await second.open())["type"] == "terminal.opened"
        pid = int(await second.ask("echo $$"))
        await in_thread(systemctl, "stop", unit)
        assert (await second.exited())["closeReason"] == "daemon-disconnect"
        assert not Path(f"/proc/{pid}").exists()
        assert members() == []

        # --- left for a start that fails: the command after it ends them --------------------------------
        await start_again("start")
        third = Terminal(server, "term_3", context_of(data_dir, ONE, repo))
        assert (await third.open())["type"] == "terminal.opened"
        # Nothing that the end of the pty, or a hang-up, would end.
        await third.type("setsid nohup sleep 1000 >/dev/null 2>&1 & trap '' HUP\r")
        pid = int(await third.ask("echo $$"))
        (drop_in / "broken.conf").write_text(
            "[Service]\nExecStart=\nExecStart=/bin/false\nRestart=no\n"
        )
        await in_thread(systemctl, "daemon-reload")
        subprocess.run(["systemctl", "restart", unit], capture_output=True, check=False)
        await wait_for(lambda: fact("ActiveState") == "failed", "the start fails")
        assert third.all("exited") == [], "it had been handed over"
        assert not Path(f"/proc/{pid}").exists(), journal()
        assert members() == []
        assert fact("NFileDescriptorStore") == "0"

        (drop_in / "broken.conf").unlink()
        await in_thread(systemctl, "daemon-reload")
        await uninstall(plan)
        assert (await read_status(plan)).pid is None
