"""Diffs of real work trees: the text is git's own, the cost bounded."""

import os
import subprocess
from pathlib import Path

import pytest

from bbhost.domain.status import (
    AllDiff,
    BranchCommittedDiff,
    CommitDiff,
    Diff,
    DiffTarget,
    UncommittedDiff,
)
from bbhost.errors import GitCommandError
from bbhost.workspace.diff import read_diff
from bbhost.workspace.git import Git
from bbhost.workspace.repository import discover_repository
from tests.integration.workspace.scratch import commit_all, git_text, make_repository, run_git

MUCH = 10_000_000


async def diff_of(
    path: Path, target: DiffTarget, *, chars: int = MUCH, list_chars: int = MUCH
) -> Diff:
    repository = discover_repository(path)
    assert repository is not None
    return await read_diff(Git(), repository, target, chars, list_chars)


def no_index(where: Path, name: str | bytes) -> str:
    """What ``git diff --no-index /dev/null <name>`` writes."""
    done = subprocess.run(
        ["git", "diff", "--no-ext-diff", "--binary", "--no-index", "--", "/dev/null", name],
        cwd=where,
        capture_output=True,
        check=False,
    )
    return done.stdout.decode("utf-8", "replace")


async def test_the_example_of_the_contract(tmp_path: Path):
    """A changed file and an untracked one with a name that is quoted."""
    repo = make_repository(tmp_path / "repo", {"src/a.txt": "a\nb\nc\n"})
    (repo / "src" / "a.txt").write_text("a\nB!\nc\nd\n")
    (repo / "new file ü.txt").write_text("n1\nn2\n")
    diff = await diff_of(repo, UncommittedDiff())
    assert diff.diff == (
        "diff --git a/src/a.txt b/src/a.txt\nindex de98044..9aadc73 100644\n--- a/src/a.txt\n"
        "+++ b/src/a.txt\n@@ -1,3 +1,4 @@\n a\n-b\n+B!\n c\n+d\n"
        'diff --git "a/new file \\303\\274.txt" "b/new file \\303\\274.txt"\nnew file mode 100644\n'
        "index 0000000..2fe4df4\n--- /dev/null\n"
        '+++ "b/new file \\303\\274.txt"\t\n@@ -0,0 +1,2 @@\n+n1\n+n2\n'
    )
    assert diff.files == 'M\tsrc/a.txt\nA\t"new file \\303\\274.txt"\n'
    assert diff.shortstat == "2 files changed, 4 insertions(+), 1 deletion(-)\n"
    assert (diff.truncated, diff.merge_base_ref) == (False, None)


@pytest.mark.slow
async def test_untracked_files_read_as_git_shows_them_alone(repo: Path):
    """Empty, binary, executable, link, without a last newline, odd names, eol rules, deep."""
    (repo / ".gitattributes").write_text("*.crlf text eol=crlf\n*.raw -diff\n")
    commit_all(repo, "attributes")
    (repo / "deep" / "er").mkdir(parents=True)
    contents: dict[bytes, bytes] = {
        b"empty": b"",
        b"binary": bytes(range(256)) * 9,
        b"no newline": b"x\ny",
        b"deep/er/file": b"1\n" * 50,
        b"quote\"d": b"q\n",
        b"new\nline": b"n\n",
        b"latin\xfc": b"latin \xfc\n",
        b"-dash": b"d\n",
        b"lines.crlf": b"a\r\nb\r\n",
        b"some.raw": b"text\n",
        b"x" * 200: b"long name\n",
    }  # fmt: skip
    for name, content in contents.items():
        Path(os.fsdecode(os.fsencode(repo) + b"/" + name)).write_bytes(content)
    (repo / "script").write_text("#!/bin/sh\n")
    (repo / "script").chmod(0o755)
    (repo / "link").symlink_to("a.txt")
    (repo / "dangling").symlink_to("nowhere")
    names = sorted([*contents, b"script", b"link", b"dangling"])
    diff = await diff_of(repo, UncommittedDiff())
    assert diff.diff == "".join(no_index(repo, name) for name in names)
    assert diff.files.count("\n") == len(names)
    assert diff.shortstat.startswith(f"{len(names)} files changed, ")


async def test_untracked_files_stay_out_of_the_repository(repo: Path):
    """No object is written, the index stays, and nothing is left in the temporary directory."""
    (repo / "new").write_text("new\n")
    (repo / "a.txt").write_text("changed\n")
    os.utime(repo / "src" / "b.txt", ns=(1, 1))
    before = {path: path.stat().st_mtime_ns for path in (repo / ".git").rglob("*")}
    diff = await diff_of(repo, UncommittedDiff())
    assert "+new" in diff.diff
    assert diff.files == "M\ta.txt\nA\tnew\n"
    assert {path: path.stat().st_mtime_ns for path in (repo / ".git").rglob("*")} == before


