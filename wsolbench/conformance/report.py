"""Running checks one after the other, and what came of each in words."""

import time
from dataclasses import dataclass
from typing import Literal
from unittest import SkipTest

from wsolbench.conformance.kit import Check
from wsolbench.conformance.subject import CheckFailure


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one check.

    Attributes:
        name: of the check.
        status: as printed.
        seconds: how long it took.
        detail: why it was skipped, or what was expected, what was seen and where to look, a line each.
    """

    name: str
    status: Literal["passed", "FAILED", "skipped"]
    seconds: float
    detail: str = ""

    def line(self) -> str:
        """Return the check's line in the report."""
        reason = f"  ({self.detail})" if self.status == "skipped" else ""
        return f"{self.name:<42} {self.status:<7} {self.seconds:6.1f} s{reason}"


def run_check(check: Check) -> Outcome:
    """Run a check; a failure becomes an outcome."""
    started = time.monotonic()
    status: Literal["passed", "FAILED", "skipped"] = "passed"
    detail = ""
    try:
        check()
    except SkipTest as reason:
        status, detail = "skipped", str(reason)
    except CheckFailure as failure:
        status, detail = "FAILED", str(failure)
    return Outcome(name=check.name, status=status, seconds=time.monotonic() - started, detail=detail)


def _names(names: list[str]) -> str:
    """Write the first name, and how many more there are."""
    return names[0] + (f" and {len(names) - 1} more" if names[1:] else "")


def summary(method: str, outcomes: list[Outcome]) -> str:
    """Write what failed, each with its three sentences, and the counts; the same sentences are written once."""
    failed = [outcome for outcome in outcomes if outcome.status == "FAILED"]
    alike: dict[str, list[str]] = {}  # one mistake may fail many checks in the same words
    for outcome in failed:
        alike.setdefault(outcome.detail, []).append(outcome.name)
    lines = [f"\n{_names(names)}\n  {detail.replace(chr(10), chr(10) + '  ')}" for detail, names in alike.items()]
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in ("passed", "skipped")}
    seconds = sum(outcome.seconds for outcome in outcomes)
    verdict = f"{len(failed)} of {len(outcomes)} checks failed" if failed else "conforms"
    return "\n".join(
        [*lines, f"\n{method}: {verdict} ({counts['passed']} passed, {counts['skipped']} skipped, {seconds:.0f} s)"]
    )
