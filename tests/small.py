"""What tests share beside fixtures: where the real data lies, and a network that trains in seconds."""

from __future__ import annotations

from pathlib import Path

import recbole

ML_100K = Path(recbole.__file__).parent / "dataset_example" / "ml-100k"

# A network that trains in seconds; everything else as shipped.
SMALL = {
    "hidden_size": 16,
    "compression_rate": 2,
    "epochs": 2,
    "train_batch_size": 256,
    "MAX_ITEM_LIST_LENGTH": 20,
    "show_progress": False,
    "state": "ERROR",
    "metric_decimal_place": 10,
}
