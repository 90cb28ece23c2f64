// Files of the page's folder as bytes: from the cache of this version, out of an earlier one, or from the network, and
// always checked.

import "./stored.js";
import { Problem } from "./problem.js";

const { cacheName, fromEarlier, sha256 } = self.stored;

/** Reads files that FILES lists; tells how many bytes of how many have arrived. */
export class Downloads {
  #list;
  #files;
  #cache;
  #onProgress;
  #arrived = new Map();
  #total = 0;

  /**
   * @param {{version: string, files: Record<string, {bytes: number, sha256: string}>}} list content of files.js
   * @param {(arrived: number, total: number) => void} onProgress told after every piece
   */
  constructor(list, onProgress) {
    this.#list = list;
    this.#files = list.files;
    /** Bytes of the delta that has led here; 0 for none. */
    this.delta = 0;
    this.#onProgress = onProgress;
    // A browser may refuse storage (private windows, no space): then there is no cache, and all else works.
    this.#cache = caches.open(cacheName(list.version)).catch(() => null);
  }

  /** Announces files, so that the total is known before the first byte. */
  expect(paths) {
    this.#total = paths.reduce((sum, path) => sum + (this.#files[path]?.bytes ?? 0), 0);
  }

  /**
   * @param {string} path relative to the page
   * @param {{bytes: number, sha256: string}} expected size and digest that the content must have
   * @returns {Promise<Uint8Array>}
   * @throws {Problem} missing or damaged
   */
  async read(path, expected = this.#files[path]) {
    if (!expected) throw new Problem("damaged", `${path} is not listed`);
    const cache = await this.#cache;
    const stored = await cache?.match(path);
    if (stored) {
      const bytes = await this.#receive(path, stored);
      if (bytes.length === expected.bytes && (await sha256(bytes)) === expected.sha256) return bytes;
      await cache.delete(path); // what a disk has damaged, the network may still have
    }
    const kept = await fromEarlier(this.#list, path, (...arrived) => this.#countDelta(...arrived)).catch(() => null);
    const bytes = await this.#receive(path, kept ?? (await request(path)));
    if (bytes.length !== expected.bytes) {
      throw new Problem("damaged", `${path}: ${bytes.length} bytes, expected ${expected.bytes}`);
    }
    if ((await sha256(bytes)) !== expected.sha256) {
      throw new Problem("damaged", `${path}: its SHA-256 is not the one in the manifest`);
    }
    await cache?.put(path, new Response(bytes)).catch(() => {}); // no space: it works, though not offline
    return bytes;
  }

  async #receive(path, response) {
    const pieces = [];
    let length = 0;
    const reader = response.body.getReader();
    try {
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        pieces.push(piece.value);
        length += piece.value.length;
        this.#count(path, length);
      }
    } catch (error) {
      throw new Problem("network", `${path}: ${error.message}`);
    }
    const bytes = new Uint8Array(length);
    pieces.reduce((start, piece) => (bytes.set(piece, start), start + piece.length), 0);
    return bytes;
  }

  #countDelta(arrived, path, total) {
    if (!this.delta) this.#total += total;
    this.delta = total;
    this.#count(path, arrived);
  }

  #count(path, length) {
    this.#arrived.set(path, length);
    this.#onProgress(Math.min([...this.#arrived.values()].reduce((a, b) => a + b, 0), this.#total), this.#total);
  }
}

async function request(path) {
  let response;
  try {
    response = await fetch(path);
  } catch (error) {
    throw new Problem("network", `${path}: ${error.message}`);
  }
  if (response.status === 404) throw new Problem(path.endsWith("manifest.json") ? "missing" : "damaged", `${path} is missing`);
  if (!response.ok) throw new Problem("network", `${path}: HTTP ${response.status}`);
  return response;
}
