"""Speed of the leaderboard: many records on the disk to the text of their tables."""

import json

import pytest
from record_examples import make_null, make_record, make_slice

from wsolbench.leaderboard.model import build
from wsolbench.leaderboard.pages import to_markdown
from wsolbench.records import load_records, write_record

RECORDS, SEEDS, METHODS = 2000, 10, 10
KEYS = [
    f"{name}{end}"
    for name in ("top1_loc", "top5_loc", "gt_known", "max_box_acc", "max_box_acc_v2", "max_box_acc_v2_iou30")
    for end in ("", "_fullsup")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write records as large as those of real runs: ten methods of ten seeds on many datasets."""
    results = tmp_path_factory.mktemp("many")
    inside = make_slice()
    for index in range(RECORDS):
        seed, method, dataset = index % SEEDS, index // SEEDS % METHODS, index // (SEEDS * METHODS)
        fields = {
            "metrics": {key: 20.0 + method + seed / 7 + place for place, key in enumerate(KEYS)},
            "thresholds": dict.fromkeys(KEYS, seed / 10),
            "absent": {"pxap": "the split has boxes, no masks"},
            "slices": {"boxes_5_50": inside},
            "history": [{"cls": 1.0 / (epoch + 1), "images": 4896.0} for epoch in range(6)],
        }
        recipe = {f"setting_{number}": number / 8 for number in range(16)}
        write_record(make_record(f"method{method}", seed, dataset=f"d{dataset}", recipe=recipe, fields=fields), results)
    for dataset in range(RECORDS // (SEEDS * METHODS)):
        write_record(make_null(dataset=f"d{dataset}"), results)
    return results


def test_bench_leaderboard(benchmark, folder):
    benchmark.group = f"{RECORDS:,} records to the text of the leaderboard"

    def leaderboard():
        return to_markdown(build(*load_records(folder)))

    text = benchmark.pedantic(leaderboard, rounds=3, warmup_rounds=1)
    benchmark.stats.name += f": {benchmark.stats.stats.median / RECORDS * 1e6:.0f} us a record"
    assert text.count("\n## ") + 1 == RECORDS // (SEEDS * METHODS)
    assert text.count("| method") == RECORDS // SEEDS
    row = next(line for line in text.splitlines() if line.startswith("| method9"))
    assert "| 10 |" in " ".join(row.split())
    seeds = [20.0 + 9 + seed / 7 + KEYS.index("max_box_acc_v2") for seed in range(SEEDS)]
    assert f"**{sum(seeds) / SEEDS:.2f}**" in row
    size = sum(len(json.dumps(json.loads(path.read_text()))) for path in list(folder.rglob("*.json"))[:20]) / 20
    assert size > 1500  # as those of real runs
