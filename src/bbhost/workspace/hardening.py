"""What makes a git child safe to run in a repository that somebody else can write to. Pure.

A repository's own configuration may name programs, and git runs them during the most innocent
reads: ``git status`` starts ``core.fsmonitor`` and the filters that the attributes of a file name.
Linked work trees share that configuration, so one agent could arm all of them. Therefore every key
that the repository's own configuration (scopes ``local`` and ``worktree``, includes followed) sets
and that is not known to be plain data is overridden for each of our children, by
``GIT_CONFIG_COUNT`` variables: ``-c`` cannot name a key whose subsection holds an equals sign.

The rule is an allow-list: data sections of git are let through, with the command-valued variables
in them named here; what is in no list is overridden. The user's own keys (scopes ``system`` and
``global``) keep working: their values are set again after the neutral one.

Known consequence: a file under a filter that only the repository configures (git-crypt, a local
``git lfs install``) is compared unfiltered. It still reads as clean while its stat data equal the
index's, and reads as modified once it is touched.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

ConfigPair = tuple[str, str]

EMPTY_HOOKS = "/dev/null"
"""Not a directory, so no hook is found in it."""

ALWAYS: tuple[ConfigPair, ...] = (
    ("core.fsmonitor", "false"),
    ("core.hooksPath", EMPTY_HOOKS),
    # Nothing in the background, nothing in other repositories, no signature programs.
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("status.submoduleSummary", "false"),
    ("diff.submodule", "short"),
    ("diff.ignoreSubmodules", "dirty"),
    ("log.showSignature", "false"),
    # Output that is parsed, or that the server shows, has one form.
    ("color.ui", "false"),
    ("core.quotePath", "true"),
    ("diff.noprefix", "false"),
    ("diff.mnemonicPrefix", "false"),
    ("diff.relative", "false"),
    ("diff.suppressBlankEmpty", "false"),
)
"""Set for every child, whatever the repository or the user configures."""

ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "LC_ALL": "C",
        "LANGUAGE": "",
        # Takes no lock an agent may need, and does not rewrite the index, which would be an event.
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS_REQUIRE": "never",
        "GCM_INTERACTIVE": "never",
        "GIT_EDITOR": ":",
        "GIT_SEQUENCE_EDITOR": ":",
        "GIT_PAGER": "cat",
        # core.gitProxy is the one key whose first value wins, so only the variable can overrule it.
        "GIT_PROXY_COMMAND": "",
        # Transports that are programs (ext::, fd::) stay off whatever protocol.* says.
        "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    }
)
"""Variables of every git child, on top of an environment without ``GIT_*``."""

DIFF_VERBS = frozenset({"diff", "diff-files", "diff-index", "diff-tree", "log", "show"})
"""Verbs that take :data:`DIFF_GUARDS`."""

DIFF_GUARDS = ("--no-ext-diff", "--no-textconv")

LEAVE_INDEX_ALONE: ConfigPair = ("diff.autoRefreshIndex", "false")
"""For ``git diff`` with the work tree, which otherwise rewrites the index although it was told to take
no optional locks. The price: files with new stat data and old content are listed as modified by
``--raw`` and ``--name-status`` (not by ``--numstat`` and ``--patch``)."""

_BUILTIN_TEXT_MERGE = "git merge-file --marker-size=%L %A %O %B"
"""What git does without a driver. An empty driver would succeed and leave the merge undone."""

_NEUTRAL: Mapping[str, str] = MappingProxyType(
    {
        # Section and variable; the subsection, if any, is left out.
        "core.sshcommand": "ssh",
        "core.editor": ":",
        "core.pager": "cat",
        "core.askpass": "",
        "core.gitproxy": "none",
        "core.alternaterefscommand": "",
        "core.fsmonitor": "false",
        "core.hookspath": EMPTY_HOOKS,
        "credential.helper": "",
        "diff.command": "",
        "diff.external": "",
        "diff.textconv": "",
        "filter.clean": "",
        "filter.process": "",
        "filter.required": "false",
        "filter.smudge": "",
        "gpg.defaultkeycommand": "",
        "hook.command": ":",
        "hook.enabled": "false",
        "init.templatedir": "",
        "log.showsignature": "false",
        "merge.driver": _BUILTIN_TEXT_MERGE,
        "remote.receivepack": "git-receive-pack",
        "remote.uploadpack": "git-upload-pack",
        "remote.vcs": "",
        "sequence.editor": ":",
        "submodule.update": "checkout",
    }
)
_GPG_PROGRAMS: Mapping[str, str] = MappingProxyType(
    {"": "gpg", "openpgp": "gpg", "x509": "gpgsm", "ssh": "ssh-keygen"}
)

_DATA_SECTIONS = frozenset(
    [
        "add",
        "advice",
        "am",
        "apply",
        "attr",
        "author",
        "blame",
        "branch",
        "bundle",
        "checkout",
        "clean",
        "clone",
        "color",
        "column",
        "commit",
        "commitgraph",
        "committer",
        "core",
        "credential",
        "diff",
        "extensions",
        "fastimport",
        "feature",
        "fetch",
        "filter",
        "format",
        "fsck",
        "fsmonitor",
        "gc",
        "gpg",
        "grep",
        "http",
        "i18n",
        "include",
        "includeif",
        "index",
        "init",
        "interactive",
        "lfs",
        "log",
        "lsrefs",
        "mailinfo",
        "mailmap",
        "maintenance",
        "merge",
        "notes",
        "pack",
        "pretty",
        "promisor",
        "pull",
        "push",
        "rebase",
        "receive",
        "reftable",
        "remote",
        "repack",
        "rerere",
        "revert",
        "safe",
        "sendpack",
        "showbranch",
        "sparse",
        "splitindex",
        "ssh",
        "stash",
        "status",
        "submodule",
        "tag",
        "trailer",
        "transfer",
        "uploadarchive",
        "uploadpack",
        "url",
        "user",
        "versionsort",
        "worktree",
    ]
)
"""Sections that git reads as data, apart from what is named above and below."""

_COMMAND_LIKE = re.compile(
    r"(?:command|cmd|program|prog|helper|hook|editor|pager|driver|textconv|askpass|clean|smudge"
    r"|process|difffilter|agent|browser|httpd|viewer)$"
)
_COMMAND_LIKE_EXCEPTIONS = frozenset({"http.useragent"})
_LFS_PROGRAMS = re.compile(
    r"lfs\.(?:customtransfer|extension)\.|lfs\.(?:.*\.)?standalonetransferagent$"
)
_PLAIN_NUMBER_OR_BOOLEAN = re.compile(
    r"(?:true|false|yes|no|on|off|-?[0-9]+[kmg]?)?", re.IGNORECASE
)


def split_key(key: str) -> tuple[str, str, str]:
    """Split ``filter.a.b.clean`` into section, subsection and variable (as git lists keys)."""
    section, _, rest = key.partition(".")
    subsection, _, variable = rest.rpartition(".")
    return section.lower(), subsection, variable.lower()


def neutral_value(key: str, value: str) -> str | None:
    """Return what to set ``key`` to so that nothing runs, or None if it is plain data.

    Args:
        key: as ``git config --list`` prints it.
        value: as configured; an empty string for a key without one.
    """
    section, subsection, variable = split_key(key)
    short = f"{section}.{variable}"
    if short in _NEUTRAL:
        return _NEUTRAL[short]
    if short == "gpg.program":
        return _GPG_PROGRAMS.get(subsection, "gpg")
    if _LFS_PROGRAMS.match(key):
        return ""
    if section == "pager":
        return "false"
    if section in _DATA_SECTIONS:
        if short in _COMMAND_LIKE_EXCEPTIONS or not _COMMAND_LIKE.search(variable):
            return None
        return "false" if _PLAIN_NUMBER_OR_BOOLEAN.fullmatch(value) else ""
    # A section that no list knows. A number or a boolean cannot be a program, and replacing it by
    # nothing could make git refuse to start.
    return None if _PLAIN_NUMBER_OR_BOOLEAN.fullmatch(value) else ""


def overrides(
    repository_keys: Iterable[ConfigPair], user_keys: Sequence[ConfigPair]
) -> tuple[ConfigPair, ...]:
    """Return the pairs that disarm ``repository_keys``, the user's own values set again after them.

    Args:
        repository_keys: keys and values of scopes local and worktree, in any order.
        user_keys: keys and values of scopes system and global, in the order git reads them.
    """
    neutral: dict[str, str] = {}
    for key, value in repository_keys:
        replacement = neutral_value(key, value)
        if replacement is not None:
            neutral[key] = replacement
    for key in list(neutral):
        section, subsection, variable = split_key(key)
        if section == "filter" and variable != "required":
            # A filter that is required and has no command would make git fail.
            neutral.setdefault(f"filter.{subsection}.required", "false")
    pairs = list(neutral.items())
    # An empty credential.helper clears the whole list, whatever URL the others are for.
    resets_helpers = any(_is_helper(key) for key in neutral)
    pairs += [
        (key, value)
        for key, value in user_keys
        if key in neutral or (resets_helpers and _is_helper(key))
    ]
    for key in neutral:
        section, subsection, variable = split_key(key)
        if (section, variable) == ("filter", "process") and key not in dict(user_keys):
            # A process that is set at all, even to nothing, keeps git from using the user's clean and
            # smudge commands. The filter is off, then, and must not be required.
            pairs.append((f"filter.{subsection}.required", "false"))
    return tuple(pairs)


def _is_helper(key: str) -> bool:
    section, _, variable = split_key(key)
    return section == "credential" and variable == "helper"


def config_environment(pairs: Sequence[ConfigPair]) -> dict[str, str]:
    """Return the variables that give a git child ``pairs``; later ones win."""
    variables = {"GIT_CONFIG_COUNT": str(len(pairs))}
    for number, (key, value) in enumerate(pairs):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables
