"""No program that a repository's configuration names runs while we read it.

A canary is a program that leaves a file behind with the name it was called by. The first test shows
that the canaries sing for plain git, so that their silence means something.
"""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from bbhost.domain.status import AllDiff, BranchCommittedDiff, CommitDiff, UncommittedDiff
from bbhost.workspace.diff import read_diff
from bbhost.workspace.git import Git
from bbhost.workspace.hardening import neutral_value, overrides
from bbhost.workspace.ignore import GitIgnoreOracle
from bbhost.workspace.refs import RefsCache
from bbhost.workspace.repository import discover_repository
from bbhost.workspace.status import read_status
from tests.integration.workspace.scratch import commit_all, git_text, make_repository, run_git

ATTRIBUTES = """\
*.txt filter=evil diff=evil merge=evil
*.eq filter=a=b.c diff=a=b.c
*.proc filter=proc
*.lfs filter=lfs
"""


class Canaries:
    """Programs that tell that they ran."""

    def __init__(self, nest: Path) -> None:
        self.nest = nest
        nest.mkdir()
        self.program = nest.parent / "canary"
        # It also does what a filter should do, so that plain git goes on.
        self.program.write_text(f'#!/bin/sh\n: > "{nest}/$1"\nexec cat\n')
        self.program.chmod(0o755)

    def command(self, name: str) -> str:
        return f"{shlex.quote(str(self.program))} {name}"

    def sung(self) -> list[str]:
        return sorted(path.name for path in self.nest.iterdir())


def armed_keys(canaries: Canaries) -> Iterator[tuple[str, str]]:
    """Every key that git (and git-lfs) may take for a command, armed."""
    command = canaries.command
    for key in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.editor",
        "core.pager",
        "core.askPass",
        "core.gitProxy",
        "core.alternateRefsCommand",
        "credential.helper",
        "diff.external",
        "diff.evil.command",
        "diff.evil.textconv",
        "diff.a=b.c.textconv",
        "diff.a=b.c.command",
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.a=b.c.clean",
        "filter.a=b.c.smudge",
        "filter.proc.process",
        "filter.lfs.clean",
        "filter.lfs.smudge",
        "filter.lfs.process",
        "merge.evil.driver",
        "gpg.program",
        "gpg.ssh.program",
        "gpg.x509.program",
        "gpg.ssh.defaultKeyCommand",
        "sequence.editor",
        "trailer.evil.command",
        "trailer.evil.cmd",
        "interactive.diffFilter",
        "pager.status",
        "pager.diff",
        "pager.log",
        "pager.show",
        "pager.config",
        "pager.branch",
        "uploadpack.packObjectsHook",
        "gc.recentObjectsHook",
        "remote.origin.uploadpack",
        "remote.origin.receivepack",
        "remote.origin.vcs",
        "mergetool.evil.cmd",
        "difftool.evil.cmd",
        "browser.evil.cmd",
        "man.evil.cmd",
        "sendemail.smtpServer",
        "sendemail.toCmd",
        "imap.tunnel",
        "instaweb.httpd",
        "tar.evil.command",
        "guitool.evil.cmd",
        "lfs.customtransfer.evil.path",
        "lfs.extension.evil.clean",
        "lfs.standalonetransferagent",
        "svn.authorsProg",
        "init.templateDir",
        "unknownsection.some.thing",
        "http.futureCommand",
    ]:
        yield key, command(key)
    for key in [
        "alias.status",
        "alias.diff",
        "alias.log",
        "alias.ls-files",
        "alias.for-each-ref",
        "credential.https://x.helper",
        "submodule.lib.update",
        "hook.evil.command",
    ]:
        yield key, "!" + command(key)
    yield "hook.evil.event", "post-index-change"
    yield "core.hooksPath", str(canaries.nest.parent / "hooks")
    yield "filter.evil.required", "true"
    yield "filter.proc.required", "true"
    yield "log.showSignature", "true"
    yield "protocol.allow", "always"
    yield "status.submoduleSummary", "true"
    yield "diff.submodule", "diff"
    yield "submodule.recurse", "true"
    yield "diff.ignoreSubmodules", "none"


def write_config(file: Path, canaries: Canaries, keys: Iterator[tuple[str, str]]) -> None:
    for key, value in keys:
        run_git(file.parent, "config", "--file", str(file), key, value)


