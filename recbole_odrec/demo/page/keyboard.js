// Whoever works with the keyboard must not lose the focus when the element that has it goes away.

/** Whether a click came from a key. After a tap the focus stays away: it would bring up the phone's keyboard. */
export function isByKeyboard(click) {
  return click.detail === 0;
}

/**
 * Replaces a list's rows; if the focus was on one, it goes to the row in the same place, else to a fallback.
 * @param {HTMLElement} list
 * @param {HTMLElement[]} rows each with a button
 * @param {HTMLElement} [fallback] where no row is left
 */
export function replaceRows(list, rows, fallback) {
  const place = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  list.replaceChildren(...rows);
  if (place < 0) return;
  const buttons = list.querySelectorAll("button");
  (buttons[Math.min(place, buttons.length - 1)] ?? fallback)?.focus({ preventScroll: true });
}
