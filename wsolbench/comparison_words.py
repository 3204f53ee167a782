"""A comparison in the words of a paper: who is above whom, by how much, and what may be claimed."""

from collections.abc import Mapping, Sequence

import numpy as np
from tabulate import tabulate

from wsolbench.comparison import Comparison, Side, Verdict
from wsolbench.differences import flatten
from wsolbench.leaderboard.columns import COLUMNS
from wsolbench.protocols import SEEDS_FOR_A_CLAIM, basic_interval
from wsolbench.record_schema import REFERENCE_ROW

_LEGEND = (
    "SD: over seeds. Images: 95 % interval of the mean of these very checkpoints, from resampling images alone. "
    "Bias: by how much resamples exceed the value on average, as a maximum over thresholds does. "
    "Rank: 95 % interval when seeds and images are resampled; of few seeds it is too narrow."
)


def describe(comparison: Comparison) -> str:
    """Write everything that was found, for a terminal."""
    unit = metric_title(comparison.question.metric)
    baseline = comparison.sides[0].name
    parts = [
        _heading(comparison, unit),
        _table(comparison, unit),
        _LEGEND,
        *_notes(comparison),
        "\n".join([f"Against {baseline}:", *(f"- {_sentences(verdict, unit)}" for verdict in comparison.verdicts)]),
        _center(comparison, unit),
    ]
    return "\n\n".join(parts) + "\n"


def metric_title(key: str) -> str:
    """Return a metric's name as the tables print it: ``V2`` for ``max_box_acc_v2``; the key where they have none."""
    return next((column.title for column in COLUMNS if column.key == ("", key)), key)


def _heading(comparison: Comparison, unit: str) -> str:
    """Say what is compared, on which images, with which random numbers."""
    question, identity = comparison.question, comparison.example.identity
    options = ", ".join(f"{name}={text}" for name, text in flatten(identity["dataset_options"]).items())
    dataset = f"{identity['dataset']} ({options})" if options else identity["dataset"]
    part = f"the slice {question.part} of " if question.part else ""
    side = identity["recipe"]["image_size"]
    return (
        f"{unit} on {part}{dataset}: {comparison.images:,} test images at {side}×{side} px, protocol version "
        f"{identity['protocol']}; {question.resamples:,} resamples, seed {question.seed}"
    )


def _table(comparison: Comparison, unit: str) -> str:
    """Write one line for each side."""
    rows = [_row(side, rank) for side, rank in zip(comparison.sides, comparison.ranks, strict=True)]
    head = ["", "n", unit, "SD", "images", "bias", "rank"]
    return tabulate(rows, headers=head, disable_numparse=True, colalign=["left", *["right"] * 6])


def _row(side: Side, rank: tuple[int, int]) -> list[str]:
    values = np.array([run.value for run in side.runs.values()])
    resampled = np.mean([run.resampled for run in side.runs.values()], axis=0)
    # Turned around, the errors of a value near 0 or 100 reach beyond what a percentage can be.
    low, high = np.clip(basic_interval(float(values.mean()), resampled), 0, 100)
    return [
        side.name,
        str(len(values)),
        f"{values.mean():.2f}",
        f"{values.std(ddof=1):.2f}" if len(values) > 1 else "–",
        f"{low:.2f} to {high:.2f}",
        f"{np.mean([run.bias for run in side.runs.values()]):+.2f}",
        f"{rank[0]}" if rank[0] == rank[1] else f"{rank[0]} to {rank[1]}",
    ]


def _notes(comparison: Comparison) -> list[str]:
    """Say what else the reader should know: other settings that differ, the images that the tables are ranked by."""
    notes = []
    for setting, values in comparison.settings.items():
        found = ", ".join(f"{text} for {name}" for name, text in values.items())
        notes.append(f"Beyond the method they differ in {setting}: {found}.")
    headline = comparison.example.headline
    if headline != comparison.question.part:
        where = f"the slice {headline} (--slice {headline})" if headline else "all test images (no --slice)"
        notes.append(f"Tables of this dataset are ranked by {where}.")
    if comparison.left_out and any(verdict.difference.seeds for verdict in comparison.verdicts):
        notes.append(
            f"Also recorded on these images: {', '.join(comparison.left_out)}. The protocol's family is a whole table; "
            "Holm counts only what is named here, so do not name methods by their results."
        )
    notes += comparison.skipped
    return ["\n".join(notes)] if notes else []


