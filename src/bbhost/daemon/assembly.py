"""The parts of a daemon and how they are put together. Nothing here runs yet."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from attrs import define, field

from bbhost.agents.registry import make_registry
from bbhost.agents.shell_environ import ShellFacts
from bbhost.contract.session import EnvironmentChange
from bbhost.daemon.config import Config
from bbhost.daemon.hooks import DaemonHooks
from bbhost.daemon.journal_probe import JournalProbe
from bbhost.daemon.loop_lag import LoopLag
from bbhost.daemon.memory import give_heap_back
from bbhost.daemon.process_journal import ProcessJournal
from bbhost.daemon.storage_watch import StorageWatch
from bbhost.daemon.terminal_hosting import TerminalHosting
from bbhost.daemon.thread_ports import make_thread_ports
from bbhost.domain.environment import EnvironmentState
from bbhost.domain.ids import EnvironmentId
from bbhost.environment.ports import EnvironmentServices
from bbhost.environment.supervisor import Supervisor
from bbhost.environment.threads.service import ThreadService
from bbhost.environment.workspaces import GitWorkspaces
from bbhost.journal.journal import Journal, open_journal
from bbhost.processes.keeper import ProcessKeeper
from bbhost.reconciler.reconciler import Reconciler
from bbhost.session.clock import wall_clock_ms
from bbhost.session.runner import Session
from bbhost.session.server_calls import ServerCalls
from bbhost.terminals.directory import TerminalDirectory
from bbhost.terminals.shell import ShellSettings
from bbhost.terminals.sink import TerminalSink
from bbhost.toolkit.private_directory import make_private_directory
from bbhost.watch.service import WatchService, make_watch_service
from bbhost.watch.values import WatchSettings
from bbhost.workspace.files.service import HostFiles
from bbhost.workspace.files.storage import ThreadStorage
from bbhost.workspace.git import GIT_PROCESSES_AT_ONCE, Git
from bbhost.workspace.saved_files import SaveLimits
from bbhost.workspace.tools import WorkspaceTools, make_tools
from bbhost.workspace.trash_emptier import TrashEmptier

if TYPE_CHECKING:
    from bbhost.daemon.collecting import Collector

JOURNAL_NAME = "bbhost.sqlite"


@define(eq=False)
class Link:
    """The session, once there is one, and what is to be told by it."""

    session: Session | None = None
    _untold: set[tuple[EnvironmentId, EnvironmentChange]] = field(factory=set)
    """Changes from before that: at most one of each kind for each environment."""

    def note_change(self, environment_id: EnvironmentId, change: EnvironmentChange) -> None:
        """Have a change posted, now or when a session is open. Never blocks."""
        if self.session is None:
            self._untold.add((environment_id, change))
        else:
            self.session.changes.changed(environment_id, change)

    def calls(self) -> ServerCalls | None:
        """What may be asked of the server; None before there is a session."""
        return None if self.session is None else self.session.calls

    def attach(self, session: Session) -> None:
        """Here it is; it keeps what it cannot post yet."""
        self.session = session
        untold, self._untold = self._untold, set()
        for environment_id, change in untold:
            session.changes.changed(environment_id, change)

    async def send(self, message: object) -> bool:
        """Send a terminal message; False where there is no session."""
        if self.session is None:
            await trio.lowlevel.checkpoint()
            return False
        return await self.session.send(message)  # type: ignore[arg-type] # the sink's message union


@define(eq=False)
class Parts:
    """Everything a daemon is made of."""

    config: Config
    data_dir: Path
    journal: Journal
    git: Git
    tools: WorkspaceTools
    watches: WatchService
    keeper: ProcessKeeper
    processes: ProcessJournal
    emptier: TrashEmptier
    workspaces: GitWorkspaces
    supervisor: Supervisor
    reconciler: Reconciler
    storage: ThreadStorage
    storage_watch: StorageWatch
    files: HostFiles
    link: Link
    terminals: TerminalHosting
    threads: ThreadService
    hooks: DaemonHooks
    journal_probe: JournalProbe
    transitions: Counter[tuple[str, str, str]]
    """How often environments went from a state to another, by the event that led there."""
    lag: LoopLag = field(factory=LoopLag)
    started_at_ms: int = field(factory=wall_clock_ms)

    def collector(self) -> "Collector":
        """Make what collects leftovers; imported only now, for it is rarely needed."""
        from bbhost.daemon.collecting import Collector

        return Collector(
            self.tools,
            self.supervisor.records,
            self.supervisor.hold,
            self.workspaces.save_limits or SaveLimits(),
        )


@asynccontextmanager
async def open_parts(config: Config, shell: ShellSettings) -> AsyncIterator[Parts]:
    """Open the journal and make every part of a daemon.

    Raises:
        JournalError: the journal cannot be used.
        OSError: the data directory cannot be made.
    """
    data_dir = config.data_dir
    make_private_directory(data_dir)
    async with open_journal(data_dir / JOURNAL_NAME) as journal:
        yield _assemble(config, data_dir, journal, shell)


def _assemble(config: Config, data_dir: Path, journal: Journal, shell: ShellSettings) -> Parts:
    git = Git(
        processes_at_once=config.get("git_processes") or GIT_PROCESSES_AT_ONCE,
        look_seconds=config.get("git_look_seconds"),
    )
    tools = make_tools(data_dir, git)
    tools.locks.wait_seconds = config.get("lock_seconds")
    watches = make_watch_service(config.get("watch_backend"), _watch_settings(config))
    processes = ProcessJournal(journal)
    boundary = config.get("process_boundary")
    keeper = ProcessKeeper(
        data_dir, use_cgroup=boundary in {"auto", "cgroup"}, on_started=processes.note_started
    )
    emptier = TrashEmptier(tools.trash, give_heap_back)
    limits = SaveLimits(max_bytes=config.get("rescue_max_mib") * 1024 * 1024)
    workspaces = GitWorkspaces(tools, watches, emptier, limits)
    link = Link()
    noted: list[Reconciler] = []
    transitions: Counter[tuple[str, str, str]] = Counter()

    root = config.get("thread_storage")
    storage = ThreadStorage(Path(root) if root else data_dir / "thread-storage")
    storage_watch = StorageWatch(storage, watches, link.note_change, link.calls)

    def note_transition(
        environment_id: EnvironmentId, source: str, target: str, event: str
    ) -> None:
        transitions[source, target, event] += 1
        if target == EnvironmentState.TOMBSTONED:
            storage_watch.forget_environment(environment_id)

    def note_idle(environment_id: EnvironmentId) -> None:
        for reconciler in noted:
            reconciler.note_idle(environment_id)

    supervisor = Supervisor(
        EnvironmentServices(
            journal=journal,
            workspaces=workspaces,
            open_boundary=keeper.open_boundary,
            note_change=link.note_change,
            note_idle=note_idle,
            now_ms=wall_clock_ms,
            note_transition=note_transition,
        )
    )
    supervisor.cache_statistics.paranoid_sample = config.get("paranoid_sample")
    reconciler = Reconciler(supervisor)
    noted.append(reconciler)
    sink: TerminalSink = link
    terminals = TerminalHosting(supervisor, TerminalDirectory(sink), shell)
    hooks = DaemonHooks(supervisor, reconciler, journal, terminals)
    hooks.track_threads = storage_watch.track_targets
    hooks.forget_threads = storage_watch.forget_environment
    threads = ThreadService(
        supervisor,
        make_thread_ports(lambda: link.session, storage, keeper, data_dir, journal),
        make_registry(config.providers),
        ShellFacts(shell.server_url, shell.local_port, shell.cli_dir),
    )
    hooks.active_threads = threads.active_threads
    return Parts(
        config=config,
        data_dir=data_dir,
        journal=journal,
        git=git,
        tools=tools,
        watches=watches,
        keeper=keeper,
        processes=processes,
        emptier=emptier,
        workspaces=workspaces,
        supervisor=supervisor,
        reconciler=reconciler,
        storage=storage,
        storage_watch=storage_watch,
        files=HostFiles(data_dir, git, storage),
        link=link,
        terminals=terminals,
        threads=threads,
        hooks=hooks,
        journal_probe=JournalProbe(journal),
        transitions=transitions,
    )


def _watch_settings(config: Config) -> WatchSettings:
    return WatchSettings(
        budget_share=config.get("watch_share"), rule_files=tuple(_global_git_files(Path.home()))
    )


def _global_git_files(home: Path, environ: Mapping[str, str] | None = None) -> list[Path]:
    """Git's configuration and excludes outside of repositories, on which answers depend too."""
    import os

    environ = os.environ if environ is None else environ
    xdg = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return [
        home / ".gitconfig",
        xdg / "git" / "config",
        xdg / "git" / "ignore",
        xdg / "git" / "attributes",
        Path("/etc/gitconfig"),
    ]
