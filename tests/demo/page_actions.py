"""What a visitor does on the page, and what the page then shows."""

from __future__ import annotations

import numpy as np

from recbole_odrec.bundle import Recommender

ANSWERS = """async ([histories, excludeSeen]) => {
  const { recommender } = await (await import("./main.js")).loaded;
  const k = Math.min(20, recommender.topk);
  return Promise.all(histories.map((history) => recommender.recommend(history, k, excludeSeen)));
}"""


def shown(page) -> list[tuple[int, str, float]]:
    """Id, title and score of each row, as displayed."""
    return page.eval_on_selector_all(
        "#results button",
        "rows => rows.map(r => [+r.dataset.id, r.querySelector('.title').textContent, +r.dataset.score])",
    )


def search_and_pick(page, words: str) -> None:
    page.fill("#search", words)
    page.click("#matches li >> nth=0")


def answers(page, number: int) -> None:
    page.wait_for_selector(f"html[data-answers='{number}']")


def same_answers(page, recommender: Recommender, histories: list[list[int]], exclude_seen: bool) -> None:
    """The page's lists and scores are Python's, up to the order of scores that differ by rounding."""
    k = min(20, recommender.topk)
    found = page.evaluate(ANSWERS, [histories, exclude_seen])
    for history, answer in zip(histories, found, strict=True):
        ids, scores = recommender.recommend_ids([history], k, exclude_seen)
        kept = ids[0] > 0
        ids, scores = ids[0][kept], scores[0][kept]
        np.testing.assert_allclose(answer["scores"], scores, rtol=1e-5, atol=1e-5)
        differ = ids != np.array(answer["ids"])
        all_scores = dict(zip(ids.tolist(), scores.tolist(), strict=True))
        for mine, score in zip(np.array(answer["ids"])[differ].tolist(), scores[differ].tolist(), strict=True):
            assert abs(all_scores.get(mine, scores[-1]) - score) < 1e-5, (history, ids, answer["ids"])
        assert differ.sum() <= 2
