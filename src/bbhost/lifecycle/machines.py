"""Every machine of bbhost, by the name of its diagram."""

from bbhost.lifecycle.base import Machine
from bbhost.lifecycle.environment import EnvironmentMachine

MACHINES: dict[str, type[Machine]] = {
    "environment": EnvironmentMachine,
}
