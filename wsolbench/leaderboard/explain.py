"""What is behind one record, or a run that failed, in words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate

from wsolbench.differences import flatten
from wsolbench.errors import UserError
from wsolbench.failures import Failure, failure_path, load_failures
from wsolbench.leaderboard.model import build
from wsolbench.leaderboard.sections import title
from wsolbench.record_schema import Record, Slice
from wsolbench.records import find_record, load_records, record_path


def explain_run(results: Path, run: str) -> str:
    """Return what is behind a run: its record, its files and the rows that it feeds, or why it failed.

    Args:
        results: folder of the records.
        run: the first characters of a run id, or the path of a record.

    Raises:
        UserError: there is no such run, or several begin so.
    """
    try:
        record = find_record(results, run)
    except UserError:
        failures = [failure for failure in load_failures(results)[0] if failure.run_id.startswith(run)]
        if len(failures) != 1:
            raise
        return _failed(failures[0], results)
    path = Path(run) if run.endswith(".json") else record_path(record.identity, results)
    if not path.is_file():  # ``results`` is the folder of one dataset
        path = next(results.rglob(f"{record.run_id}.json"))
    return f"{explain(record)}\n{_files(record, path)}{_rows(record, path.parent)}"


def _failed(failure: Failure, results: Path) -> str:
    """Say why a run failed."""
    identity = failure.identity
    lines = [f"run {failure.run_id}: {identity['method']} on {identity['dataset']}, backbone {identity['backbone']}"]
    lines.append(f"failed ({failure.attempts} tried, last on {failure.finished}, {failure.device}): {failure.error}")
    if failure.smaller:
        lines.append(f"in its place, with a smaller batch: run {failure.smaller}")
    lines += [f"{name}: {_fields(identity[name]) or '(none)'}" for name in ("config", "dataset_options", "recipe")]
    lines.append(f"file: {failure_path(identity, results)}")
    lines += [f"log: {results / failure.log}"] if failure.log else []
    return "\n".join([*lines, "", "to run it again:", f"  {failure.command}"]) + "\n"


def _files(record: Record, path: Path) -> str:
    """Say where the files of a run are, and which of them are not there."""
    root = path.parents[2 + record.identity["dataset"].count("/")]
    runs = root / "runs" / record.run_id
    files = {"record": path, "hits": path.with_suffix(".npz")}
    if record.trainable:
        files |= {"maps of test": runs / "test.npz", "maps of train-fullsup": runs / "train-fullsup.npz"}
    if record.trainable and "extractor" not in record.identity:
        files["network"] = runs / "model.pt"
    return "".join(f"{what}: {file}{'' if file.is_file() else ' (not there)'}\n" for what, file in files.items())


def _rows(record: Record, folder: Path) -> str:
    """Say which rows of the leaderboard a run feeds."""
    tables = build(load_records(folder)[0]).tables
    return "".join(
        f"row: {row.label}, n = {row.n}, of the table {title(table.section)}\n"
        for table in tables
        for row in (*table.rows, *table.nulls)
        if any(each.run_id == record.run_id for each in row.records)
    )


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
    if record.parameters is not None:
        lines.append(f"parameters: {record.parameters:,}")
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
