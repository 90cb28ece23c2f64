"""An epoch of a streamed Parquet folder, checked in each process that `torchrun` starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from gradients import step
from recbole.data import create_dataset
from torch import Tensor

from recbole_odrec.config import make_config
from recbole_odrec.data.parquet_sessions import StreamedPart
from recbole_odrec.data.preparation import prepare
from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.data.windows import NEXT_ITEMS, Windows
from recbole_odrec.phases import build_model
from recbole_odrec.processes.group import gathered, n_processes
from recbole_odrec.trainer.distillation import DistillationTrainer
from recbole_odrec.trainer.resumable import ResumableTrainer
from recbole_odrec.trainer.teacher_plan import plan_teachers

Case = tuple[int, ...]  # the last three items of a prefix, and the next one


def compare_streams(model: str, keys: dict[str, Any]) -> None:
    """Each case comes once an epoch, read by one process alone; a step is that of one process with the whole batch."""
    config = make_config(model, keys.pop("dataset"), config_dict=keys)
    data, *_ = prepare(config, create_dataset, tests=True)
    loader, read = SessionWindowLoader(config, data._dataset), []
    with pytest.MonkeyPatch.context() as patch:
        block_of = StreamedPart._block

        def noted(self: StreamedPart, numbers: list[int]) -> Any:
            read.extend(numbers)
            return block_of(self, numbers)

        patch.setattr(StreamedPart, "_block", noted)
        loader.generator.manual_seed(3)
        batches = list(loader)
    everyone, plain = gathered([case for batch in batches for case in cases_of(batch)]), plain_cases(model, config)
    assert sorted(case for own in everyone for case in own) == plain
    Path("plain.txt").write_text("".join(lines_of(plain)))
    numbers = gathered(read)
    assert all(numbers)
    assert sorted(number for own in numbers for number in own) == [*range(len(data._dataset.inter_feat.part.groups))]
    states = gathered(loader.generator.get_state().tolist())
    assert states == [states[0]] * n_processes()

    trainer = DistillationTrainer(config, build_model(config, loader).double())
    (plan,) = plan_teachers(config, loader)
    trainer.attach_teacher(plan.model.double())
    trainer.pair.dataset = loader._dataset
    trainer.objectives.double()
    n_rows = [gathered(batch.share.n_rows) for batch in batches]
    lacking = next(at for at, rows in enumerate(n_rows) if not min(rows))  # one that a process has nothing of
    for batch in (batches[0], batches[lacking], batches[-1]):
        whole, shared = step(trainer, union(batch), 7), step(trainer, batch, 7)
        torch.testing.assert_close(shared[0], whole[0], rtol=1e-10, atol=1e-12)
        for ours, theirs in zip(shared[1], whole[1], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-10)
        assert torch.equal(shared[2], whole[2])


def cases_of(batch: Windows) -> list[Case]:
    """Those of this process's share; none of a row that stands for none."""
    if batch.share is not None and not batch.share.n_rows:
        return []
    found, width = [], batch[NEXT_ITEMS].shape[1]
    for case in batch.cases.tolist():
        row, position = divmod(case, width)
        history = batch["item_id_list"][row, max(position - 2, 0) : position + 1]
        found.append((*history.tolist(), int(batch[NEXT_ITEMS][row, position])))
    return found


def lines_of(cases: list[Case]) -> Iterator[str]:
    return (f"{' '.join(map(str, case))}\n" for case in cases)


def noted_cases(file: Path) -> Callable[[ResumableTrainer, Windows], Tensor]:
    """The loss of a trainer, which also writes down what this process has trained on."""
    loss = ResumableTrainer.loss

    def noted(self: ResumableTrainer, batch: Windows) -> Tensor:
        with file.open("a") as lines:
            lines.writelines(lines_of(cases_of(batch)))
        return loss(self, batch)

    return noted


def plain_cases(model: str, config: Any) -> list[Case]:
    """Every training case of the same data in memory, prefix by prefix."""
    whole = {**config.external_config_dict, "shuffle_buffer": 10**6}
    rows = prepare(make_config(model, config["dataset"], config_dict=whole), create_dataset, tests=True)[0]._dataset
    of_all = rows[torch.arange(len(rows))]
    histories, lengths = of_all["item_id_list"], of_all["item_length"].tolist()
    ends = zip(histories.tolist(), lengths, of_all["item_id"].tolist(), strict=True)
    return sorted((*history[max(length - 3, 0) : length], target) for history, length, target in ends)


def union(batch: Windows) -> Windows:
    """The whole batch, of the rows of all processes."""
    fields, n_rows = batch.interaction, batch.share.n_rows
    parts = gathered({name: values[:n_rows] for name, values in fields.items()})
    whole = {name: torch.cat([part[name] for part in parts]) for name in fields}
    return Windows(whole, whole[NEXT_ITEMS].flatten().nonzero().squeeze(1))
