"""Which branch names the contract lets through; narrower than git itself."""

_RESERVED = frozenset(
    {
        "@",
        "HEAD",
        "FETCH_HEAD",
        "ORIG_HEAD",
        "MERGE_HEAD",
        "CHERRY_PICK_HEAD",
        "REVERT_HEAD",
        "BISECT_HEAD",
        "AUTO_MERGE",
    }
)
_FORBIDDEN = frozenset({*map(chr, range(0x20)), "\x7f", *"\\:~^?*[ "})
_SEQUENCES = ("..", "@{", "//")


def branch_name_problem(name: str) -> str | None:
    """Say what is wrong with a branch name, or None.

    A name that passes cannot be taken for an option, a revision expression or a path outside
    ``refs/heads``, so it is safe in the argument list of git.
    """
    if not name.strip():
        return "must be a branch name"
    if name in _RESERVED or name[0] in "-/" or name[-1] in "/.":
        return "is not a usable branch name"
    if not _FORBIDDEN.isdisjoint(name) or any(part in name for part in _SEQUENCES):
        return "is not a usable branch name"
    if any(part.startswith(".") or part.endswith(".lock") for part in name.split("/")):
        return "is not a usable branch name"
    return None
