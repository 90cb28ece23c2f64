"""From a checkpoint to a bundle: rebuild the model, write its graph, compare with PyTorch, put the folder in place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from torch import nn

from recbole_odrec.bundle import manifest as bundle_files
from recbole_odrec.bundle.build import build_session_model
from recbole_odrec.bundle.executorch import build_program, has_fixed_length, program_runner
from recbole_odrec.bundle.onnx_session import no_user, open_session
from recbole_odrec.bundle.parity import LARGEST_NDCG_LOSS, Expected, Parity, compare, expect, require_parity
from recbole_odrec.bundle.precision import PRECISIONS, Precision
from recbole_odrec.bundle.recommender import Recommender
from recbole_odrec.bundle.source import Source, load_source
from recbole_odrec.bundle.titles import read_titles
from recbole_odrec.bundle.traced import build_traced_model
from recbole_odrec.bundle.user_weights import learn_user_weights
from recbole_odrec.errors import UserError, did_you_mean
from recbole_odrec.files import folder_made
from recbole_odrec.model.adapter import ProductTeacher
from recbole_odrec.model.session_recommender import SessionRecommender
from recbole_odrec.result import versions


def export_bundle(
    checkpoint: str | Path,
    output: str | Path,
    precision: Precision = "fp32",
    topk: int = 20,
    data_path: str | None = None,
    max_ndcg_loss: float = LARGEST_NDCG_LOSS,
    executorch: bool = False,
    parts: Collection[str] = (),
    user_state: str | None = None,
) -> dict[str, Any]:
    """Writes a bundle: a folder that recommends with ONNX Runtime alone.

    The graph is compared with PyTorch on every test case first, in float32 and then in the precision asked for; the
    folder appears complete or not at all.

    Args:
        checkpoint: a run's `best.pth`: student, teacher, or a RecBole model that scores by an item-embedding product.
        output: the folder to make.
        precision: fp32, fp16 or int8 (how weights are stored).
        topk: the most items one answer can have.
        data_path: folder that holds the data set's folder, where it is not where the run found it.
        max_ndcg_loss: share of the test NDCG that fp16 or int8 may cost.
        executorch: write `model.pte` for ExecuTorch too, in fp32, checked likewise.
        parts: parts of your own, as `module:Class`, that the checkpoint may name: importing them runs their code.
        user_state: make a bundle that takes what a device knows of its user, learning how much it counts from users
            with several sessions; where one ends: after a pause (`30m`, `6h`, `1d`) or a number of items (`3`).

    Returns:
        The content of `manifest.json`.

    Raises:
        UserError: bad input, or a model that does not recommend what PyTorch does; nothing is written then.
    """
    output = Path(output)
    if precision not in PRECISIONS:
        raise UserError(
            f"precision={precision!r}{did_you_mean(precision, PRECISIONS)}, expected {', '.join(PRECISIONS)}."
        )
    _require_place(output)
    source = load_source(Path(checkpoint), data_path, parts, in_seconds=user_state is not None)
    n_items = len(source.tokens) - 1
    if isinstance(topk, bool) or not isinstance(topk, int) or not 1 <= topk <= n_items:
        raise UserError(f"topk={topk!r}, expected 1 to {n_items}, the number of items.")
    user = None if user_state is None else learn_user_weights(source, user_state)
    size = user["size"] if user else 0
    expected = expect(source, topk)
    model = _build(source.model, topk, "fp32", size)
    parity = {"fp32": _checked(model, expected, "fp32", max_ndcg_loss, size)}
    if precision != "fp32":
        model = _build(source.model, topk, precision, size)
        parity[precision] = _checked(model, expected, precision, max_ndcg_loss, size)
    program = None
    if executorch:
        max_length = int(source.config["MAX_ITEM_LIST_LENGTH"])
        program = build_program(source.model, max_length, topk)
        run = program_runner(program, max_length, has_fixed_length(source.model, max_length))
        parity["executorch"] = compare(expected, run)
        require_parity(parity["executorch"], "fp32")
    try:
        with folder_made(output.parent):
            return _write(output, source, model, program, parity, precision, topk, user)
    except OSError as error:
        raise _unwritable(output, error) from error


def _require_place(output: Path) -> None:
    """Tells before minutes of work that the folder cannot be made."""
    try:
        if output.exists():
            raise UserError(f"{output} exists; give a new folder, or remove it first.")
        parent = next(path for path in output.absolute().parents if path.exists())
        with tempfile.TemporaryDirectory(dir=parent):
            pass
    except OSError as error:
        raise _unwritable(output, error) from error


def _unwritable(output: Path, error: OSError) -> UserError:
    return UserError(f"{output} cannot be written ({error.strerror or error}); nothing was written.")


def _build(model: nn.Module, topk: int, precision: Precision, user_size: int = 0) -> onnx.ModelProto:
    try:
        if isinstance(model, SessionRecommender):
            parts = model.item_table, model.encoder, model.readout
            return build_session_model(*parts, topk, precision, model.repeat, model.followers, user_size)
        return build_traced_model(ProductTeacher(model), topk, precision)
    except ValueError as error:
        raise (
            error if isinstance(error, UserError) else UserError(f"this model cannot be a bundle: {error}.")
        ) from error


def _checked(
    model: onnx.ModelProto, expected: Expected, precision: Precision, max_ndcg_loss: float, user_size: int = 0
) -> Parity:
    session = open_session(model.SerializeToString(), 0, user_size)

    def run(item_seq: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return tuple(session.run(["item_ids", "scores"], {"item_seq": item_seq, **no_user(user_size)}))

    parity = compare(expected, run)
    require_parity(parity, precision, max_ndcg_loss)
    return parity


def _write(
    output: Path,
    source: Source,
    model: onnx.ModelProto,
    program: bytes | None,
    parity: dict[str, Parity],
    precision: Precision,
    topk: int,
    user: dict[str, Any] | None,
) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
    try:
        folder.chmod(0o755)
        (folder / bundle_files.MODEL).write_bytes(model.SerializeToString())
        if program is not None:
            (folder / bundle_files.PROGRAM).write_bytes(program)
        _write_lines(folder / bundle_files.ITEMS, source.tokens[1:])
        titles = read_titles(source.config, source.tokens[1:])
        if titles is not None:
            _write_lines(folder / bundle_files.TITLES, titles)
        (folder / bundle_files.LICENSE).write_text(_license(), encoding="utf-8")
        values = {
            "model": type(source.model).__name__,
            "dataset": source.config["dataset"],
            "precision": precision,
            "n_items": len(source.tokens) - 1,
            "max_length": int(source.config["MAX_ITEM_LIST_LENGTH"]),
            "topk": topk,
            **({"user_state": user} if user else {}),
            **describe(model),
            "metrics": source.metrics,
            "parity": {name: report.as_dict() for name, report in parity.items()},
            "versions": {**versions(), "onnx": onnx.__version__, "onnxruntime": version("onnxruntime")},
            "license": "MIT (the code and the form of this bundle; its weights and item tokens come from your data)",
        }
        manifest = bundle_files.write_manifest(folder, values)
        Recommender(folder).tokens  # noqa: B018  # what was written is what a device will read
        folder.rename(output)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return manifest


def describe(model: onnx.ModelProto) -> dict[str, Any]:
    """Names, types and shapes of inputs and outputs, for the manifest; dynamic axes by name."""
    described = {}
    for part, values in (("inputs", model.graph.input), ("outputs", model.graph.output)):
        described[part] = [
            {
                "name": value.name,
                "type": onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower(),
                "shape": [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
            }
            for value in values
        ]
    return described


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def _license() -> str:
    """This package's licence: in its metadata once installed, beside it in a checkout."""
    try:
        text = distribution("recbole_odrec").read_text("licenses/LICENSE")
    except PackageNotFoundError:
        text = None
    return text or (Path(__file__).parents[2] / "LICENSE").read_text(encoding="utf-8")