async def test_tracked_changes_equal_plain_git(repo: Path):
    """Rename, deletion, mode change, binary, staged and unstaged: as ``git diff HEAD`` has it."""
    (repo / "run").write_text("x\n" * 30)
    (repo / "moved").write_text("y\n" * 30)
    (repo / "blob").write_bytes(b"\0\1")
    commit_all(repo, "more")
    (repo / "run").chmod(0o755)
    run_git(repo, "mv", "moved", "renamed")
    (repo / "blob").write_bytes(b"\0\2\3")
    (repo / "src" / "b.txt").unlink()
    (repo / "a.txt").write_text("staged\n")
    run_git(repo, "add", "a.txt")
    (repo / "a.txt").write_text("staged\nand not\n")
    diff = await diff_of(repo, UncommittedDiff())
    assert diff.diff == run_git(repo, "diff", "--binary", "HEAD").decode()
    assert diff.files == run_git(repo, "diff", "--name-status", "HEAD").decode()
    stat = run_git(repo, "diff", "--shortstat", "HEAD").decode()
    assert diff.shortstat == stat.removeprefix(" ")


@pytest.mark.slow
async def test_submodule_equals_plain_git(repo: Path, tmp_path: Path):
    """Work inside a submodule shows as git shows it."""
    library = make_repository(tmp_path / "library")
    run_git(
        repo, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library), "lib"
    )
    commit_all(repo, "with library")
    (repo / "lib" / "a.txt").write_text("x")
    diff = await diff_of(repo, UncommittedDiff())
    assert diff.diff == run_git(repo, "diff", "--binary", "HEAD").decode()
    assert diff.files == run_git(repo, "diff", "--name-status", "HEAD").decode() == "M\tlib\n"
    commit_all(repo / "lib", "forward")
    diff = await diff_of(repo, UncommittedDiff())
    assert diff.diff == run_git(repo, "diff", "--binary", "HEAD").decode()


async def test_conflict_equals_plain_git(repo: Path):
    """Unmerged files are shown as git shows them."""
    run_git(repo, "checkout", "-qb", "side")
    (repo / "a.txt").write_text("side\n")
    commit_all(repo, "side")
    run_git(repo, "checkout", "-q", "main")
    (repo / "a.txt").write_text("main\n")
    commit_all(repo, "main")
    run_git(repo, "merge", "side", check=False)
    diff = await diff_of(repo, UncommittedDiff())
    assert diff.diff == run_git(repo, "diff", "--binary", "HEAD").decode()
    assert diff.files == run_git(repo, "diff", "--name-status", "HEAD").decode()


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
async def test_unborn_head(tmp_path: Path, object_format: str):
    """Before the first commit everything is new, staged or not, with either hash."""
    where = tmp_path / "fresh"
    run_git(tmp_path, "init", "-q", f"--object-format={object_format}", str(where))
    assert await diff_of(where, UncommittedDiff()) == Diff("", False, "", "", None)
    (where / "staged").write_text("s\n")
    run_git(where, "add", "staged")
    (where / "loose").write_text("l\n")
    diff = await diff_of(where, UncommittedDiff())
    assert diff.files == "A\tstaged\nA\tloose\n"
    assert diff.diff == no_index(where, "staged") + no_index(where, "loose")
    assert diff.shortstat == "2 files changed, 2 insertions(+)\n"


async def test_committed_and_all(repo: Path):
    """Against the merge base: commits alone, or the work tree with untracked files."""
    base = git_text(repo, "rev-parse", "HEAD")
    run_git(repo, "checkout", "-qb", "feature")
    (repo / "f.txt").write_text("f\n")
    commit_all(repo, "feature")
    run_git(repo, "checkout", "-q", "main")
    commit_all(repo, "main goes on")
    run_git(repo, "checkout", "-q", "feature")
    (repo / "a.txt").write_text("a\nb\n")
    (repo / "loose").write_text("l\n")
    committed = await diff_of(repo, BranchCommittedDiff("main"))
    assert committed.files == "A\tf.txt\n"
    assert committed.shortstat == run_git(repo, "diff", "--shortstat", base, "feature").decode()
    assert committed.diff == run_git(repo, "diff", "--binary", base, "feature").decode()
    assert committed.merge_base_ref == base
    everything = await diff_of(repo, AllDiff("main"))
    assert everything.files == "M\ta.txt\nA\tf.txt\nA\tloose\n"
    assert everything.shortstat == "3 files changed, 2 insertions(+), 1 deletion(-)\n"
    assert everything.merge_base_ref == base


