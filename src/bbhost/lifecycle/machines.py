"""Every machine of bbhost, by the name of its diagram."""

from bbhost.lifecycle.base import Machine
from bbhost.lifecycle.environment import EnvironmentMachine
from bbhost.lifecycle.session import SessionMachine
from bbhost.lifecycle.terminal import TerminalMachine
from bbhost.lifecycle.thread import ThreadMachine

MACHINES: dict[str, type[Machine]] = {
    "environment": EnvironmentMachine,
    "session": SessionMachine,
    "terminal": TerminalMachine,
    "thread": ThreadMachine,
}
