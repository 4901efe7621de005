"""The control server: a queue of commands, what it believes, and a line that can be cut."""

import json
from typing import Any

import trio
from attrs import define, field

from bbhost.contract.codec import encode_json
from bbhost.contract.session import SessionOpenResponse
from bbhost.domain.ids import CommandId, EnvironmentId, SessionId
from bbhost.toolkit.value import AsyncValue
from tests.simulation.chance import Chance

HEARTBEAT_MS, LEASE_MS = 10_000, 30_000


class LineCutError(Exception):
    """The server cannot be reached."""


@define(eq=False, repr=False)
class SimServer:
    """What the server knows survives everything."""

    chance: Chance
    line: AsyncValue[int] = field(factory=lambda: AsyncValue(0))
    """Number of the present connection; 0: cut."""
    open_commands: dict[CommandId, dict[str, Any]] = field(factory=dict)
    """Without a result. Delivered again whenever the daemon asks."""
    late: dict[CommandId, dict[str, Any]] = field(factory=dict)
    """With a result, and delivered once more nevertheless."""
    results: dict[CommandId, dict[str, Any]] = field(factory=dict)
    live: dict[EnvironmentId, None] = field(factory=dict)
    """Provisioned, and not known to be destroyed."""
    wake: trio.Event = field(factory=trio.Event)
    lose_rate: float = 0.0
    """How often a result or its acknowledgement is lost."""
    mode: str = "honest"
    _connections: int = 0
    _next: int = 1

    # --- driven by the schedule ------------------------------------------------------------------

    def order(self, type_: str, body: dict[str, Any]) -> CommandId:
        """Queue a command."""
        number, self._next = self._next, self._next + 1
        command_id = CommandId(f"cmd_{number}")
        envelope = {"id": command_id, "cursor": number, "command": {"type": type_, **body}}
        self.open_commands[command_id] = envelope
        if type_ == "environment.provision":
            self.live[body["environmentId"]] = None
        self.wake.set()
        return command_id

    def connect(self, mode: str) -> None:
        """Let the daemon connect, and say what ``mode`` has it say."""
        self.mode = mode
        if self.line.value == 0:
            self._connections += 1
            self.line.value = self._connections

    def cut(self) -> None:
        """Cut the line."""
        self.line.value = 0

    def repeat(self) -> None:
        """Deliver everything again."""
        self.wake.set()

    # --- driven by the daemon ----------------------------------------------------------------------

    def lists(self) -> SessionOpenResponse:
        """What a session-open says."""
        live, retired = self._lists()
        return SessionOpenResponse(SessionId("session"), HEARTBEAT_MS, LEASE_MS, (), retired, live)

    def _lists(
        self,
    ) -> tuple[tuple[EnvironmentId, ...] | None, tuple[EnvironmentId, ...] | None]:
        match self.mode:
            case "honest":
                return tuple(self.live), None
            case "old":
                return None, None
            case "forgetful":
                return tuple(key for key in self.live if self.chance.happens(0.5)), None
            case "stubborn":
                known = dict.fromkeys(e["command"]["environmentId"] for e in self.late.values())
                return tuple({**known, **self.live}), None
            case _:
                return None, tuple(key for key in self.live if self.chance.happens(0.5))

    def fetch(self) -> list[dict[str, Any]]:
        """Every command without a result, and now and then one that has one."""
        batch = list(self.open_commands.values())
        if self.late and self.chance.happens(0.3):
            batch.append(self.chance.pick(list(self.late.values())))
        return batch

    def take_result(self, command_id: CommandId, report_json: str) -> None:
        """Take a result, perhaps for the second time.

        Raises:
            LineCutError: it is lost, or has arrived and the answer is lost.
        """
        if self.line.value == 0 or self.chance.happens(self.lose_rate):
            raise LineCutError
        envelope = self.open_commands.pop(command_id, None)
        report = json.loads(report_json)
        if envelope is not None:
            self.results[command_id] = report
            self.late[command_id] = envelope
            command = envelope["command"]
            if command["type"] == "environment.destroy" and report["ok"]:
                again = any(
                    other["command"]["type"] == "environment.provision"
                    and other["command"]["environmentId"] == command["environmentId"]
                    for other in self.open_commands.values()
                )
                if not again:
                    self.live.pop(command["environmentId"], None)
        if self.chance.happens(self.lose_rate):
            raise LineCutError


def body_of(command: object) -> dict[str, Any]:
    """A command as it is on the wire."""
    body: dict[str, Any] = json.loads(encode_json(command))
    return body