@pytest.fixture
def canaries(tmp_path: Path) -> Canaries:
    return Canaries(tmp_path / "nest")


@pytest.fixture
def target(repo: Path, tmp_path: Path) -> Path:
    """A repository with history, attributes, changes of all kinds and a submodule; not armed yet."""
    library = make_repository(tmp_path / "library")
    run_git(
        repo, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library), "lib"
    )
    (repo / ".gitattributes").write_text(ATTRIBUTES)
    for name in ("x.eq", "y.proc", "z.lfs"):
        (repo / name).write_text("text\n")
    commit_all(repo, "all kinds")
    run_git(repo, "checkout", "-qb", "feature")
    (repo / "a.txt").write_text("feature\n")
    commit_all(repo, "feature")
    run_git(repo, "checkout", "-q", "main")
    (repo / "src" / "b.txt").write_text("main\n")
    commit_all(repo, "main")
    run_git(repo, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"), "feature")
    for where in (repo, tmp_path / "tree"):
        for name in ("a.txt", "x.eq", "y.proc", "z.lfs"):
            (where / name).write_text("changed\n")
        (where / "new.txt").write_text("new\n")
    (repo / "lib" / "a.txt").write_text("changed inside\n")
    (repo / "lib" / ".gitattributes").write_text(ATTRIBUTES)
    return repo


def arm_hooks(repo: Path, canaries: Canaries) -> None:
    for place in (repo / ".git" / "hooks", canaries.nest.parent / "hooks"):
        place.mkdir(exist_ok=True)
        for name in ("post-index-change", "reference-transaction", "post-checkout", "pre-commit"):
            hook = place / name
            hook.write_text(f"#!/bin/sh\n: > {canaries.nest}/hook-{name}\n")
            hook.chmod(0o755)


async def read_everything(where: Path) -> None:
    """Every reading operation."""
    repository = discover_repository(where)
    assert repository is not None
    git = Git()
    refs = RefsCache(git)
    with trio.fail_after(60):
        for _ in range(2):
            await read_status(git, refs, repository, "main", with_ignored=True)
            await read_status(git, refs, repository, "feature")
        sha = git_text(where, "rev-parse", "feature")
        for target in (
            UncommittedDiff(),
            AllDiff("main"),
            BranchCommittedDiff("feature"),
            CommitDiff(sha),
        ):
            await read_diff(git, repository, target, 100_000, 10_000)
        oracle = GitIgnoreOracle(git)
        await oracle.ignored_directories(str(where))
        await oracle.ignored_among(str(where), frozenset({"src", "other", "lib/x"}))


async def changed_files(where: Path) -> set[str]:
    repository = discover_repository(where)
    assert repository is not None
    git = Git()
    status = (await read_status(git, RefsCache(git), repository)).status
    return {file.path for file in status.working_tree.files}


@pytest.mark.slow
async def test_plain_git_would_run_them(target: Path, canaries: Canaries):
    """The arming works: a plain status runs the monitor and the filters."""
    write_config(target / ".git" / "config", canaries, armed_keys(canaries))
    run_git(target, "status", check=False)
    assert "core.fsmonitor" in canaries.sung()
    for path in canaries.nest.iterdir():
        path.unlink()
    run_git(target, "-c", "core.fsmonitor=false", "status", check=False)
    run_git(target, "-c", "core.fsmonitor=false", "--no-pager", "diff", "HEAD", check=False)
    run_git(
        target, "-c", "core.fsmonitor=false", "diff", "HEAD", "--", "a.txt", "src", check=False
    )
    assert "diff.evil.command" in canaries.sung()
    assert {"filter.evil.clean", "filter.a=b.c.clean"} & set(canaries.sung())


@pytest.mark.slow
async def test_no_canary_runs_from_the_local_configuration(
    target: Path, canaries: Canaries, tmp_path: Path
):
    """Every key at once, read from the main work tree and from a linked one that shares the file."""
    arm_hooks(target, canaries)
    write_config(target / ".git" / "config", canaries, armed_keys(canaries))
    await read_everything(target)
    await read_everything(tmp_path / "tree")
    assert canaries.sung() == []


@pytest.mark.slow
async def test_no_canary_runs_for_any_single_key(target: Path, canaries: Canaries):
    """Each key alone: one must not be silent only because another made git stop."""
    plain = (target / ".git" / "config").read_bytes()
    repository = discover_repository(target)
    assert repository is not None
    git = Git()
    refs = RefsCache(git)
    for key, value in armed_keys(canaries):
        (target / ".git" / "config").write_bytes(plain)
        run_git(target, "config", key, value)
        with trio.fail_after(60):
            status = (await read_status(git, refs, repository, "feature")).status
            await read_diff(git, repository, UncommittedDiff(), 100_000, 10_000)
        assert canaries.sung() == [], key
        assert "a.txt" in {file.path for file in status.working_tree.files}, key


@pytest.mark.slow
@pytest.mark.parametrize("way", ["include", "condition", "unmet-condition", "nested", "worktree"])
async def test_no_canary_runs_from_included_files(
    target: Path, canaries: Canaries, tmp_path: Path, way: str
):
    """Includes, conditional ones, includes of includes and the configuration of one work tree."""
    included = tmp_path / "included.cfg"
    included.touch()
    write_config(included, canaries, armed_keys(canaries))
    where = target
    match way:
        case "include":
            run_git(target, "config", "include.path", "../../included.cfg")
        case "condition":
            run_git(target, "config", "includeIf.gitdir:**.path", str(included))
        case "unmet-condition":
            run_git(target, "config", "includeIf.onbranch:later.path", str(included))
            await read_everything(target)
            run_git(target, "symbolic-ref", "HEAD", "refs/heads/later")
            run_git(target, "update-ref", "refs/heads/later", "main")
        case "nested":
            middle = tmp_path / "middle.cfg"
            run_git(
                tmp_path,
                "config",
                "--file",
                str(middle),
                "includeIf.onbranch:x.path",
                "included.cfg",
            )
            run_git(target, "config", "includeIf.onbranch:x.path", str(middle))
            run_git(target, "branch", "-m", "main", "x")
            run_git(target, "branch", "main")
        case _:
            where = tmp_path / "tree"
            run_git(target, "config", "extensions.worktreeConfig", "true")
            await read_everything(where)
            own = target / ".git" / "worktrees" / "tree" / "config.worktree"
            own.write_bytes(included.read_bytes())
    await read_everything(where)
    assert canaries.sung() == []


@pytest.mark.slow
async def test_arming_after_a_first_reading_is_noticed(
    target: Path, canaries: Canaries, tmp_path: Path
):
    """The scan is kept only while every file it came from is the same, included ones too."""
    included = tmp_path / "included.cfg"
    run_git(target, "config", "include.path", str(included))
    repository = discover_repository(target)
    assert repository is not None
    git = Git()
    refs = RefsCache(git)
    for _ in range(3):
        await read_status(git, refs, repository)
    write_config(included, canaries, armed_keys(canaries))
    await read_status(git, refs, repository)
    assert canaries.sung() == []
    assert "filter.evil.clean" in (await git.scan(target)).disarmed


@pytest.mark.slow
async def test_a_submodule_can_not_arm_either(target: Path, canaries: Canaries):
    """Git looks into a submodule with the submodule's configuration disarmed as well."""
    write_config(target / ".git" / "modules" / "lib" / "config", canaries, armed_keys(canaries))
    await read_everything(target)
    assert canaries.sung() == []
    assert "lib" in await changed_files(target)
    run_git(target, "status", check=False)
    assert "core.fsmonitor" in canaries.sung()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["unnamed", "nested", "named in the index only"])
