"""Item tables of small whole numbers as a bundle's model stores them: what a row is, and which is next to a vector.

A table that can grow on a device has a class here, found by the names that its exporter stores.

Dimension key: N items (padding row 0 included), n some rows, D embedding, S integers of an item; of codes M codebooks
of K entries, W = D / M.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from recbole_odrec.four_bits import in_halves, out_of_halves

Weights = Mapping[str, np.ndarray]


class StoredTable(ABC):
    """An item table out of a model.

    Args:
        weights: what the model stores, by name.

    Attributes:
        NAMES: of what it reads; a model that has them all has this table.
        integers: [N, S].
        dim: D.
    """

    NAMES: frozenset[str]
    integers: np.ndarray
    dim: int

    @abstractmethod
    def __init__(self, weights: Weights) -> None: ...

    @abstractmethod
    def rows_of(self, integers: np.ndarray) -> np.ndarray:
        """[n, S] -> [n, D]."""

    @abstractmethod
    def nearest(self, rows: np.ndarray) -> np.ndarray:
        """[n, D] -> the integers whose row is next to each, [n, S]."""

    @abstractmethod
    def stored(self, integers: np.ndarray) -> dict[str, np.ndarray]:
        """[N, S] -> what the model stores of them, by name."""

    @abstractmethod
    def query(self, nodes: Sequence[onnx.NodeProto]) -> str:
        """Name of what a session is to it, [B, D]: its product with a row is the score."""


class StoredCodes(StoredTable):
    """Product codes: the entries that a row is made of."""

    NAMES = frozenset({"codes", "codebooks", "codebooks.scale"})

    def __init__(self, weights: Weights) -> None:
        self.integers = weights["codes"].T
        self.books = weights["codebooks"].astype(np.float32) * weights["codebooks.scale"]  # [M, K, W]
        self.dim = self.books.shape[0] * self.books.shape[2]

    def rows_of(self, integers: np.ndarray) -> np.ndarray:
        """Entries of the codebooks, side by side."""
        return self.books[np.arange(len(self.books)), integers.astype(np.int64)].reshape(len(integers), -1)

    def nearest(self, rows: np.ndarray) -> np.ndarray:
        """Part by part the entry at the least distance: uint8."""
        return nearest_codes(rows, self.books)

    def stored(self, integers: np.ndarray) -> dict[str, np.ndarray]:
        """The codes, codebook by codebook."""
        return {"codes": integers.T.astype(np.uint8)}

    def query(self, nodes: Sequence[onnx.NodeProto]) -> str:
        """query -> Reshape [B, M, W] -> Transpose [M, W, B] -> MatMul with the codebooks."""
        made_by = {output: node for node in nodes for output in node.output}
        rescaled = {node.output[0] for node in nodes if "codebooks.scale" in node.input}
        product = next(node for node in nodes if node.op_type == "MatMul" and node.input[0] in rescaled)
        return made_by[made_by[product.input[1]].input[0]].input[0]


class StoredRounded(StoredTable):
    """Few columns of 8 or 4 bits, each with its step, and a projection."""

    NAMES = frozenset({f"item_table{name}" for name in ("", ".step", ".projection", ".projection.scale")})

    def __init__(self, weights: Weights) -> None:
        stored = weights["item_table"]
        self.bits = 4 if stored.dtype == np.uint8 else 8
        self.integers = out_of_halves(stored) if self.bits == 4 else stored
        projection = weights["item_table.projection"].astype(np.float32) * weights["item_table.projection.scale"]
        self.projection = weights["item_table.step"][:, None] * projection  # [C, D]
        self.dim = self.projection.shape[1]

    def rows_of(self, integers: np.ndarray) -> np.ndarray:
        """Their sums of the projection's rows."""
        return integers.astype(np.float32) @ self.projection

    def nearest(self, rows: np.ndarray) -> np.ndarray:
        """Least squares, then the nearest integers that there are: int8."""
        columns = np.linalg.lstsq(self.projection.T, np.asarray(rows).T, rcond=None)[0].T
        most = 2 ** (self.bits - 1) - 1
        return np.rint(columns).clip(-most, most).astype(np.int8)

    def stored(self, integers: np.ndarray) -> dict[str, np.ndarray]:
        """Bytes, of 4 bits two integers each."""
        return {"item_table": in_halves(integers) if self.bits == 4 else integers.astype(np.int8)}

    def query(self, nodes: Sequence[onnx.NodeProto]) -> str:
        """query -> Gemm with the projection."""
        rescaled = {node.output[0] for node in nodes if "item_table.projection.scale" in node.input}
        return next(node for node in nodes if node.op_type == "Gemm" and node.input[1] in rescaled).input[0]


TABLES: tuple[type[StoredTable], ...] = (StoredCodes, StoredRounded)


def nearest_codes(rows: np.ndarray, books: np.ndarray) -> np.ndarray:
    """Of each row, part by part, the entry at the least distance: [n, D], [M, K, W] -> uint8 [n, M]."""
    parts = rows.reshape(len(rows), len(books), -1)
    products = np.einsum("nmw,mkw->nmk", parts, books)
    return (products - (books**2).sum(2) / 2).argmax(2).astype(np.uint8)
