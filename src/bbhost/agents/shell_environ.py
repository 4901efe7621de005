"""What the shells of agents are told about where they are (wire contract, section 18). Pure.

Never a credential: these variables reach every program that an agent runs.
"""

import os
from collections.abc import Mapping

from attrs import frozen

from bbhost.domain.ids import EnvironmentId, ThreadId


@frozen
class ShellFacts:
    """The same for all threads of a daemon."""

    server_url: str | None = None
    local_port: int | None = None
    """Port of the daemon's HTTP API on this machine; None where it is off."""
    cli_dir: str | None = None
    """Directory with the server's command line tool, put before the inherited PATH."""


def shell_variables(
    facts: ShellFacts,
    inherited: Mapping[str, str],
    *,
    project_id: str,
    thread_id: ThreadId,
    environment_id: EnvironmentId,
    thread_storage: str,
) -> dict[str, str]:
    """Variables for the shells that an agent starts.

    Args:
        inherited: the environment of the agent itself, for PATH.
        thread_storage: absolute path of the thread's own storage.
    """
    path = inherited.get("PATH", os.defpath)
    variables = {
        "PATH": f"{facts.cli_dir}:{path}" if facts.cli_dir else path,
        "BB_PROJECT_ID": project_id,
        "BB_THREAD_ID": thread_id,
        "BB_ENVIRONMENT_ID": environment_id,
        "BB_THREAD_STORAGE": thread_storage,
    }
    if facts.server_url:
        variables["BB_SERVER_URL"] = facts.server_url
    if facts.local_port is not None:
        variables["BB_HOST_DAEMON_PORT"] = str(facts.local_port)
    return variables
