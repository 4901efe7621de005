"""The notification protocol over real datagram sockets, and launchd's slow goodbye over a stand-in."""

import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from attrs import evolve

from bbhost.daemon.__main__ import EXIT_CONFIGURATION, exit_code_for
from bbhost.daemon.config import Config, load_config
from bbhost.daemon.loop_lag import LoopLag
from bbhost.daemon.notify import Notifier, take_notifier
from bbhost.daemon.service import engine
from bbhost.daemon.service.plan import ServiceKind, make_plan
from bbhost.toolkit.histogram import Histogram


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """What the service manager listens on."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if request.param == "abstract":
        if sys.platform != "linux":
            pytest.skip("the abstract namespace is Linux's")
        receiver.bind(f"\0bbhost-test-{os.getpid()}")
    else:
        receiver.bind(str(tmp_path / "notify"))
    receiver.settimeout(5)
    with receiver:
        yield receiver


def address_of(listener: socket.socket) -> str:
    name = listener.getsockname()
    return f"@{os.fsdecode(name[1:])}" if isinstance(name, bytes) else name


def test_every_message_arrives_in_its_form(listener: socket.socket) -> None:
    """READY, STATUS on one line, RELOADING with the clock that systemd compares, STOPPING, WATCHDOG."""
    environ = {"NOTIFY_SOCKET": address_of(listener), "WATCHDOG_USEC": "3000000", "KEPT": "1"}
    notifier = take_notifier(environ)
    assert environ == {"KEPT": "1"}, "children must not speak in the daemon's name"
    assert notifier.watchdog_seconds == 3.0
    notifier.ready("1 ready\nREADY=1")
    assert listener.recv(500) == b"READY=1\nSTATUS=1 ready READY=1"
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    first, second = listener.recv(500).decode().split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    notifier.watchdog()
    notifier.extend_timeout(1.5)
    notifier.stopping("bye")
    assert [listener.recv(500) for _ in range(3)] == [
        b"WATCHDOG=1",
        b"EXTEND_TIMEOUT_USEC=1500000",
        b"STOPPING=1\nSTATUS=bye",
    ]


@pytest.mark.slow
def test_nobody_listening_is_no_fault(tmp_path: Path) -> None:
    """No socket, a dead one, a full one, and a kind we do not know: nothing waits, nothing fails."""
    assert not take_notifier({}).is_wanted
    assert not take_notifier({"NOTIFY_SOCKET": "vsock:2:1234"}).is_wanted
    Notifier(str(tmp_path / "nowhere")).ready()
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiver:
        receiver.bind(str(tmp_path / "full"))
        for _ in range(2000):
            Notifier(str(tmp_path / "full")).status("x" * 1000)


def test_a_watchdog_for_another_process_is_not_ours() -> None:
    """WATCHDOG_PID says whom it is for."""
    asked = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    assert take_notifier(asked).watchdog_seconds is None


def test_launchd_is_not_made_to_try_again_what_cannot_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has no exit code that prevents a restart but 0."""
    assert exit_code_for(EXIT_CONFIGURATION) == 78
    monkeypatch.setenv("BBHOST_SERVICE_MANAGER", "launchd")
    assert exit_code_for(EXIT_CONFIGURATION) == 0
    assert exit_code_for(1) == 1


async def test_the_lag_is_what_the_loop_was_late() -> None:
    """Observed lateness is remembered; the worst of it is told."""
    lag = LoopLag()
    for seconds in (0.1, 2.5, 0.2):
        lag.observe(seconds)
    assert (lag.last_seconds, lag.worst_seconds) == (0.2, 2.5)
    assert lag.overdue_seconds(trio.current_time()) == 0.0


def test_histograms_count_by_upper_bound() -> None:
    """A value on a bound belongs below it; what is beyond the last is counted in the total only."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    assert histogram.cumulative() == [(1.0, 2), (2.0, 3)]
    assert (histogram.count, histogram.total) == (4, 12.0)


LAUNCHCTL = """#!/bin/sh
# A launchctl that says yes before it has done so, like the real one.
state="$FAKE_STATE"
echo "$@" >> "$state/calls"
case "$1" in
  print)
    if [ -e "$state/leaving" ]; then
      left=$(cat "$state/leaving"); left=$((left - 1)); echo $left > "$state/leaving"
      [ $left -le 0 ] && rm -f "$state/leaving" "$state/loaded"
    fi
    [ -e "$state/loaded" ] || exit 113
    printf 'x = {\\n\\tstate = running\\n\\tpid = 4711\\n\\truns = 1\\n\\tlast exit code = (never exited)\\n}\\n' ;;
  bootstrap) [ -e "$state/loaded" ] && exit 5; touch "$state/loaded" ;;
  bootout) echo 3 > "$state/leaving"; exit 36 ;;
esac
exit 0
"""


@pytest.mark.slow
async def test_launchd_is_waited_for(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Install, install again, change, uninstall: never loaded twice, never killed by kickstart."""
    tools, state = tmp_path / "bin", tmp_path / "state"
    tools.mkdir()
    state.mkdir()
    script = tools / "launchctl"
    script.write_text(LAUNCHCTL)
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_STATE", str(state))
    config = load_config(config.flags, environ={}, file=config.file)
    plan = evolve(make_plan(config, ServiceKind.LAUNCHD), home=tmp_path / "home")
    with trio.fail_after(30):
        assert (await engine.read_status(plan)).state is engine.ServiceState.NOT_INSTALLED
        assert (await engine.install(plan)).outcome is engine.InstallOutcome.INSTALLED
        status = await engine.read_status(plan)
        assert (status.state, status.pid) == (engine.ServiceState.RUNNING, 4711)
        assert (await engine.install(plan)).outcome is engine.InstallOutcome.UNCHANGED
        changed = evolve(plan, path="/elsewhere")
        assert (await engine.install(changed)).outcome is engine.InstallOutcome.UPDATED
        assert await engine.uninstall(changed) is engine.UninstallOutcome.REMOVED
        assert await engine.uninstall(changed) is engine.UninstallOutcome.NOT_INSTALLED
    calls = (state / "calls").read_text()
    assert calls.count("bootstrap") == 2
    assert calls.count("bootout") == 2
    assert "kickstart" not in calls
