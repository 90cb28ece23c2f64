// The history as chips; each one takes itself away.

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
  list.replaceChildren(
    ...history.map((id, index) => {
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
  );
  limit.hidden = history.length <= maxLength;
  limit.textContent = `The model reads the last ${maxLength} picks.`;
}

/** Calls back with the index of a chip that was pressed; the focus stays among the chips. */
export function onRemove(callback) {
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const index = Number(button.dataset.index);
    callback(index);
    const chips = list.querySelectorAll("button");
    (chips[Math.min(index, chips.length - 1)] ?? document.getElementById("search")).focus();
  });
}
