"""What every process must have alike before a run writes anything; what differs is one line of the first process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from recbole_odrec.errors import UserError
from recbole_odrec.processes.group import agreed, gathered, n_processes

# Keys in which the processes of one run may differ: where things lie on each machine.
_OF_A_MACHINE = {"data_path", "device", "gpu_id", "use_gpu"}


def take_device(config: Any) -> None:
    """Gives each process of a machine a GPU of its own, in the order of `gpu_id` or of those that are visible.

    Raises:
        UserError: there are not as many, or one is asked for twice, or one that is not there.
    """
    if n_processes() == 1 or config["device"].type != "cuda":
        return
    n_here, number = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
    found = torch.cuda.device_count()
    given = str(config["gpu_id"]).split(",") if "gpu_id" in config.external_config_dict else []
    given = [gpu.strip() for gpu in given]
    asked = given or [str(gpu) for gpu in range(found)]
    if len(set(asked)) < len(asked):
        raise UserError(f"gpu_id={config['gpu_id']} asks for a GPU twice: each process needs one of its own.")
    if absent := [gpu for gpu in asked if not gpu.isdecimal() or int(gpu) >= found]:
        raise UserError(f"gpu_id={config['gpu_id']}: there is no GPU {absent[0]!r}, expected some of 0 to {found - 1}.")
    if len(asked) < n_here:
        raise UserError(
            f"{n_here} processes on this machine and {len(asked)} GPUs for them: a GPU would be asked for "
            f"twice; give --nproc-per-node={len(asked)}, or --gpu_id= to train on processors."
        )
    torch.cuda.set_device(int(asked[number]))


def refuse_baseline(model: str) -> None:
    """Raises a UserError where one of RecBole's own models is to train in several processes."""
    if n_processes() > 1:
        raise UserError(
            f"{model} of RecBole trains in one process: RecBole shares batches between GPUs alone and averages metrics "
            "over batches, not cases; start it without torchrun."
        )


def check_same_configuration(values: Mapping[str, Any]) -> None:
    """Raises a UserError, in the first process, that names the keys in which processes differ."""
    kept = {key: value for key, value in values.items() if key not in _OF_A_MACHINE}
    with agreed():
        for number, others in enumerate(gathered(kept)):
            keys = sorted(key for key in kept.keys() | others.keys() if kept.get(key) != others.get(key))
            if keys:
                shown = ", ".join(f"{key}={others.get(key)!r}" for key in keys[:3])
                ours = ", ".join(f"{key}={kept.get(key)!r}" for key in keys[:3])
                raise UserError(
                    f"processes have different configurations ({ours} here, {shown} in process {number}): start all "
                    "with the same command."
                )


def check_same_data(arrays: Mapping[str, Any], n_cases: Mapping[str, int]) -> None:
    """Refuses data that are not the same everywhere, or too few to share.

    Args:
        arrays: name -> what processes must have alike.
        n_cases: part of the data -> its cases.

    Raises:
        UserError: in the first process.
    """
    hashes = {name: _hash(values) for name, values in arrays.items()}
    with agreed():
        for number, others in enumerate(gathered(hashes)):
            different = [name for name in hashes if others.get(name) != hashes[name]]
            if different:
                raise UserError(
                    f"process {number} has read other data than this one (its {', '.join(different)}): give every "
                    "machine the same files."
                )
        few = {part: n for part, n in n_cases.items() if n < n_processes()}
        if few:
            found = ", ".join(f"{n} for {part}" for part, n in few.items())
            raise UserError(f"{n_processes()} processes and fewer cases ({found}): start fewer processes.")


def _hash(values: Any) -> str:
    content = np.ascontiguousarray(values).data if isinstance(values, np.ndarray) else repr(values).encode()
    return hashlib.sha256(content).hexdigest()
