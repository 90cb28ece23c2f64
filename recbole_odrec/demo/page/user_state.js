// What this device keeps of its user, as Python's bundle/user_state.py has it: each reads what the other has written.

const FORMAT = "recbole_odrec user";
const FORMAT_VERSION = 1;
const MOST_BYTES = 4096;
const KEYS = ["format", "version", "model", "sessions", "weight", "vector", "seen"];

const encoded = (text) => new TextEncoder().encode(text);
const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
const isPair = (pair) => Array.isArray(pair) && pair.length === 2 && typeof pair[0] === "string" && isCount(pair[1]);

export class UserState {
  #weights;
  #model;
  #total; // sum of the vectors of earlier sessions, each with its weight
  #weight;

  /**
   * @param {object} manifest of a bundle that takes a state
   * @param {string | null} [content] of `toString`; an error where it is something else
   */
  constructor(manifest, content = null) {
    this.#weights = manifest.user_state;
    this.#model = manifest.user_state.space ?? manifest.files["model.onnx"].sha256.slice(0, 16); // as `space_of`
    this.clear();
    if (content === null) return;
    this.#read(content);
    this.#cut(); // a model of more dimensions leaves less room for what was seen
  }

  /** Forgets everything. */
  clear() {
    /** How many sessions have been added. */
    this.sessions = 0;
    /** Token -> in how many sessions the user has had it; what was had last stands last. */
    this.seen = new Map();
    this.#weight = 0;
    this.#total = new Float32Array(this.#weights.size);
  }

  /**
   * Remembers a session that is over; what no longer fits is forgotten, what was had least and longest ago first.
   * @param {string[]} tokens known items of the session, oldest first
   * @param {Float32Array} vector its representation
   */
  add(tokens, vector) {
    const { decay } = this.#weights;
    this.#total = this.#total.map((value, i) => Math.fround(Math.fround(decay) * value) + vector[i]);
    this.#weight = decay * this.#weight + 1;
    this.sessions += 1;
    for (const token of new Set(tokens)) {
      const count = this.seen.get(token) ?? 0;
      this.seen.delete(token);
      this.seen.set(token, count + 1);
    }
    this.#cut();
  }

  #cut() {
    let tooMany = this.bytes - MOST_BYTES;
    for (const pair of [...this.seen].sort((a, b) => a[1] - b[1])) { // of equal ones the first
      if (tooMany <= 0) break;
      this.seen.delete(pair[0]);
      tooMany -= encoded(JSON.stringify(pair)).length + 1; // its comma
    }
  }

  /** JSON of at most 4,096 bytes. */
  toString() {
    const view = new DataView(new ArrayBuffer(4 * this.#total.length));
    this.#total.forEach((value, i) => view.setFloat32(4 * i, value, true));
    const vector = btoa(String.fromCharCode(...new Uint8Array(view.buffer)));
    const values = [FORMAT, FORMAT_VERSION, this.#model, this.sessions, this.#weight, vector, [...this.seen]];
    return JSON.stringify(Object.fromEntries(KEYS.map((key, i) => [key, values[i]])));
  }

  get bytes() {
    return encoded(this.toString()).length;
  }

  /**
   * Values of the model's inputs: the user's vector, items and what is added to their scores.
   * @param {(token: string) => number | undefined} idOf
   */
  feed(idOf) {
    const share = this.#weight ? Math.fround(this.#weights.vector_weight / this.#weight) : 0;
    const known = this.#weights.seen_weight ? [...this.seen].filter(([token]) => idOf(token)) : [];
    return {
      vector: this.#total.map((value) => share * value),
      items: known.map(([token]) => idOf(token)),
      scores: known.map(([, count]) => this.#weights.seen_weight * Math.log2(1 + count)),
    };
  }

  #read(content) {
    const values = JSON.parse(content);
    const wrong = (what) => new Error(`this is not what a device keeps of a user (${what})`);
    if (encoded(content).length > MOST_BYTES) throw wrong(`more than ${MOST_BYTES} bytes`);
    if (values?.format !== FORMAT || values.version !== FORMAT_VERSION) throw wrong("its format or version");
    const { sessions, weight, seen } = values;
    if (!isCount(sessions) || !Array.isArray(seen) || !seen.every(isPair)) throw wrong("`sessions` or `seen`");
    if (!(weight === 0 || (Number.isFinite(weight) && weight >= 1 && weight <= sessions))) throw wrong("`weight`");
    const bytes = Uint8Array.from(atob(values.vector), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    if (values.model === this.#model) { // the vector of another model says nothing
      const total = this.#total.map((_, i) => view.getFloat32(4 * i, true));
      if (bytes.length !== 4 * total.length || !total.every(Number.isFinite)) throw wrong("`vector`");
      this.#total = total;
      this.#weight = weight;
    }
    this.sessions = sessions;
    this.seen = new Map(seen);
  }
}
