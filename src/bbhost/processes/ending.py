"""Ending a set of processes that goes on changing while it is being ended.

TERM to all (with CONT, so that the stopped ones can act on it, and HUP to those on a terminal,
since interactive shells ignore TERM), a grace, then KILL, round after round, until a whole round
has found nobody and seen nobody die. One look is never enough: what was forked during it is not in
it.
"""

import signal
from collections.abc import Callable, Iterator
from typing import Protocol

import trio
from attrs import define, field

from bbhost.processes.proc import ProcessIdentity, ProcessStat
from bbhost.processes.signalling import ReadStat, signal_process, wait_ended

TERM_ROUNDS = 5
"""Rounds of TERM in which new members still appeared; then TERM is not what ends them: KILL."""
KILL_SECONDS = 2.0
"""Time for the rounds of KILL; what is left then is reported as survivors."""
SETTLE_SECONDS = 0.02
"""Longest wait for the killed of one round to be gone before the next round."""


class MemberWalk(Protocol):
    """One round over the members; after iterating, ``is_settled`` says that nobody was missed."""

    is_settled: bool

    def __iter__(self) -> Iterator[ProcessStat]:
        """Yield each living member; it may be killed at once."""
        ...


@define(eq=False)
class Ending:
    """The work of ending one boundary. Made for one use; several may run at once."""

    walk: Callable[[], MemberWalk]
    read_stat: ReadStat
    kill_all: Callable[[], None] = lambda: None
    """Kills all members at once, where the system can (``cgroup.kill``)."""
    found: set[ProcessIdentity] = field(factory=set)
    """Every member met so far."""
    alive: list[ProcessStat] = field(factory=list)
    """The members met in the last round."""

    async def run(self, grace_seconds: float) -> None:
        """End all members; afterwards ``alive`` holds the survivors.

        Takes at most ``grace_seconds`` + ``KILL_SECONDS``. Cancellation: safe at any point,
        members may be left; running again goes on.
        """
        with trio.move_on_after(grace_seconds):
            if await self._terminate():
                return
        with trio.move_on_after(KILL_SECONDS):
            await self._kill()

    async def _terminate(self) -> bool:
        told: set[ProcessIdentity] = set()
        for _ in range(TERM_ROUNDS):
            walk = self.walk()
            self._look(walk, told)
            if not self.alive and walk.is_settled:
                return True
            await wait_ended([member.identity for member in self.alive], self.read_stat)
        return False

    def _look(self, walk: MemberWalk, told: set[ProcessIdentity]) -> None:
        self.alive = []
        for member in walk:
            self._note(member)
            if member.identity not in told:
                told.add(member.identity)
                hangup = [signal.SIGHUP] if member.has_terminal else []
                signums = [signal.SIGTERM, *hangup, signal.SIGCONT]
                signal_process(member.identity, signums, self.read_stat)

    async def _kill(self) -> None:
        while True:
            self.kill_all()
            walk = self.walk()
            self.alive = []
            for member in walk:
                # At once, not after the walk: it is all the time it has to fork again.
                signal_process(member.identity, [signal.SIGKILL], self.read_stat)
                self._note(member)
            if not self.alive and walk.is_settled:
                return
            with trio.move_on_after(SETTLE_SECONDS):
                await wait_ended([member.identity for member in self.alive], self.read_stat)

    def _note(self, member: ProcessStat) -> None:
        self.found.add(member.identity)
        self.alive.append(member)
