// Earlier visits: what is kept of them in this browser's storage, shown, and erased by one click.

import { UserState } from "./user_state.js";
import { bytes, counted } from "./words.js";

const KEY = `odrec user ${new URL("./", location.href).pathname}`; // several pages may share a host
const NOW = `${KEY} now`; // items of the visit that goes on

const element = (id) => document.getElementById(id);

/** Storage that may be refused: then each visit is the first. */
const kept = (key) => {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
};
const keep = (key, value) => {
  try {
    value === null ? localStorage.removeItem(key) : localStorage.setItem(key, value);
  } catch {
    // no storage, no memory
  }
};

/**
 * The state of earlier visits, the last one included, which ended when its page was left.
 * @param {import("./recommender.js").Recommender} recommender
 * @param {{manifest: object, tokens: string[]}} bundle
 * @param {() => void} onForget called after a click on "Forget me"
 * @returns {Promise<{state: UserState | null, note: (history: number[]) => void}>} `note` remembers the picks of this visit
 */
export async function openMemory(recommender, { manifest, tokens }, onForget) {
  if (!manifest.user_state) return { state: null, note: () => {} };
  const state = read(manifest);
  const ids = (kept(NOW) ?? "").split("\n").map((token) => recommender.idOf(token)).filter(Boolean);
  keep(NOW, null);
  if (ids.length) {
    state.add(ids.map((id) => tokens[id - 1]), await recommender.encode(ids));
    keep(KEY, `${state}`);
  }
  const show = () => {
    element("memory").hidden = false;
    element("forget").disabled = state.sessions === 0;
    element("memory-text").textContent = state.sessions
      ? `${counted(state.sessions, "earlier visit")}, ${bytes(state.bytes)} in this browser, never sent.`
      : "Nothing of an earlier visit is kept. What you pick now counts at your next one, in this browser alone.";
  };
  element("forget").addEventListener("click", () => {
    state.clear();
    for (const key of [KEY, NOW]) keep(key, null);
    show();
    onForget();
  });
  show();
  return { state, note: (history) => keep(NOW, history.length ? history.map((id) => tokens[id - 1]).join("\n") : null) };
}

function read(manifest) {
  try {
    return new UserState(manifest, kept(KEY));
  } catch {
    keep(KEY, null); // damaged: nothing else would mend it
    return new UserState(manifest);
  }
}
