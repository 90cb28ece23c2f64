"""Several runs, one after the other, in each process that `torchrun` starts: `worker.py RUNS.json RESULTS.json`.

RUNS.json: [[model, keys], ..]; the first process writes a result for each.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from recbole_odrec.quick_start import run

if __name__ == "__main__":
    torch.set_num_threads(1)
    runs, results = sys.argv[1:]
    found = [run(model, keys.pop("dataset"), config_dict=keys) for model, keys in json.loads(Path(runs).read_text())]
    if os.environ["RANK"] == "0":
        Path(results).write_text(json.dumps(found))
