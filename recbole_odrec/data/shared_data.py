"""Whether several processes have read the same data, and enough of them to share."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_odrec.data.session_rows import StreamedRows
from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.errors import UserError
from recbole_odrec.processes.checks import check_same_data
from recbole_odrec.processes.group import agreed, n_processes


def check_shares(train_data: SessionWindowLoader, valid_data: Any, test_data: Any) -> None:
    """Refuses parts of the data that differ between processes, or have fewer cases than there are processes.

    A streamed part needs a row group for each process, too.

    Raises:
        UserError: which part.
    """
    if n_processes() == 1:
        return
    dataset = train_data._dataset
    arrays: dict[str, Any] = {"items": list(dataset.field2id_token[dataset.iid_field])}
    arrays.update({f"sessions ({number})": content for number, content in enumerate(dataset.content)})
    n_cases = {"training": train_data.n_cases}
    for name, data in (("validation", valid_data), ("test", test_data)):
        if data:
            rows, n_cases[name] = data._dataset.inter_feat, len(data._dataset)
            fields = (dataset.iid_field, dataset.item_list_length_field)
            arrays[f"{name} cases"] = np.stack([rows[field].numpy() for field in fields])
    check_same_data(arrays, n_cases)
    with agreed():
        if isinstance(dataset.inter_feat, StreamedRows) and len(dataset.inter_feat.part.groups) < n_processes():
            part = dataset.inter_feat.part
            raise UserError(
                f"{part.manifest.folder}: {n_processes()} processes and {len(part.groups)} row groups of training "
                f"sessions, expected one for each: start fewer, or hold all in memory with "
                f"--shuffle_buffer={part.n_cases}."
            )
