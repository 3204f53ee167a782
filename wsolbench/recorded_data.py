"""The data that a record was made on, opened again, or refused where it is not the same."""

from collections.abc import Mapping

from wsolbench.data.places import Places
from wsolbench.data.registry import open_places
from wsolbench.data.splits import SPLITS, SplitName
from wsolbench.errors import UserError
from wsolbench.protocols import NORMALIZATION, Normalization
from wsolbench.record_schema import Record
from wsolbench.supervision import Division, divide


def recorded_division(record: Record, places: Places) -> Division:
    """Open a record's dataset, divided as it was for that run.

    Args:
        record: of a run or a null row.
        places: where its files are, for a dataset that reads them.

    Raises:
        UserError: the dataset cannot be opened, or a split has another fingerprint than in the record.
    """
    identity = record.identity
    options = {name: str(value) for name, value in identity["dataset_options"].items()}
    dataset = open_places(identity["dataset"], places, options)
    refuse_other_data(record, {split: dataset.fingerprint(split) for split in SPLITS})
    return divide(dataset, identity.get("supervision", {}).get("kind", "labels"))


def recorded_normalization(record: Record) -> Normalization:
    """Return how a record's raw maps were normalised; records of the first versions do not name the protocol's own."""
    name = record.identity["recipe"].get("normalization", NORMALIZATION)
    return Normalization(name=name, percentile=record.percentile)


def refuse_other_data(run: Record, found: Mapping[SplitName, str]) -> None:
    """Raise UserError if a split is not the one that the run was made with.

    Args:
        run: its record.
        found: split -> fingerprint, of the data that are here.
    """
    expected = run.identity["fingerprints"]
    for split, fingerprint in found.items():
        if fingerprint != expected.get(split):
            raise UserError(
                f"{split} of {run.identity['dataset']} has the fingerprint {fingerprint} here and "
                f"{expected.get(split)} in run {run.run_id}; give the data of that run with --data-root and --metadata"
            )
