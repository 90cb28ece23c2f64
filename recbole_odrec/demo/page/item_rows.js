// Rows that can be picked: the examples at the start, and the ranked answer.

import { isByKeyboard, replaceRows } from "./keyboard.js";

/** A row's button: picks the item. */
function pickButton(id, ...content) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.id = id;
  button.append(...content);
  return button;
}

function text(className, content) {
  const span = document.createElement("span");
  span.className = className;
  span.textContent = content;
  return span;
}

function inItem(child) {
  const item = document.createElement("li");
  item.append(child);
  return item;
}

/**
 * @param {HTMLElement} list
 * @param {number[]} ids
 * @param {(id: number) => string} label
 */
export function showExamples(list, ids, label) {
  list.replaceChildren(...ids.map((id) => inItem(pickButton(id, text("title", label(id))))));
}

/**
 * @param {HTMLElement} list
 * @param {{ids: number[], scores: number[]}} answer best first
 * @param {(id: number) => string} label
 * @param {Set<number>} picked items of the history
 */
export function showAnswer(list, { ids, scores }, label, picked) {
  const [best, last] = [scores[0], scores.at(-1)];
  replaceRows(
    list,
    ids.map((id, index) => {
      const bar = text("score-bar", "");
      bar.setAttribute("aria-hidden", "true");
      bar.style.setProperty("--share", best > last ? (scores[index] - last) / (best - last) : 1);
      const button = pickButton(
        id,
        text("rank", `${index + 1}`),
        text("title", label(id)),
        bar,
        text("score", scores[index].toFixed(2)),
      );
      button.dataset.score = scores[index];
      button.setAttribute("aria-label", `${index + 1}. ${label(id)}, score ${scores[index].toFixed(2)}. Add to history`);
      button.classList.toggle("picked", picked.has(id));
      return inItem(button);
    }),
  );
}

/** Calls back with the id of a row that was pressed, and whether a key did it. */
export function onPick(list, callback) {
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-id]");
    if (button) callback(Number(button.dataset.id), isByKeyboard(event));
  });
}
