/** One recommended item. */
export interface Recommendation {
  /** Its token, as in the data that the model was trained on. */
  item: string;
  /** Product of session and item; comparable within one answer. */
  score: number;
  /** Title of the item, null where the data has none. */
  title: string | null;
}

export interface Answer {
  /** Best first; shorter than k only where so many items are left out. */
  items: Recommendation[];
  /** Tokens of the history that the model has never seen: skipped. */
  unknown: string[];
}

export interface Options {
  /** How many items, 1 to `manifest.topk`; 20 unless given. */
  k?: number;
  /** Leave the items of the history out. */
  excludeSeen?: boolean;
  /** What is known of the user from earlier sessions; not changed. */
  state?: UserState | null;
}

/** What a device keeps of its user: at most 4 KB, never sent. */
export interface UserState {
  /** How many sessions it remembers. */
  readonly sessions: number;
  /** Forgets everything. */
  clear(): void;
  /** JSON, to be kept and given to `Recommender.state` later. */
  toString(): string;
}

export interface Recommender {
  /** Content of the bundle's manifest.json. */
  readonly manifest: { n_items: number; max_length: number; topk: number; [key: string]: unknown };
  /**
   * The best next items of one session.
   * @param history item tokens, oldest first; of a long one the most recent `manifest.max_length` count
   * @throws {RangeError} no item of the history is known, or k is out of range
   */
  recommend(history: readonly (string | number)[], options?: Options): Promise<Answer>;
  /**
   * A state of a user of whom nothing is known, or the one that `toString` gave before.
   * @throws {Error} another content, or a bundle that was exported without `--user_state`
   */
  state(content?: string | null): UserState;
  /** Puts a session that is over into a state. */
  remember(state: UserState, session: readonly (string | number)[]): Promise<void>;
}

/**
 * Reads the bundle beside this file, each file checked against its SHA-256, and loads its model.
 * @param ort the module onnxruntime-web (or its `/wasm`), or onnxruntime-node
 * @param options `wasm`: content of onnxruntime-web's WebAssembly, where it shall not fetch that itself
 */
export function load(ort: object, options?: { wasm?: Uint8Array }): Promise<Recommender>;
