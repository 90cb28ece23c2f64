// The history as chips; each one takes itself away.

import { isByKeyboard, replaceRows } from "./keyboard.js";

const list = document.getElementById("chips");
const limit = document.getElementById("limit");

/**
 * @param {number[]} history item ids, oldest first
 * @param {(id: number) => string} label
 * @param {number} maxLength how many items the model reads
 */
export function showHistory(history, label, maxLength) {
  document.getElementById("history").hidden = history.length === 0;
  document.getElementById("examples").hidden = history.length > 0;
  replaceRows(
    list,
    history.map((id, index) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.index = index;
      button.setAttribute("aria-label", `Remove ${label(id)}`);
      button.append(label(id));
      item.append(button);
      item.classList.toggle("unread", index < history.length - maxLength);
      return item;
    }),
    document.getElementById("search"),
  );
  limit.hidden = history.length <= maxLength;
  limit.textContent = `The model reads the last ${maxLength} picks.`;
}

/** Calls back with the index of a chip that was pressed. */
export function onRemove(callback) {
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (!isByKeyboard(event)) button.blur();
    callback(Number(button.dataset.index));
  });
}