async def test_where_git_is_not_let_into_a_submodule(
    target: Path, canaries: Canaries, tmp_path: Path, way: str
):
    """What cannot be disarmed beforehand is compared by its commit, whatever asks for more."""
    inner = target / "lib"
    match way:
        case "unnamed":
            inner = target / "embedded"
            run_git(target, "clone", "-q", str(tmp_path / "library"), "embedded")
            run_git(target, "add", "embedded")
        case "nested":
            inner = target / "lib" / "deep"
            run_git(target / "lib", "clone", "-q", str(tmp_path / "library"), "deep")
            run_git(target / "lib", "add", "deep")
        case _:
            run_git(target, "config", "--file", ".gitmodules", "submodule.lib.ignore", "none")
            run_git(target, "add", ".gitmodules")
            (target / ".gitmodules").unlink()
    run_git(target, "config", "diff.ignoreSubmodules", "none")
    (inner / "a.txt").write_text("changed inside\n")
    config = Path(git_text(inner, "rev-parse", "--absolute-git-dir")) / "config"
    write_config(config, canaries, armed_keys(canaries))
    await read_everything(target)
    assert canaries.sung() == []


@pytest.mark.slow
async def test_filters_of_the_user_keep_working(target: Path, canaries: Canaries, home: Path):
    """A filter in the user's own configuration runs, even if the repository names it as well."""
    run_git(target, "config", "--global", "filter.lfs.clean", canaries.command("user-clean"))
    run_git(target, "config", "--global", "filter.lfs.required", "true")
    run_git(target, "config", "filter.lfs.clean", canaries.command("repository-clean"))
    repository = discover_repository(target)
    assert repository is not None
    git = Git()
    await read_diff(git, repository, UncommittedDiff(), 100_000, 10_000)
    assert canaries.sung() == ["user-clean"]


