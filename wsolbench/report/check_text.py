"""The report of ``wsolbench data check``: short and aligned for people, whole for programs."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from tabulate import tabulate

from wsolbench.data.checking import Report, SplitSummary, Spread
from wsolbench.data.findings import Finding, plural
from wsolbench.scoring import SLICES

SHOWN = 3
"""Images that the readable report names of each finding; the JSON has them all."""


def report_text(report: Report) -> str:
    """Return the report as it is printed: what there is, what is wrong, what to do.

    Args:
        report: of a check.
    """
    options = "".join(f", {name}={value}" for name, value in report.options.items())
    rate = report.pictures / max(report.seconds, 1e-9)
    took = f"{plural(report.pictures, 'picture')} read in {report.seconds:,.1f} s ({rate:,.0f}/s)"
    parts = [f"{report.dataset}{options}: {took}", _contents(report.splits)]
    if any(split.objects is not None for split in report.splits):
        parts.append(_objects(report.splits))
    for title, findings in (("problems, which `run` refuses", report.problems), ("warnings", report.warnings)):
        if findings:
            parts.append("\n".join([f"{title}:", *(line for each in findings for line in _finding(each))]))
    parts.append(_verdict(report))
    return "\n\n".join(part for part in parts if part)


def report_json(report: Report) -> dict[str, Any]:
    """Return everything that was found, as JSON values: every image of every finding, every class's count.

    Args:
        report: of a check.
    """
    body = asdict(report)
    del body["class_names"]
    body["splits"] = {split.pop("split"): split for split in body["splits"]}
    for split in body["splits"].values():
        for name in ("heights", "widths"):
            split[name] = _by_name(split[name])
        if split["objects"] is not None:
            split["objects"]["per_image"] = _by_name(split["objects"]["per_image"])
            slices = split["objects"]["slices"]
            split["objects"]["slices"] = {
                key: dict(zip(("below", "inside", "above"), each, strict=True)) for key, each in slices.items()
            }
    return body | {"problems": len(report.problems), "warnings": len(report.warnings)}


def _by_name(spread: Sequence[int] | None) -> dict[str, int] | None:
    return None if spread is None else Spread(*spread)._asdict()


def _contents(splits: Sequence[SplitSummary]) -> str:
    """Return the table of pictures and classes."""
    head = ["split", "images", "expected", "classes", "images a class", "height", "width", "fingerprint"]
    rows = []
    for split in splits:
        counts = sorted(split.class_counts.values())
        rows.append(
            [
                split.split,
                f"{split.images:,}",
                "" if split.expected is None else f"{split.expected:,}",
                f"{split.classes:,}",
                _spread(Spread(counts[0], counts[(len(counts) - 1) // 2], counts[-1])),
                "" if split.heights is None else _spread(split.heights),
                "" if split.widths is None else _spread(split.widths),
                split.fingerprint,
            ]
        )
    return _table(head, rows, note="images a class, height, width: smallest / median / largest")


def _objects(splits: Sequence[SplitSummary]) -> str:
    """Return the table of boxes or masks, with the share of the picture that they cover."""
    head = ["split", "objects", "an image", "several", "median cover"]
    for low, high in SLICES.values():
        head += [f"under {100 * low:g} %", f"{100 * low:g} to {100 * high:g} %", f"over {100 * high:g} %"]
    rows = []
    for split in splits:
        if (found := split.objects) is not None:
            images = max(split.images, 1)
            shares = [f"{count:,} ({count / images:.0%})" for each in found.slices.values() for count in each]
            objects = plural(found.count, "box" if found.kind == "boxes" else "mask")
            several = f"{found.several:,} ({found.several / images:.0%})"
            rows.append([split.split, objects, _spread(found.per_image), several, f"{found.median_cover:.0%}", *shares])
    return _table(head, rows, note="cover: the share of the picture inside the largest box, or inside all masks")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> str:
    """Return a table without its empty columns, numbers to the right."""
    kept = [column for column in range(len(head)) if any(row[column] for row in rows)]
    if not kept:
        return ""
    cells = [[row[column] for column in kept] for row in rows]
    align = ["left", *["right"] * (len(kept) - 1)]
    drawn = tabulate(cells, headers=[head[column] for column in kept], disable_numparse=True, colalign=align)
    return f"{drawn}\n({note})"


def _spread(spread: Spread) -> str:
    """Write a spread, a single number where all are equal.

    >>> _spread(Spread(3, 5, 6)), _spread(Spread(64, 64, 64))
    ('3 / 5 / 6', '64')
    """
    return f"{spread.low:,}" if spread.low == spread.high else " / ".join(f"{value:,}" for value in spread)


def _finding(finding: Finding) -> Iterable[str]:
    where = f"{' and '.join(finding.splits)}: " if finding.splits else ""
    yield f"  {where}{finding.text}"
    for place, ids in enumerate(finding.ids[:SHOWN]):
        detail = finding.details[place] if finding.details else ""
        name = " = ".join(dict.fromkeys(ids))
        yield f"      {detail if name in detail else f'{name}  {detail}'.rstrip()}"
    if len(finding.ids) > SHOWN:
        yield f"      ... and {len(finding.ids) - SHOWN:,} more (--json FILE has them all)"
    yield f"    {finding.advice}"


def _verdict(report: Report) -> str:
    problems, warnings = len(report.problems), len(report.warnings)
    if not report.findings:
        return "clean: nothing to correct"
    if problems:
        return f"{plural(problems, 'problem')}, {plural(warnings, 'warning')}: `run` would refuse this dataset"
    return f"{plural(warnings, 'warning')}, no problem: `run` takes this dataset as it is"
