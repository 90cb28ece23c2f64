from __future__ import annotations

import torch

from recbole_odrec.nn import DenseEmbedding


def test_normalised_table_scores_by_direction_alone_in_every_path() -> None:
    table, query, ids = DenseEmbedding(10, 4, std=0.5, is_normalized=True), torch.randn(3, 4), torch.tensor([3, 0, 9])
    rows = torch.stack([row / row.norm() if row.any() else row for row in table.weight])
    torch.testing.assert_close(table(ids), rows[ids])
    torch.testing.assert_close(table.to_matrix(), rows)
    for scores in (table.scores(query), table.raw_scores(query), table.frozen().scores(query)):
        torch.testing.assert_close(scores, query @ rows.T)
    before = table.scores(query)
    table.weight.data[5] *= 7
    torch.testing.assert_close(table.scores(query), before)


def test_table_dropout_is_of_entries_that_score_in_training_and_rows_keep_their_length() -> None:
    table, identity = DenseEmbedding(500, 16, std=0.5, is_normalized=True, dropout=0.25), torch.eye(16)
    torch.testing.assert_close(table(torch.arange(500)), table.to_matrix())  # what is read is whole
    rows = table.raw_scores(identity).T[1:]
    assert 0.23 < (rows == 0).float().mean() < 0.27
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(499))
    torch.testing.assert_close(table.eval().raw_scores(identity).T, table.to_matrix())
