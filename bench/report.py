"""What was measured, and how it is shown: rows, ratios, JSON and a table."""

import json
import os
import platform
import subprocess
from typing import Any

import attrs
from attrs import define, field, frozen


@frozen
class Row:
    """One number."""

    key: str
    value: float
    unit: str
    limit: float | None = None
    """The target: at most this, or at least where ``at_least``."""
    at_least: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the target is met; empty where there is none."""
        if self.limit is None:
            return ""
        met = self.value >= self.limit if self.at_least else self.value <= self.limit
        return "met" if met else "MISSED"


@define
class Report:
    """The rows of one run, in the order in which they were measured."""

    environments: int
    rows: dict[str, Row] = field(factory=dict)
    ratios: dict[str, float] = field(factory=dict)
    series: dict[str, list[float]] = field(factory=dict)
    """Numbers that are drawn and not tabulated, by name."""
    loads: list[float] = field(factory=list)

    def add(
        self,
        key: str,
        value: float,
        unit: str,
        *,
        limit: float | None = None,
        at_least: bool = False,
        note: str = "",
    ) -> None:
        """Add a row."""
        self.rows[key] = Row(key, value, unit, limit, at_least, note)
        self.loads.append(os.getloadavg()[0])

    def finish(self, pairs: dict[str, tuple[str, str]]) -> None:
        """Work out the ratios whose two rows were measured."""
        for name, (above, below) in pairs.items():
            if above in self.rows and below in self.rows and self.rows[below].value > 0:
                self.ratios[name] = self.rows[above].value / self.rows[below].value

    def as_json(self) -> str:
        """All of it, for programs."""
        data: dict[str, Any] = {
            "environments": self.environments,
            "machine": describe_machine(),
            "load": {"least": min(self.loads, default=0), "most": max(self.loads, default=0)},
            "rows": [{**attrs.asdict(row), "verdict": row.verdict} for row in self.rows.values()],
            "ratios": self.ratios,
            "series": self.series,
        }
        return json.dumps(data, indent=1)

    def as_table(self) -> str:
        """All of it, for people."""
        lines = []
        for row in self.rows.values():
            sign = ">=" if row.at_least else "<="
            target = "" if row.limit is None else f"{sign} {row.limit:g}"
            shown = f"{row.value:,.4g}" if abs(row.value) < 1000 else f"{row.value:,.0f}"
            lines.append((row.key, shown, row.unit, target, row.verdict, row.note))
        heads = ("what", "value", "unit", "target", "", "")
        text = [*_columns([heads, *lines]), ""]
        if self.ratios:
            pairs = [(name, f"{value:.3g}") for name, value in self.ratios.items()]
            text += [*_columns([("ratio", "value"), *pairs]), ""]
        least, most = min(self.loads, default=0), max(self.loads, default=0)
        machine = describe_machine()
        text.append(
            f"{self.environments} environments; load {least:.1f} to {most:.1f} "
            f"on {machine['cpus']} cores; Python {machine['python']}, {machine['git']}"
        )
        return "\n".join(text)


def describe_machine() -> dict[str, Any]:
    """What the numbers depend on."""
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True)
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "git": git.stdout.strip(),
    }


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
