"""Item tables by name: a new one is one file here, one line below, and its graph in `bundle.tables`."""

from recbole_odrec.nn.table import ItemTable
from recbole_odrec.nn.tables.codes import ProductCodesEmbedding
from recbole_odrec.nn.tables.dense import DenseEmbedding
from recbole_odrec.nn.tables.hashed import HashedEmbedding
from recbole_odrec.nn.tables.rounded import RoundedEmbedding
from recbole_odrec.nn.tables.tensor_train import SemiTensorTrainEmbedding

TABLES: dict[str, type[ItemTable]] = {
    "tensor_train": SemiTensorTrainEmbedding,
    "codes": ProductCodesEmbedding,
    "dense": DenseEmbedding,
    "rounded": RoundedEmbedding,
    "hashed": HashedEmbedding,
}
