"""What the demonstration found out."""

from typing import Any

from attrs import define, field, frozen

from bbhost.cli.printing import clean, say, say_table


@frozen
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    detail: str


@define(eq=False)
class DemoReport:
    """All checks, in order."""

    checks: list[Check] = field(factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether all were passed, and there were any."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "passed": self.passed,
            "seconds": round(self.seconds, 2),
            "checks": [
                {"name": one.name, "passed": one.passed, "detail": one.detail}
                for one in self.checks
            ],
        }

    def show(self) -> None:
        """Print the table."""
        say()
        say_table(
            ["", "checked", "seen"],
            [("ok" if one.passed else "FAILED", one.name, one.detail) for one in self.checks],
        )
        failed = [one.name for one in self.checks if not one.passed]
        say()
        if failed:
            say(f"{len(failed)} of {len(self.checks)} checks FAILED: {clean(', '.join(failed))}")
        else:
            say(f"All {len(self.checks)} checks passed in {self.seconds:.1f} s.")
