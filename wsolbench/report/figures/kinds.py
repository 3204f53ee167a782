"""Each kind of figure: what of a table it draws, and what its caption says.

A kind is a function from a table's :class:`Material` to drawings; in between it may say, in a sentence, which rows it
had to leave out. It raises :class:`~wsolbench.errors.UserError` where it cannot draw at all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from wsolbench.errors import UserError
from wsolbench.leaderboard.rows import Row, Score
from wsolbench.leaderboard.sections import title
from wsolbench.protocols import CRITERIA, SEEDS_FOR_A_CLAIM
from wsolbench.record_schema import REFERENCE_ROW, Record
from wsolbench.report.figures import best_of_k, curves, examples, ious, qualitative, seeds, trade_off, training
from wsolbench.report.figures.material import Material
from wsolbench.report.figures.saving import Drawing
from wsolbench.report.figures.sources import FROZEN, Sources

Kind = Callable[[Material], Iterator[Drawing | str]]

TOP1, GT_KNOWN = ("", "top1_cls"), ("", "gt_known")

MANY = 4
"""The figure of one method shows so many times the images of the comparison."""

COLUMNS = 14
"""Methods that fit side by side; more would be stamps."""


def _no_claims(rows: Sequence[Row]) -> str:
    few = min(row.n for row in rows) < SEEDS_FOR_A_CLAIM
    return f" Fewer than {SEEDS_FOR_A_CLAIM} seeds: differences between methods are not claims." if few else ""


# --- curves and thresholds --------------------------------------------------------------------------------------------


def draw_curves(material: Material) -> Iterator[Drawing | str]:
    """BoxAcc over the threshold on all test images, and on the slice that ranks the table."""
    yield from _draw_curves(material, "")
    part = material.table.section.headline[0]
    if part:
        try:
            yield from _draw_curves(material, part)
        except UserError as error:  # which images are in the slice is known from the data alone
            yield f"curves-{part} of {title(material.table.section)}: {error}"


def _draw_curves(material: Material, part: str) -> Iterator[Drawing | str]:
    sources, name = material.sources, f"curves-{part}" if part else "curves"

    def accuracy(record: Record) -> curves.Floats:
        hits = sources.hits(record)
        return curves.accuracy(hits.select(sources.among(part)) if part else hits)

    def read(row: Row) -> curves.Curves:
        return curves.Curves(
            label=row.label,
            look=material.looks[row.label],
            accuracy=np.stack([accuracy(record) for record in row.records]),
            thresholds=[_thresholds(record, part) for record in row.records],
        )

    found, notes = material.available(read, name)
    floor, missing = material.reference(lambda record: accuracy(record).max(axis=1), name)
    yield from notes + missing
    what = "Box accuracy over the operating threshold: mean over seeds, band from the smallest to the largest"
    text = (
        "BoxAcc(t, d), the percentage of images where a box (any contour) at threshold t has IoU ≥ d with a true one. A"
        " line is the mean over a row's seeds, its band reaches from the smallest seed to the largest. Below, one lane"
        " a row: for each seed a dot at the threshold that is best on these very images (the oracle), a ring at the one"
        " that was chosen on train-fullsup and frozen."
    )
    if floor is not None:
        text += f" Dotted: the best that the null row {REFERENCE_ROW} reaches at any threshold."
    yield Drawing(
        name=name,
        title="Box accuracy over the operating threshold",
        figure=curves.draw_table(list(found.values()), CRITERIA, floor, what, material.data(part)),
        caption=material.caption(text, material.rows(found)),
    )


def _thresholds(record: Record, part: str) -> Mapping[str, float]:
    if not part:
        return record.thresholds
    return record.slices[part].thresholds if part in record.slices else {}


def draw_ious(material: Material) -> Iterator[Drawing | str]:
    """Histograms of IoU at the frozen threshold."""
    sources = material.sources

    def read(row: Row) -> ious.Fits:
        found = np.stack([sources.ious(record) for record in row.records])
        return ious.Fits(label=row.label, look=material.looks[row.label], seeds=found)

    assert sources.truth, "a split has images"
    found, notes = material.available(read, "iou")
    reference, missing = material.reference(sources.ious, "iou")
    yield from notes + missing
    text = (
        "Each test image's IoU: of all boxes at the threshold that was frozen on train-fullsup for GT-known"
        f" (`{FROZEN}`), the best with a true box. Bars: percentage of images in bins of 0.05, all seeds together;"
        " median and the share that is at least 0.5 likewise."
    )
    what = "IoU at the frozen threshold"
    if reference is not None:
        text += f" Outline: the null row {REFERENCE_ROW}."
        what += f"; outline: the null row {REFERENCE_ROW}"
    yield Drawing(
        name="iou",
        title="IoU at the frozen threshold",
        figure=ious.draw_ious(list(found.values()), reference, what, material.data()),
        caption=material.caption(text, material.rows(found)),
    )


# --- numbers of the table ---------------------------------------------------------------------------------------------


def draw_seeds(material: Material) -> Iterator[Drawing | str]:
    """Every seed as a dot."""
    table = material.table
    keys = [key for key in dict.fromkeys((table.section.headline, GT_KNOWN, TOP1)) if key in material.titles]
    rows = [
        seeds.Dots(
            label=row.label,
            look=material.looks[row.label],
            values={material.titles[key]: list(row.by_seed(key).values()) for key in keys},
        )
        for row in table.rows
    ]
    if not any(any(row.values.values()) for row in rows):
        raise UserError("no row has any of its metrics")
    floors = {material.titles[key]: value for key, value in material.floors.items() if key in keys}
    what = "Every seed: a ring each, a bar at their mean"
    text = (
        "A ring is one run, the bar is the mean over a row's seeds, – says that the row lacks the metric; rows in the"
        f" table's order. Localisation is by oracle thresholds. Dotted: the null row {REFERENCE_ROW}."
        + _no_claims(table.rows)
    )
    yield Drawing(
        name="seeds",
        title="Every seed",
        figure=seeds.draw_seeds(rows, floors, [material.titles[key] for key in keys], what, material.data()),
        caption=material.caption(text, table.rows),
    )


def draw_trade_off(material: Material) -> Iterator[Drawing | str]:
    """Classification against localisation."""
    table, panels = material.table, []
    drawn: dict[str, Row] = {}
    for key in dict.fromkeys((table.section.headline, GT_KNOWN)):
        points = []
        for row in table.rows:
            x, y = row.score(TOP1), row.score(key)
            if x is not None and y is not None:
                drawn[row.label] = row
                points.append(
                    trade_off.Point(label=row.label, look=material.looks[row.label], x=_spread(x), y=_spread(y))
                )
        if points:
            panels.append(trade_off.Panel(title=material.titles[key], points=points, floor=material.floors.get(key)))
    if not panels:
        raise UserError("no row has Top-1 Cls beside a metric of localisation")
    without = [row.label for row in table.rows if row.label not in drawn]
    text = (
        "A mark is the mean over a row's seeds, its bars reach one sample standard deviation to each side. Localisation"
        f" is by oracle thresholds. Dotted: the null row {REFERENCE_ROW}."
        + (f" Not drawn, because they do not classify: {', '.join(without)}." if without else "")
        + _no_claims(table.rows)
    )
    what = "Classification against localisation: means, bars of one standard deviation over seeds"
    yield Drawing(
        name="accuracy-localisation",
        title="Classification against localisation",
        figure=trade_off.draw_trade_off(panels, what, material.data()),
        caption=material.caption(text, list(drawn.values())),
    )


def _spread(score: Score) -> tuple[float, float]:
    return score.mean, score.std or 0.0


# --- training and tuning ----------------------------------------------------------------------------------------------


def draw_training(material: Material) -> Iterator[Drawing | str]:
    """Loss terms and diagnostics over the epochs."""
    rows = [row for row in material.table.rows if any(record.history for record in row.records)]
    if not rows:
        raise UserError("its records have no history of training")
    panels: dict[str, list[training.Line]] = {}
    for row in rows:
        histories = [record.history for record in row.records]
        for name, lines in training.quantities(row.label, material.looks[row.label], histories).items():
            panels.setdefault(name, []).extend(lines)
    what = "Training, over its epochs: mean over seeds, band from the smallest to the largest"
    text = (
        "What each run reported at the end of an epoch: the epoch's mean of every loss term and diagnostic, by the name"
        " it has in the records; `lr` is the learning rate. A line is the mean over a row's seeds, its band reaches"
        " from the smallest to the largest. “By place”: the quantity is taken at several places of the network, told"
        " apart by dashes. Scales differ between panels."
    )
    yield Drawing(
        name="training",
        title="Training",
        figure=training.draw_training(panels, what, material.data(split="train-weaksup")),
        caption=material.caption(text, rows),
    )


def draw_best_of_k(material: Material) -> Iterator[Drawing | str]:
    """What tuning buys."""
    table = material.table
    if table.section.trials is None:
        raise UserError("its rows were not tuned")

    def read(row: Row) -> best_of_k.Study:
        return best_of_k.read_study(material.sources.choice(row.records[0]), row.label, material.looks[row.label])

    found, notes = material.available(read, "best-of-k")
    yield from notes
    studies = list(found.values())
    measured = f"{studies[0].criterion}, {studies[0].images:,} images of train-fullsup"
    text = (
        f"The expected best score of k trials, drawn without replacement from the {table.section.trials} of each"
        f" study, against k: {measured}, that is what the choice was made by, not test. Right: the same at the last k"
        " with a 95 % interval over other images and other trials."
    )
    tuned = {row.label: row.tuned.study for row in table.rows if row.tuned is not None and row.label in found}
    names = "\n".join(f"- {label}: `{study}`" for label, study in tuned.items())
    yield Drawing(
        name="best-of-k",
        title="Best of k trials",
        figure=best_of_k.draw_best_of_k(
            studies, "Best of k trials, on train-fullsup", f"{title(table.section)} · {measured}"
        ),
        caption=f"{text} Table: {title(table.section)}.\n\nStudies:\n\n{names}",
    )


# --- pictures ---------------------------------------------------------------------------------------------------------


def draw_qualitative(material: Material) -> Iterator[Drawing | str]:
    """Images with score maps and boxes: all methods side by side, and more images of one method."""
    sources, part = material.sources, material.table.section.headline[0]
    among = np.flatnonzero(sources.among(part))
    if not len(among):
        raise UserError(f"no test image is in the slice {part}")
    found, notes = material.available(lambda row: sources.ious(row.records[0])[among], "qualitative")
    yield from notes
    rows = material.rows(found)
    if len(rows) > COLUMNS:
        left_out = ", ".join(row.label for row in rows[COLUMNS:])
        yield f"qualitative of {title(material.table.section)} has room for {COLUMNS} rows, not for {left_out}"
    of = f"the {len(among):,} images of {part}" if part else f"the {len(among):,} images"
    shown = rows[:COLUMNS]
    chosen = qualitative.spread(np.mean([found[row.label] for row in shown], axis=0), material.images)
    yield _side_by_side(material, shown, among[chosen].tolist(), of)
    row = next((row for row in rows if not row.supervision), rows[0])
    many = qualitative.spread(found[row.label], MANY * material.images)
    yield _of_one(material, row, among[many].tolist(), of)


def _side_by_side(material: Material, rows: Sequence[Row], chosen: Sequence[int], of: str) -> Drawing:
    sources, by = material.sources, "sorted by the mean IoU of all methods drawn"
    figure = qualitative.draw_side_by_side(
        examples.pictures(sources, chosen),
        {row.label: examples.answers(sources, row.records[0], chosen) for row in rows},
        f"Score maps and boxes on images in even steps of rank, {by}",
        f"{title(material.table.section)} · test, {of} · first seed",
    )
    return Drawing(
        name="qualitative",
        title="Score maps and boxes, side by side",
        figure=figure,
        caption=material.caption(_rule(of, by, chosen, sources), rows, slice(1)),
    )


def _of_one(material: Material, row: Row, chosen: Sequence[int], of: str) -> Drawing:
    sources, by = material.sources, f"sorted by the IoU of {row.label} (the first row that trained on labels alone)"
    figure = qualitative.draw_many(
        examples.pictures(sources, chosen),
        examples.answers(sources, row.records[0], chosen),
        f"Score maps and boxes of {row.label}, from its worst images to its best in even steps of rank",
        f"{title(material.table.section)} · test, {of} · seed {row.records[0].identity['recipe']['seed']}",
    )
    return Drawing(
        name="qualitative-one",
        title=f"Score maps and boxes of {row.label}",
        figure=figure,
        caption=material.caption(_rule(of, by, chosen, sources), [row], slice(1)),
    )


def _rule(of: str, by: str, chosen: Sequence[int], sources: Sources) -> str:
    """Say how images were chosen and what is drawn on them."""
    ids = ", ".join(f"`{sources.annotations.ids[index]}`" for index in chosen)
    return (
        f"Chosen by rule, not by hand: {of} of test, {by} at the frozen threshold (each method's first seed), are cut"
        f" into {len(chosen)} equal shares, and the middle image of each is shown, so hits and misses come in about the"
        " proportion they have. Red: the true boxes. Green, dashed: all boxes at the threshold frozen on train-fullsup"
        " for GT-known, the best one thicker; below it its IoU, with a filled dot where that is at least"
        f" {qualitative.HIT:g}. Score maps: of the true class, dark low, bright high, over the grey picture. Images:"
        f" {ids}."
    )


KINDS: Mapping[str, Kind] = {
    "qualitative": draw_qualitative,
    "curves": draw_curves,
    "iou": draw_ious,
    "best-of-k": draw_best_of_k,
    "training": draw_training,
    "accuracy-localisation": draw_trade_off,
    "seeds": draw_seeds,
}
"""Every kind by the name that ``--only`` takes."""