async def test_one_commit(repo: Path):
    """By short or full id; a merge shows what git shows of it."""
    (repo / "a.txt").write_text("two\n")
    sha = commit_all(repo, "second")
    diff = await diff_of(repo, CommitDiff(sha[:8]))
    assert diff.diff == run_git(repo, "show", "--format=", "--binary", sha).decode()
    assert diff.files == "M\ta.txt\n"
    assert diff.shortstat == " 1 file changed, 1 insertion(+), 3 deletions(-)\n"
    assert diff.merge_base_ref is None
    run_git(repo, "checkout", "-qb", "side", "HEAD~")
    (repo / "a.txt").write_text("side\n")
    commit_all(repo, "side")
    run_git(repo, "merge", "main", check=False)
    (repo / "a.txt").write_text("both\n")
    merge = commit_all(repo, "merged")
    diff = await diff_of(repo, CommitDiff(merge))
    assert diff.diff == run_git(repo, "show", "--format=", "--binary", merge).decode()
    assert diff.files == run_git(repo, "show", "--format=", "--name-status", merge).decode()
    empty = commit_all(repo, "nothing")
    assert await diff_of(repo, CommitDiff(empty)) == Diff("", False, "", "", None)


async def test_no_merge_base_and_bad_names(repo: Path):
    """Nothing in common is an empty answer; a name that does not exist is an error."""
    run_git(repo, "checkout", "-q", "--orphan", "other")
    commit_all(repo, "unrelated")
    for target in (AllDiff("main"), BranchCommittedDiff("main")):
        assert await diff_of(repo, target) == Diff("", False, "", "", None)
    for bad in (AllDiff("nope"), BranchCommittedDiff("nope"), CommitDiff("0123abcd")):
        with pytest.raises(GitCommandError):
            await diff_of(repo, bad)


@pytest.mark.slow
async def test_limits_count_characters(repo: Path):
    """Both texts are cut at their limit, counted in characters, and the counts stay whole."""
    (repo / "a.txt").write_text("ü" * 1000 + "\n")
    (repo / "z").write_text("z\n")
    whole = await diff_of(repo, UncommittedDiff())
    exact = await diff_of(
        repo, UncommittedDiff(), chars=len(whole.diff), list_chars=len(whole.files)
    )
    assert exact == whole
    for chars in (len(whole.diff) - 1, 500, 1):
        cut = await diff_of(repo, UncommittedDiff(), chars=chars)
        assert cut.diff == whole.diff[:chars]
        assert cut.truncated
        assert (cut.files, cut.shortstat) == (whole.files, whole.shortstat)
    cut = await diff_of(repo, UncommittedDiff(), list_chars=3)
    assert (cut.files, cut.truncated, cut.diff) == (whole.files[:3], True, whole.diff)


async def test_content_that_is_not_utf8(repo: Path):
    """Bytes that are no text become replacement characters, also where a piece ends in between."""
    (repo / "a.txt").write_bytes(b"caf\xe9\n" + "→".encode() * 100_000 + b"\n")
    diff = await diff_of(repo, UncommittedDiff())
    assert "caf�" in diff.diff
    assert "→" * 100_000 in diff.diff


async def test_cost(repo: Path):
    """Two processes, a third for any number of untracked files."""
    repository = discover_repository(repo)
    assert repository is not None
    git = Git()

    async def cost(target: DiffTarget) -> int:
        before = git.statistics().processes
        await read_diff(git, repository, target, MUCH, MUCH)
        after = git.statistics().processes
        return (
            sum(after.values()) - sum(before.values()) - after["config"] + before.get("config", 0)
        )

    (repo / "a.txt").write_text("x\n")
    assert await cost(UncommittedDiff()) == 2
    for number in range(200):
        (repo / f"new{number}").write_text("x\n")
    assert await cost(UncommittedDiff()) == 3
    assert await cost(AllDiff("main")) == 4
    assert await cost(CommitDiff("HEAD")) == 1


@pytest.mark.slow
async def test_large_diff_is_cut_while_it_is_written(repo: Path):
    """Ten thousand changed files: what does not fit is not kept, and git is not waited for."""
    big = repo / "big"
    big.mkdir()
    for number in range(2000):
        (big / f"tracked{number}").write_text("one\n" * 50)
    commit_all(repo, "big")
    for number in range(2000):
        (big / f"tracked{number}").write_text("two\n" * 50)
    for number in range(8000):
        (big / f"untracked{number}").write_text("new\n" * 5)
    diff = await diff_of(repo, UncommittedDiff(), chars=32_000, list_chars=4000)
    assert diff.truncated
    assert (len(diff.diff), len(diff.files)) == (32_000, 4000)
    assert diff.shortstat == "10000 files changed, 140000 insertions(+), 100000 deletions(-)\n"
