"""Of one kind in one environment one post leaves in 150 ms, the first at once. In virtual time."""

from itertools import pairwise
from typing import Any, cast

import pytest
import trio
from attrs import define, field

from bbhost.contract.session import EnvironmentChange, EnvironmentChangePost
from bbhost.domain.ids import EnvironmentId, SessionId
from bbhost.session import changes
from bbhost.session.changes import ChangeReporter
from bbhost.session.client import ServerClient
from bbhost.session.current import CurrentSession, OpenSession
from bbhost.session.errors import ServerRefusedError, ServerUnreachableError

Clock = trio.testing.MockClock
STATUS, REFS = EnvironmentChange.WORK_STATUS, EnvironmentChange.GIT_REFS


@define(eq=False)
class FakeClient:
    posts: list[tuple[float, str, EnvironmentChange]] = field(factory=list)
    fails: dict[str, Exception] = field(factory=dict)
    takes_seconds: float = 0.0
    under_way: int = 0
    most: int = 0

    async def post_environment_change(self, post: EnvironmentChangePost) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await trio.sleep(self.takes_seconds)
        self.under_way -= 1
        self.posts.append((trio.current_time(), post.environment_id, post.change))
        if post.environment_id in self.fails:
            raise self.fails[post.environment_id]


@define(eq=False)
class Rig:
    client: FakeClient
    current: CurrentSession
    reporter: ChangeReporter
    forgotten: list[str]

    def changed(self, environment: str, change: EnvironmentChange = STATUS) -> None:
        self.reporter.changed(EnvironmentId(environment), change)

    def open(self) -> None:
        self.current.opened(OpenSession(SessionId("hses_1"), cast("Any", None)))


@pytest.fixture
async def rig(nursery: trio.Nursery) -> Rig:
    client, current, forgotten = FakeClient(), CurrentSession(), []
    reporter = ChangeReporter(cast("ServerClient", client), current, forgotten.append)
    nursery.start_soon(reporter.run)
    rig = Rig(client, current, reporter, forgotten)
    rig.open()
    return rig


async def test_the_first_leaves_at_once_and_what_follows_is_one(
    autojump_clock: Clock, rig: Rig
) -> None:
    began = trio.current_time()
    for _ in range(10):
        rig.changed("env_1")
        await trio.sleep(0.01)
    await trio.sleep(1)
    assert [what for _, *what in rig.client.posts] == [["env_1", STATUS]] * 2
    assert [at - began for at, *_ in rig.client.posts] == pytest.approx([0, 0.15])


@pytest.mark.slow
async def test_endless_changes_are_a_post_in_150_ms(autojump_clock: Clock, rig: Rig) -> None:
    began = trio.current_time()
    for number in range(1000):
        rig.changed("env_1")
        if number % 3 == 0:
            rig.changed(f"env_{number}")  # others do not hold it up, nor hurry it
        await trio.sleep(0.003)
    times = [at - began for at, name, _ in rig.client.posts if name == "env_1"]
    assert all(0.149 < after - before < 0.16 for before, after in pairwise(times))
    assert times[0] == 0
    assert len(times) >= 19


async def test_what_waits_does_not_hold_up_the_first_of_another(
    autojump_clock: Clock, rig: Rig
) -> None:
    rig.changed("env_1")
    await trio.sleep(0.05)
    rig.changed("env_1")
    await trio.sleep(0.05)
    began = trio.current_time()
    rig.changed("env_2")
    await trio.sleep(1)
    assert [name for _, name, _ in rig.client.posts] == ["env_1", "env_2", "env_1"]
    assert rig.client.posts[1][0] == began


async def test_kinds_and_environments_are_posted_by_themselves(
    autojump_clock: Clock, rig: Rig
) -> None:
    rig.changed("env_1")
    rig.changed("env_1", REFS)
    rig.changed("env_2")
    await trio.sleep(1)
    assert sorted((name, change) for _, name, change in rig.client.posts) == [
        ("env_1", REFS),
        ("env_1", STATUS),
        ("env_2", STATUS),
    ]


async def test_a_change_after_the_post_is_another_post(autojump_clock: Clock, rig: Rig) -> None:
    rig.changed("env_1")
    await trio.sleep(0.2)
    rig.changed("env_1")
    await trio.sleep(0.2)
    assert len(rig.client.posts) == 2


async def test_a_change_waits_for_a_session_and_stays_one(autojump_clock: Clock, rig: Rig) -> None:
    rig.current.lost()
    for _ in range(5):
        rig.changed("env_1")
        await trio.sleep(1)
    assert rig.client.posts == []
    rig.open()
    await trio.sleep(0.2)
    assert len(rig.client.posts) == 1


@pytest.mark.parametrize("status", [404, 410])
async def test_an_environment_that_the_server_forgot_is_forgotten(
    autojump_clock: Clock, rig: Rig, status: int
) -> None:
    rig.client.fails["env_1"] = ServerRefusedError(status, "x", "gone", retryable=False)
    rig.client.takes_seconds = 0.1
    rig.changed("env_1")
    await trio.sleep(0.05)
    rig.changed("env_1")
    await trio.sleep(1)
    assert rig.forgotten == ["env_1"]
    assert len(rig.client.posts) == 1, "nothing more is posted for it"


@pytest.mark.parametrize(
    "error",
    [
        ServerRefusedError(403, "invalid_request", "wrong host", retryable=None),
        ServerRefusedError(500, "internal_error", "x", retryable=None),
        ServerUnreachableError("x"),
    ],
)
async def test_another_failure_is_dropped(
    autojump_clock: Clock, rig: Rig, error: Exception
) -> None:
    rig.client.fails["env_1"] = error
    rig.changed("env_1")
    rig.changed("env_2")
    await trio.sleep(60)
    assert rig.forgotten == []
    assert len(rig.client.posts) == 2


async def test_few_posts_run_at_a_time(autojump_clock: Clock, rig: Rig) -> None:
    rig.client.takes_seconds = 0.1
    for number in range(100):
        rig.changed(f"env_{number}", REFS)
    await trio.sleep(60)
    assert len(rig.client.posts) == 100
    assert rig.client.most == changes.POSTS_AT_A_TIME


async def test_what_waits_is_bounded(
    autojump_clock: Clock, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "WAITING_LIMIT", 5)
    for number in range(9):
        rig.changed(f"env_{number}")
    await trio.sleep(1)
    assert len(rig.client.posts) == 5


async def test_a_forgotten_environment_posts_nothing(autojump_clock: Clock, rig: Rig) -> None:
    rig.changed("env_1")
    rig.changed("env_2")
    rig.reporter.forget(EnvironmentId("env_1"))
    await trio.sleep(1)
    assert [name for _, name, _ in rig.client.posts] == ["env_2"]
    for _ in range(2):
        rig.changed("env_2")
        await trio.sleep(0.01)
    rig.reporter.forget(EnvironmentId("env_2"))
    await trio.sleep(1)
    assert len(rig.client.posts) == 2, "what waits for its turn is dropped as well"
