// The model in this page, with the answers of Python's `Recommender.recommend_ids`.
//
// Dimension key: B sessions, L positions, K the bundle's topk.

import { withoutDefault } from "./optional_input.js";

const SCORES_AT_ONCE = 4_000_000; // numbers: 16 MB

export class Recommender {
  #ort;
  #session;
  #withdrawn;
  #userSize;
  #idOf;

  /**
   * @param {object} ort the module onnxruntime-web, or onnxruntime-node
   * @param {Uint8Array} [wasm] its WebAssembly, where it shall not fetch that itself
   * @param {{manifest: object, model: Uint8Array, tokens: string[]}} bundle
   */
  static async create(ort, wasm, { manifest, model, tokens = [] }) {
    if (wasm) ort.env.wasm.wasmBinary = wasm;
    ort.env.wasm.numThreads = 1; // threads would need headers that static hosts do not send
    ort.env.logLevel = "error";
    const recommender = new Recommender();
    recommender.#ort = ort;
    recommender.#session = await ort.InferenceSession.create(withoutDefault(model, "exclude_seen"), {
      executionProviders: ["cpu"], // WebAssembly in a browser
    });
    recommender.nItems = manifest.n_items;
    recommender.maxLength = manifest.max_length;
    recommender.topk = manifest.topk;
    recommender.#withdrawn = new Set(manifest.withdrawn);
    recommender.#userSize = manifest.user_state?.size ?? 0;
    recommender.#idOf = new Map(tokens.map((token, index) => [token, index + 1]));
    return recommender;
  }

  /** Id of a token, undefined for none of the items. */
  idOf(token) {
    return this.#idOf.get(token);
  }

  /**
   * Representation of a session, for `UserState.add`.
   * @param {number[]} history item ids, oldest first, at least one
   * @returns {Promise<Float32Array>}
   */
  async encode(history) {
    const { session } = await this.#session.run(this.#inputs([history.slice(-this.maxLength)], false, null));
    if (session?.data.length !== this.#userSize || !session.data.every(Number.isFinite)) {
      throw new Error("model.onnx gives sessions that cannot be");
    }
    return session.data;
  }

  /**
   * The k best next items of one session.
   * @param {number[]} history item ids, oldest first, at least one; the most recent `maxLength` count
   * @param {number} k 1 to the bundle's topk
   * @param {boolean} excludeSeen leave the items of the history out, those beyond `maxLength` too
   * @param {import("./user_state.js").UserState | null} [state] what is known of the user
   * @returns {Promise<{ids: number[], scores: number[], ms: number}>} best first; shorter where too few are left
   */
  async recommend(history, k, excludeSeen, state = null) {
    const started = performance.now();
    const [answer] = await this.#run([history.slice(-this.maxLength)], excludeSeen, state);
    const beyond = new Set(excludeSeen ? history.slice(0, -this.maxLength) : []);
    const kept = answer.filter(([id]) => id !== 0 && !beyond.has(id)).slice(0, k);
    return { ids: kept.map(([id]) => id), scores: kept.map(([, score]) => score), ms: performance.now() - started };
  }

  /**
   * Items that stand in the answers to many sessions of one item: a start for somebody who has picked nothing yet.
   * @param {number} count how many
   */
  async favourites(count) {
    const sessions = Math.max(1, Math.min(64, this.nItems, Math.floor(SCORES_AT_ONCE / this.nItems)));
    const starts = Array.from({ length: sessions }, (_, i) => [1 + Math.floor((i * this.nItems) / sessions)]);
    const votes = new Map();
    for (const answer of await this.#run(starts, true)) {
      answer.forEach(([id], rank) => id && votes.set(id, (votes.get(id) ?? 0) + 1 / (rank + 1)));
    }
    const best = [...votes].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    return best.slice(0, count).map(([id]) => id);
  }

  /** What the model is given: sessions [B, L], padded with 0 on the right, and what is known of the user. */
  #inputs(sessions, excludeSeen, state) {
    const { Tensor } = this.#ort;
    const length = Math.max(...sessions.map((session) => session.length));
    const itemSeq = new BigInt64Array(sessions.length * length);
    sessions.forEach((session, row) => session.forEach((id, i) => (itemSeq[row * length + i] = BigInt(id))));
    const inputs = {
      item_seq: new Tensor("int64", itemSeq, [sessions.length, length]),
      exclude_seen: new Tensor("bool", Uint8Array.of(excludeSeen), []),
    };
    if (!this.#userSize) return inputs;
    const { vector, items, scores } = state?.feed((token) => this.idOf(token)) ?? {
      vector: new Float32Array(this.#userSize),
      items: [],
      scores: [],
    };
    const [ids, added] = [[0, ...items], [0, ...scores]]; // an item that is none: no tensor is empty
    return {
      ...inputs,
      user_vector: new Tensor("float32", vector, [vector.length]),
      user_items: new Tensor("int64", BigInt64Array.from(ids, BigInt), [ids.length]),
      user_scores: new Tensor("float32", Float32Array.from(added), [added.length]),
    };
  }

  /** [id, score] pairs [B][K] of sessions that fit into memory together; id 0 fills empty places. */
  async #run(sessions, excludeSeen, state = null) {
    const outputs = await this.#session.run(this.#inputs(sessions, excludeSeen, state));
    const shape = `${[sessions.length, this.topk]}`;
    if (["int64", "float32"].some((type, i) => type !== [outputs.item_ids, outputs.scores][i]?.type)) {
      throw new Error("model.onnx has other outputs than a bundle's model");
    }
    if (`${outputs.item_ids.dims}` !== shape || `${outputs.scores.dims}` !== shape) {
      throw new Error(`model.onnx gives ${outputs.item_ids.dims} ids and ${outputs.scores.dims} scores, expected ${shape}`);
    }
    const ids = Array.from(outputs.item_ids.data, Number);
    const k = this.topk;
    const answers = sessions.map((_, row) =>
      Array.from({ length: k }, (_, i) => [ids[row * k + i], outputs.scores.data[row * k + i]]),
    );
    if (!answers.every((answer) => canBe(answer, this.nItems))) {
      throw new Error("model.onnx gives scores or items that cannot be");
    }
    const kept = ([id, score]) => (this.#withdrawn.has(id) ? [0, -Infinity] : [id, score]);
    return answers.map((answer) => answer.map(kept));
  }
}

/** Best first, no item twice, a finite score for each item and minus infinity where there is none. */
function canBe(answer, nItems) {
  const items = answer.map(([id]) => id).filter((id) => id !== 0);
  return (
    new Set(items).size === items.length &&
    items.every((id) => id >= 1 && id <= nItems) &&
    answer.every(([id, score]) => (id === 0 ? score === -Infinity : Number.isFinite(score))) &&
    answer.every(([, score], i) => i === 0 || score <= answer[i - 1][1])
  );
}