def _sentences(verdict: Verdict, unit: str) -> str:
    """Say what may be claimed of one side against the other, and what could have been detected."""
    difference = verdict.difference
    detectable = f"{difference.detectable(verdict.family):.2f} {unit}"
    size = _size(verdict, unit)
    if difference.seeds == 0:
        return (
            f"{size} on these images: a comparison of two checkpoints, not of methods. "
            f"{_no_claim(verdict)}The smallest difference between checkpoints that could have been detected is "
            f"{detectable} (with a probability of 80 %)."
        )
    if difference.seeds < SEEDS_FOR_A_CLAIM:
        found = f"{size}. {_no_claim(verdict)}"
    elif difference.claimed(verdict.adjusted):
        found = f"{size}. "
    else:
        found = f"no difference from {verdict.against} can be claimed: {size}. "
    return f"{found}The smallest difference that could have been detected is {detectable} (with a probability of 80 %)."


def _size(verdict: Verdict, unit: str, seeds: str = "paired seeds") -> str:
    """Return ``inca is 6.60 V2 above cam (95 % interval 2.10 to 11.00, 5 paired seeds, p = 0.004)``."""
    difference = verdict.difference
    low, high = difference.interval
    where = "above" if difference.mean >= 0 else "below"
    inside = f"95 % interval {low:.2f} to {high:.2f}"
    if low < 0 < high:  # in words: a minus sign would have to be read with above and below
        inside = f"95 % interval {-low:.2f} below to {high:.2f} above"
    elif high <= 0:
        inside = f"95 % interval {abs(high):.2f} to {abs(low):.2f}"
    if difference.seeds:
        many = f" after Holm over {verdict.family} comparisons" if verdict.family > 1 else ""
        inside += f", {difference.seeds} {seeds}, p = {verdict.adjusted:.2g}{many}"
    return f"{verdict.side} is {abs(difference.mean):.2f} {unit} {where} {verdict.against} ({inside})"


def _no_claim(verdict: Verdict) -> str:
    """Say how many seeds there are and which are missing; nothing for two seeds of one method."""
    if not verdict.missing:
        return ""
    pairs = max(verdict.difference.seeds, 1)
    return (
        f"No claim: {pairs} seed{'s' if pairs > 1 else ''}; at least {SEEDS_FOR_A_CLAIM} are needed, "
        f"so run {_seeds(verdict.missing)}. "
    )


def _seeds(missing: Mapping[str, Sequence[int]]) -> str:
    """Return ``cam and inca with the seeds 3, 4``."""
    texts = {name: ", ".join(map(str, seeds)) for name, seeds in missing.items()}
    together = {text: [name for name in texts if texts[name] == text] for text in texts.values()}
    return " and ".join(
        f"{' and '.join(names)} with the seed{'s' if ',' in text else ''} {text}" for text, names in together.items()
    )


def _center(comparison: Comparison, unit: str) -> str:
    """Say of every side whether it is above the null row by its interval (PROTOCOL: null rows)."""
    if not comparison.center:
        return f"Not compared with the null row {REFERENCE_ROW}: {comparison.no_center}."
    lines = [f"Against the null row {REFERENCE_ROW}, which looks at no picture:"]
    for verdict in comparison.center:
        size = _size(verdict, unit, "seeds") + ("" if verdict.difference.seeds else " on these images, one checkpoint")
        clear = verdict.difference.interval[0] > 0
        found = size if clear else f"{verdict.side} does not clear {verdict.against} by its interval: {size}"
        lines.append(f"- {found}. {_no_claim(verdict)}".rstrip())
    return "\n".join(lines)