async def test_file_under_a_disarmed_filter(repo: Path, tmp_path: Path):
    """It reads as clean while its stat data equal the index's, and as modified once it is touched."""
    (repo / ".gitattributes").write_text("*.up filter=up\n")
    run_git(repo, "config", "filter.up.clean", "tr a-z A-Z")
    run_git(repo, "config", "filter.up.smudge", "tr A-Z a-z")
    (repo / "x.up").write_text("abc\n")
    os.utime(repo / "x.up", ns=(10**18, 10**18))  # older than the index, so not in doubt
    commit_all(repo, "filtered")
    repository = discover_repository(repo)
    assert repository is not None
    git = Git()
    refs = RefsCache(git)
    assert (await read_status(git, refs, repository)).status.working_tree.files == ()
    os.utime(repo / "x.up", ns=(2 * 10**18, 2 * 10**18))
    files = (await read_status(git, refs, repository)).status.working_tree.files
    assert [file.path for file in files] == ["x.up"]
    assert (await git.scan(repo)).disarmed == ("filter.up.clean", "filter.up.smudge")


@pytest.mark.slow
async def test_a_process_filter_of_the_repository_turns_the_filter_off(
    target: Path, canaries: Canaries
):
    """Git cannot be told to forget a process and use the user's commands; nothing runs or fails."""
    run_git(target, "config", "--global", "filter.lfs.clean", canaries.command("user-clean"))
    run_git(target, "config", "--global", "filter.lfs.required", "true")
    run_git(target, "config", "filter.lfs.process", canaries.command("repository-process"))
    repository = discover_repository(target)
    assert repository is not None
    diff = await read_diff(Git(), repository, UncommittedDiff(), 100_000, 10_000)
    assert "z.lfs" in diff.files
    assert canaries.sung() == []


# --- the rule itself -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "core.repositoryformatversion", "core.bare", "core.worktree", "core.autocrlf", "user.name",
        "remote.origin.url", "remote.origin.fetch", "branch.main.merge", "extensions.worktreeconfig",
        "submodule.lib.url", "http.useragent", "diff.algorithm", "index.version", "lfs.url",
        "credential.username", "include.path", "includeif.gitdir:/x/.path", "push.default",
    ],
)  # fmt: skip
def test_data_is_let_through(key: str):
    """What git only reads is not touched, so a repository keeps its own settings."""
    assert neutral_value(key, "some value") is None


def test_numbers_of_unknown_sections_are_let_through():
    """An empty value could make git stop over a number; a number is no program."""
    assert neutral_value("future.threads", "4") is None
    assert neutral_value("future.enabled", "true") is None
    assert neutral_value("future.thing", "/bin/evil") == ""


def test_the_user_comes_after_the_neutral_value():
    """The user's own value of a disarmed key is set again; other keys of the user are left alone."""
    pairs = overrides(
        [("filter.lfs.clean", "evil"), ("credential.https://x.helper", "evil")],
        [
            ("user.name", "Dev"),
            ("filter.lfs.clean", "git-lfs clean -- %f"),
            ("credential.helper", "store"),
        ],
    )
    assert pairs == (
        ("filter.lfs.clean", ""),
        ("credential.https://x.helper", ""),
        ("filter.lfs.required", "false"),
        ("filter.lfs.clean", "git-lfs clean -- %f"),
        ("credential.helper", "store"),
    )
