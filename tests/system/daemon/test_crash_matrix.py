"""SIGKILL at every fault point in turn: afterwards the world is as if nothing had happened.

For each scenario an uninterrupted run shows what must be; each run that is interrupted, by a daemon
that is killed at one point and a next one that is not, must come to the same.
"""

import ast
import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio

import bbhost
from bbhost.environment.destroying import TEARDOWN
from bbhost.lifecycle.environment import EnvironmentEvent
from tests.fakes.stock_server import run_stock_server
from tests.system.daemon.crash_scenarios import ONE, SCENARIOS, Scenario, Setting
from tests.system.daemon.end_state import Observer, differences
from tests.system.daemon.harness import DaemonProcess, make_repository, run_daemon_process

RUN_SECONDS = 120.0
QUICK = {
    ("provision", "provision.worktree_added"),
    ("destroy", "trash.moved"),
    ("destroy", "report.posted"),
}
"""These run with the slow tests, beside ``test_crashes.py``; all others take minutes and are marked long."""
EXPANSIONS = {
    "teardown.{stage.name}": [f"teardown.{stage.name}" for stage in TEARDOWN],
    "journal.{decision.event}": [f"journal.{event}" for event in EnvironmentEvent],
}
"""Points whose name is made at run time."""
ELSEWHERE = {
    "health.check": "tests/system/systemd_service_steps.py",  # stops the loop there; changes nothing
    "restart.journalled": "tests/system/daemon/test_restart.py",
    "restart.stored": "tests/system/daemon/test_restart.py",
    "restart.prepared": "tests/system/daemon/test_restart.py",
    "thread.noted": "tests/system/daemon/test_thread_crashes.py",
    "thread.staged": "tests/system/daemon/test_thread_crashes.py",
    "thread.agent_started": "tests/system/daemon/test_thread_crashes.py",
    "thread.turn_started": "tests/system/daemon/test_thread_crashes.py",
}
"""Points without a case in the matrix, and where theirs is. A turn that was killed cannot go on as if nothing
had happened, so what must be then is said there."""


def points_in_source() -> set[str]:
    """The name of every call of ``fault_point``."""
    found: set[str] = set()
    for path in Path(bbhost.__file__).parent.rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "fault_point" in text else ():
            if not (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "fault_point"
            ):
                continue
            (name,) = node.args
            if isinstance(name, ast.Constant):
                found.add(str(name.value))
            else:
                found.update(EXPANSIONS[ast.unparse(name).removeprefix("f").strip("'\"")])
    return found


@pytest.mark.slow
def test_every_point_has_a_case() -> None:
    """A new step of the daemon gets its crash, or a reason not to have one."""
    tried = {point.partition("#")[0] for one in SCENARIOS.values() for point in one.points}
    assert points_in_source() == tried | set(ELSEWHERE)
    assert not tried & set(ELSEWHERE)
    for point, file in ELSEWHERE.items():
        assert f"{point}" in (Path(__file__).parents[3] / file).read_text(), point


def _cases() -> list[Any]:
    return [
        pytest.param(
            name, point, marks=pytest.mark.slow if (name, point) in QUICK else pytest.mark.long
        )
        for name, scenario in SCENARIOS.items()
        for point in scenario.points
    ]


@pytest.mark.parametrize(("name", "point"), _cases())
async def test_killed(name: str, point: str, tmp_path: Path) -> None:
    """The end is the same as without the kill, and sound."""
    scenario = SCENARIOS[name]
    expected = await _expected(name, scenario, tmp_path / "uninterrupted")
    found = await _play(scenario, tmp_path / "killed", point)
    # A daemon's own processes end with it, killed or not: fewer than before are right, more are not.
    # The room on the disk is not the daemon's doing.
    complaints = tuple(what for check, _, what in found["doctor"] if check != "disk")
    assert complaints == scenario.complaints
    started = Counter(expected["processes"])
    assert not Counter(found["processes"]) - started, found["processes"]
    found["processes"] = expected["processes"]
    if differing := differences(expected, found):
        pytest.fail("\n".join(differing), pytrace=False)


_references: dict[str, dict[str, Any]] = {}
"""What an uninterrupted run of each scenario came to; each is run once."""


async def _expected(name: str, scenario: Scenario, top: Path) -> dict[str, Any]:
    if name not in _references:
        _references[name] = await _play(scenario, top, None)
    return _references[name]


async def _play(scenario: Scenario, top: Path, point: str | None) -> dict[str, Any]:
    """Run a scenario, over a kill at ``point`` if there is one; return the state of everything."""
    top.mkdir()
    async with run_stock_server(
        heartbeat_interval_ms=1000,
        redelivery_seconds=600.0,
    ) as server:
        server.environments[ONE] = "ready"
        files = {f"d{number % 4}/f{number}.txt": f"{number}\n" for number in range(20)}
        repo = make_repository(top / "src" / "demo", files)
        setting = Setting(server, top, repo, top / "data")
        observer = Observer(top, repo, setting.data_dir)
        with trio.fail_after(RUN_SECONDS):
            async with run_daemon_process(server, setting.data_dir) as daemon:
                await scenario.prepare(setting)
                await _quiet(daemon)
                await daemon.terminate()
            server.changes.clear()
            async with trio.open_nursery() as acting:
                done = trio.Event()

                async def act() -> None:
                    await server.wait_connected()
                    await scenario.act(setting)
                    done.set()

                if point is None:
                    acting.start_soon(act)
                else:
                    await _run_until_killed(scenario, setting, point, acting, act)
                async with run_daemon_process(
                    server, setting.data_dir, environ=scenario.variables
                ) as daemon:
                    await done.wait()
                    await _quiet(daemon)
                    found = await observer.observe_daemon(daemon)
                    assert await daemon.terminate() == 0, daemon.log_text()
        return found | observer.observe_disk() | observer.observe_server(server, setting.rows)


async def _run_until_killed(
    scenario: Scenario, setting: Setting, point: str, acting: trio.Nursery, act: Any
) -> None:
    variables = {**scenario.variables, "BBHOST_FAULT": f"kill:{point}"}
    async with run_daemon_process(
        setting.server, setting.data_dir, environ=variables, connected=False
    ) as daemon:
        acting.start_soon(act)
        with trio.move_on_after(40) as waiting:
            assert await daemon.wait() == -signal.SIGKILL, daemon.log_text()
        assert not waiting.cancelled_caught, f"{point} was never reached"
    await setting.server.redeliver_now()


async def _quiet(daemon: DaemonProcess) -> None:
    """Wait until the daemon has nothing left to do."""

    async def is_quiet() -> bool:
        status = await daemon.control("GET", "/status")
        states = {one["state"] for one in status["environmentList"]}
        return (
            not status["commands"]["admitted"]
            and not status["watch"]["unsettled"]
            and states <= {"ready"}
            and not any(_waits_for_emptying(one) for one in daemon.data_dir.glob("trash/*"))
            and not status["terminals"]
        )

    # No event tells of rest; half a second of it is taken for the end.
    calm = 0
    while calm < 5:
        calm = calm + 1 if await is_quiet() else 0
        await trio.sleep(0.1)


def _waits_for_emptying(entry: Path) -> bool:
    note = entry / "note.json"
    return not note.exists() or json.loads(note.read_text())["keep_until_ms"] is None
