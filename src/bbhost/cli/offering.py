"""Asking, at a terminal, what is to become of the work of an agent."""

from bbhost.cli.asking import read_line
from bbhost.cli.endings import Changes, Deed, Work
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.printing import clean, clean_lines, note, say

RESCUE = "what was not committed stays with 'bbhost rescue' for a while"


async def offer(work: Work) -> None:
    """Ask until the work is kept or destroyed.

    Raises:
        CommandError: the hub has gone.
    """
    while not work.is_destroyed:
        changes = await _look(work)
        _show_choices(work, changes)
        choice = (await read_line()).lower()
        match choice[:1]:
            case "" | "k":
                return
            case "d":
                await _show_diff(work)
            case "c":
                await _save(
                    work, Deed.COMMIT, is_empty=changes is not None and not changes.is_uncommitted
                )
            case "m" if work.into is not None:
                await _save(work, Deed.MERGE, is_empty=changes is not None and changes.is_empty)
            case "x":
                await _destroy(work, changes)


def _show_choices(work: Work, changes: Changes | None) -> None:
    note("")
    if changes is not None:
        note(f"= {clean(changes.describe())}")
    merge = f", m = merge into {clean(work.into)}" if work.into is not None else ""
    note(f"? What now? [d = diff, c = commit{merge}, x = destroy, k or Enter = keep]")


async def _look(work: Work) -> Changes | None:
    """What there is; None where it cannot be told, which is said."""
    try:
        return await work.look()
    except CommandError as error:
        _tell(error)
        return None


async def _show_diff(work: Work) -> None:
    try:
        found = (await work.diff()).diff
    except CommandError as error:
        _tell(error)
        return
    if not found.diff:
        note("(no changes)")
        return
    say(clean_lines(found.diff.removesuffix("\n")))
    if found.truncated:
        note("(cut; 'bbhost env diff --max-bytes' shows more)")


async def _save(work: Work, deed: Deed, *, is_empty: bool) -> None:
    """Commit or merge, with a message that may be typed."""
    message = None
    if not is_empty:
        note(f"? Message? [Enter = {clean(work.message)}]")
        message = await read_line() or None
    note(f"= {clean((await work.do(deed, message)).told)}")


async def _destroy(work: Work, changes: Changes | None) -> None:
    if changes is None or not changes.is_empty:
        note(f"? There is work that was not merged; {RESCUE}. Destroy? [y = yes]")
        if (await read_line()).lower() not in {"y", "yes"}:
            return
    note(f"= {clean((await work.do(Deed.DESTROY)).told)}")


def _tell(error: CommandError) -> None:
    if error.outcome is Outcome.UNREACHABLE:
        raise error
    note(f"! {clean(error.message)}")
