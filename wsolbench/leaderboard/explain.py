"""What is behind one record, in words."""

from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from wsolbench.differences import flatten
from wsolbench.record_schema import Record, Slice


def explain(record: Record) -> str:
    """Return what is behind a cell as readable text: config, seed, commit, data, versions, metrics, how to re-run."""
    identity, origin = record.identity, record.provenance
    lines = [f"run {record.run_id}: {identity['method']} on {identity['dataset']}, backbone {identity['backbone']}"]
    shown = ("method", "dataset", "backbone", "fingerprints")
    for name, value in identity.items():
        if name not in shown:
            text = _fields(value) if isinstance(value, Mapping) else str(value)
            lines.append(f"{name.replace('_', ' ')}: {text or '(none)'}")
    for split, count in record.images.items():
        lines.append(f"{split}: {count:,} images, fingerprint {identity['fingerprints'].get(split, 'not recorded')}")
    percentile = "" if record.percentile is None else f", percentile {record.percentile}, chosen on train-fullsup"
    lines.append("maps: {}×{}".format(*record.map_size) + percentile)
    lines.extend(f"{name.replace('_', ' ')}: {count:,}" for name, count in record.counts.items())
    if record.tuned is not None:
        lines.append(f"tuned by {record.tuned.study}: {record.tuned}")
    lines += ["", _metric_lines(record), ""]
    lines.append(f"commit: {origin.commit or 'unknown'}{' with uncommitted changes' if origin.dirty else ''}")
    lines.append(f"versions: {_fields(origin.versions)}")
    rate = "" if origin.train_images_per_s is None else f", {origin.train_images_per_s:,.0f} training images/s"
    memory = "" if origin.peak_memory_mb is None else f", peak memory {origin.peak_memory_mb:,.0f} MiB"
    lines.append(f"cost: {origin.wall_s:,.1f} s on {origin.device}{rate}{memory}")
    lines.append(f"time: {origin.started} to {origin.finished}")
    lines += ["", "to run it again:"]
    if origin.commit:
        note = "  # its uncommitted changes are not recorded" if origin.dirty else ""
        lines.append(f"  git checkout {origin.commit}{note}")
    return "\n".join([*lines, f"  {origin.command}"]) + "\n"


def _fields(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={text}" for name, text in flatten(values).items())


def _metric_lines(record: Record) -> str:
    """Write the metrics in percent with the thresholds they used, also on the slices, and why others are absent."""
    parts: list[tuple[str, Record | Slice]] = [("", record)]
    parts += [(f" on {name} ({part.images:,} images)", part) for name, part in record.slices.items()]
    rows = []
    for where, part in parts:
        for name, value in part.metrics.items():
            t = f"{part.thresholds[name]:.3f}" if name in part.thresholds else ""
            rows.append([name + where, f"{value:.2f}", t])
        rows += [[f"{name}{where} ({reason})", "–", ""] for name, reason in part.absent.items()]
    align = ("left", "right", "right")
    return tabulate(rows, headers=["metric", "percent", "t"], disable_numparse=True, colalign=align)
