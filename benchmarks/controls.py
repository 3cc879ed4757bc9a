"""Are four tasks worth more than one? Networks with equal budgets, taught all four or super-resolution alone.

    python -m benchmarks.controls

Both networks of each pair saw the same photos, in as many crops and steps. They restore the set `complex` of the demo
profile with the SR expert and with DownLQ; one row a network, photo and metric goes to results/training/controls.jsonl,
which notebook 74 shows. Needs checkpoints that don't ship (README says where they come from).
"""

import json
import sys
from collections.abc import Iterator

from tqdm import tqdm

from benchmarks.ship import CURVES
from unires.data import Item, evaluation_set
from unires.files import write_beside
from unires.metrics import METRICS, measure
from unires.models.store import CheckpointError
from unires.profiles import profile
from unires.record import Row, row
from unires.restore import Restorer, restorer_of

OUT = CURVES / "controls.jsonl"
PAIRS = {"the base": ("demo_base", "demo_sr_only_base"), "fine-tuned for an hour": ("demo_short", "demo_sr_only")}
METHODS = ("SR", "DownLQ")


def rows_of(pair: str, name: str, restorer: Restorer, items: list[Item]) -> Iterator[Row]:
    """Each photo as each of METHODS restores it alone, by every metric.

    Test: test_controls.py::test_rows_are_measured_photos
    """
    tasks = ", ".join(profile(name).train.tasks)
    for item in tqdm(items, desc=name, unit="photo"):
        for expert in METHODS:
            photo = restorer(item.y, {expert: 1.0})
            for metric, about in METRICS.items():
                value = measure(metric, photo, item.x)
                told = {"pair": pair, "network": name, "taught": tasks}
                yield row(item.set, item.image, f"{expert}=1", metric, value, variant=about.variant, **told)


def table(rows: list[Row]):
    """Means over the photos: a line a pair, method and network, a column a metric.

    Test: test_controls.py::test_means_by_network
    """
    import pandas as pd

    names = ["pair", "method", "taught"]
    return pd.DataFrame(rows).pivot_table("value", names, "metric", sort=False)[list(METRICS)]


def main() -> int:
    items, rows = evaluation_set("complex", profile("demo")), []
    try:
        for pair, names in PAIRS.items():
            for name in names:
                rows += rows_of(pair, name, restorer_of(profile(name))[0], items)
    except CheckpointError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    write_beside(OUT, "".join(json.dumps(one, sort_keys=True) + "\n" for one in rows).encode())
    print(table(rows).round(4).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
