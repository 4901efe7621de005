"""What an examination says: findings, their severity, and the report of all of them."""

from collections import Counter
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from attrs import frozen

EVIDENCE_LIMIT = 20
"""Pieces of evidence shown for one finding; how many more there are is said."""


class Severity(IntEnum):
    """How bad it is; the worst one decides the exit code."""

    OK = 0
    INFO = 1
    """Worth knowing; nothing is wrong."""
    WARNING = 2
    """Something needs attention; the daemon does its work."""
    ERROR = 3
    """Something is not as it must be."""

    @property
    def label(self) -> str:
        """The word in JSON and text."""
        return self.name.lower()


EXIT_CODES = {Severity.OK: 0, Severity.INFO: 0, Severity.WARNING: 1, Severity.ERROR: 2}
"""Exit code of ``bbhost doctor`` by the worst severity found."""


@frozen
class Finding:
    """One thing that was found out."""

    check: str
    """Name of the check that says so."""
    severity: Severity
    what: str
    """One sentence."""
    evidence: tuple[str, ...] = ()
    """What it rests on: paths, numbers, process ids."""
    remedy: str = ""
    """What to do; empty where nothing has to be done."""

    def to_json(self) -> dict[str, Any]:
        """Values for a JSON document."""
        return {
            "check": self.check,
            "severity": self.severity.label,
            "what": self.what,
            "evidence": list(self.evidence),
            "remedy": self.remedy,
        }


def ok(check: str, what: str) -> Finding:
    """All is well."""
    return Finding(check, Severity.OK, what)


def info(check: str, what: str, evidence: Sequence[str] = (), remedy: str = "") -> Finding:
    """Worth knowing."""
    return Finding(check, Severity.INFO, what, limited(evidence), remedy)


def warning(check: str, what: str, evidence: Sequence[str] = (), remedy: str = "") -> Finding:
    """Needs attention."""
    return Finding(check, Severity.WARNING, what, limited(evidence), remedy)


def error(check: str, what: str, evidence: Sequence[str] = (), remedy: str = "") -> Finding:
    """Not as it must be."""
    return Finding(check, Severity.ERROR, what, limited(evidence), remedy)


def limited(evidence: Sequence[str]) -> tuple[str, ...]:
    """Cut a long list of evidence, saying how much is left out."""
    if len(evidence) <= EVIDENCE_LIMIT:
        return tuple(evidence)
    return (*evidence[:EVIDENCE_LIMIT], f"and {len(evidence) - EVIDENCE_LIMIT} more")


@frozen
class Report:
    """Everything one examination found."""

    findings: tuple[Finding, ...]
    by_daemon: bool
    """The daemon examined itself; False: it was looked at from outside."""
    seconds: float

    @property
    def worst(self) -> Severity:
        """The worst severity found."""
        return max((finding.severity for finding in self.findings), default=Severity.OK)

    @property
    def exit_code(self) -> int:
        """0 ok, 1 warning, 2 error."""
        return EXIT_CODES[self.worst]

    def to_json(self) -> dict[str, Any]:
        """Values for a JSON document."""
        counts = Counter(finding.severity.label for finding in self.findings)
        return {
            "severity": self.worst.label,
            "exitCode": self.exit_code,
            "byDaemon": self.by_daemon,
            "seconds": round(self.seconds, 3),
            "counts": {severity.label: counts[severity.label] for severity in Severity},
            "findings": [finding.to_json() for finding in self.findings],
        }


def to_text(report: dict[str, Any]) -> str:
    """Render a report (as JSON values) for people, worst first. Control characters are kept: escape them."""
    order = [severity.label for severity in sorted(Severity, reverse=True)]
    findings = sorted(report["findings"], key=lambda finding: order.index(finding["severity"]))
    lines = []
    for finding in findings:
        lines.append(f"{finding['severity']:<7} {finding['check']}: {finding['what']}")
        lines += [f"          {piece}" for piece in finding["evidence"]]
        if finding["remedy"]:
            lines.append(f"        > {finding['remedy']}")
    counts = ", ".join(f"{count} {label}" for label, count in report["counts"].items() if count)
    by = "by the daemon itself" if report["byDaemon"] else "from outside, no daemon asked"
    lines.append(f"{counts} ({by}, {report['seconds']} s)")
    return "\n".join(lines)
