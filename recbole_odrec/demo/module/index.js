// Recommends from the bundle in this package: in a browser, a worker or Node, with the ONNX Runtime that it is given.

import { readBundle } from "./bundle.js";
import { FILES } from "./files.js";
import { Recommender } from "./recommender.js";
import { UserState } from "./user_state.js";

/** Types and words of everything here: index.d.ts. */
export async function load(ort, { wasm } = {}) {
  const bundle = await readBundle({ read });
  return new TokenRecommender(bundle, await Recommender.create(ort, wasm, bundle));
}

class TokenRecommender {
  #tokens;
  #titles;
  #recommender;

  constructor({ manifest, tokens, titles }, recommender) {
    this.manifest = manifest;
    this.#tokens = tokens;
    this.#titles = titles;
    this.#recommender = recommender;
  }

  async recommend(history, { k = Math.min(20, this.manifest.topk), excludeSeen = false, state = null } = {}) {
    const { topk } = this.manifest;
    if (!(Number.isInteger(k) && k >= 1 && k <= topk)) throw new RangeError(`k=${k}, expected 1 to ${topk}`);
    const { words, ids } = this.#known(history);
    const answer = await this.#recommender.recommend(ids, k, excludeSeen, state);
    return {
      items: answer.ids.map((id, index) => ({
        item: this.#tokens[id - 1],
        score: answer.scores[index],
        title: this.#titles[id - 1] || null,
      })),
      unknown: words.filter((word) => !this.#recommender.idOf(word)),
    };
  }

  state(content = null) {
    if (!this.manifest.user_state) throw new Error("this bundle takes no state of a user: export it with --user_state");
    return new UserState(this.manifest, content);
  }

  async remember(state, session) {
    const { ids } = this.#known(session);
    state.add(ids.map((id) => this.#tokens[id - 1]), await this.#recommender.encode(ids));
  }

  #known(history) {
    if (!Array.isArray(history)) throw new TypeError("history: expected a list of item tokens");
    const words = history.map(String);
    const ids = words.map((word) => this.#recommender.idOf(word)).filter(Boolean);
    if (ids.length === 0) throw new RangeError("history: none of its items is known; show popular items instead");
    return { words, ids };
  }
}

/** A file of the bundle, of the size and with the SHA-256 that the manifest has for it, and files.js for the manifest. */
async function read(path, expected = FILES[path]) {
  const bytes = await content(FILES[path].url);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== expected.sha256) throw new Error(`${path}: its SHA-256 is not the one in the manifest`);
  return bytes;
}

async function content(url) {
  if (url.protocol === "file:") {
    const { readFile } = await import(/* webpackIgnore: true */ /* @vite-ignore */ "node:fs/promises"); // Node's fetch reads none
    return new Uint8Array(await readFile(url));
  }
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}
