// What earlier versions of this page have left in the browser's storage: files that are still the same, and a bundle from
// which a delta leads to this one. No module and no global names, for the page imports it and the service worker too.

self.stored = (() => {
  const PREFIX = `odrec ${new URL("./", location.href).pathname} `; // several pages may share a host
  const FOLDER = "bundle/";
  const PIECE = 2 ** 18;
  const WIDTHS = { 2: 1, 3: 2, 4: 4 };
  const restoredFrom = new Map(); // name of an earlier cache -> promise of its bundle's successor, name -> bytes

  /** Name of the cache of one version of this page. */
  const cacheName = (version) => PREFIX + version;

  /** Hexadecimal SHA-256 of bytes. */
  async function sha256(bytes) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  /**
   * A file of this version out of an earlier one, or null: then it comes whole, from the network.
   * @param {{version: string, files: object, deltas: object}} list content of files.js
   * @param {string} path relative to the page
   * @param {(arrived: number, path: string, total: number) => void} [onProgress] told of a delta's bytes
   * @returns {Promise<Response | null>} its content has been compared with the list
   */
  async function fromEarlier(list, path, onProgress = () => {}) {
    const expected = list.files[path];
    for (const name of await caches.keys().catch(() => [])) {
      if (!name.startsWith(PREFIX) || name === cacheName(list.version)) continue;
      const cache = await caches.open(name);
      const kept = await cache.match(path);
      const bytes = kept && new Uint8Array(await kept.arrayBuffer());
      if (bytes && (await sha256(bytes)) === expected.sha256) return new Response(bytes, { headers: kept.headers });
      if (!path.startsWith(FOLDER)) continue;
      if (!restoredFrom.has(name)) restoredFrom.set(name, updated(list, cache, onProgress).catch(() => null));
      const found = (await restoredFrom.get(name))?.get(path);
      if (found) return new Response(found);
    }
    return null;
  }

  /** Path -> bytes of the files that a delta makes of the bundle in a cache; an error where there is none, or in vain. */
  async function updated(list, cache, onProgress) {
    const old = async (path) => new Uint8Array(await (await cache.match(path)).arrayBuffer());
    const path = `deltas/${await sha256(await old(`${FOLDER}manifest.json`))}.delta`;
    const expected = list.deltas[path]; // a page that knows none: an error, as intended
    const report = (arrived) => onProgress(arrived, path, expected.bytes);
    const delta = await gathered((await fetch(path)).body, expected.bytes, report);
    if ((await sha256(delta)) !== expected.sha256) throw new Error("a damaged delta");
    const start = 44 + new DataView(delta.buffer).getUint32(40, true);
    const header = JSON.parse(new TextDecoder().decode(delta.subarray(44, start)));
    const files = new Map();
    let at = start;
    for (const [name, { codec, from, bytes, sha256: digest, payload }] of Object.entries(header.files)) {
      const compressed = delta.subarray(at, (at += payload));
      if (codec === "copy" || !list.files[FOLDER + name]) continue; // those are found as they are, or not wanted
      const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("deflate"));
      const instructions = await gathered(stream, 2 * bytes + PIECE);
      const content = restored(from ? await old(FOLDER + name) : new Uint8Array(), instructions, bytes);
      if ((await sha256(content)) !== digest || digest !== list.files[FOLDER + name].sha256) {
        throw new Error(`${name} comes out as another file`);
      }
      files.set(FOLDER + name, content);
    }
    return files;
  }

  /** All bytes of a stream, at most so many. */
  async function gathered(stream, most, report = () => {}) {
    const pieces = [];
    let length = 0;
    const reader = stream.getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      pieces.push(piece.value);
      length += piece.value.length;
      if (length > most) throw new Error("more bytes than expected");
      report(length);
    }
    const bytes = new Uint8Array(length);
    pieces.reduce((start, piece) => (bytes.set(piece, start), start + piece.length), 0);
    return bytes;
  }

  /**
   * Carries out the instructions of a delta; Python's bundle/delta.py has the format.
   * @param {Uint8Array} old the old file
   * @param {Uint8Array} code inflated payload
   * @param {number} size bytes of the new file
   */
  function restored(old, code, size) {
    const out = new Uint8Array(size);
    let at = 0;
    let place = 0;

    function number() {
      let value = 0;
      for (let factor = 1; ; factor *= 128) {
        const byte = code[at++];
        if (byte === undefined) throw new Error("a payload ends too early");
        value += (byte % 128) * factor;
        if (byte < 128) return value;
      }
    }

    for (let done = 0, length; done < size; done += length) {
      const word = number();
      const kind = word % 8;
      length = Math.floor(word / 8);
      if (length < 1 || length > size - done || kind > 4) throw new Error("an instruction that cannot be");
      if (kind > 0) {
        const step = number();
        place += step % 2 ? -(step + 1) / 2 : step / 2;
        if (place < 0 || place > old.length - length) throw new Error("a place outside the old file");
      }
      if (kind !== 1 && at + length > code.length) throw new Error("a payload ends too early");
      if (kind === 0) out.set(code.subarray(at, at + length), done);
      if (kind > 0) out.set(old.subarray(place, place + length), done);
      for (let start = 0; WIDTHS[kind] && start < length; start += PIECE) {
        const count = Math.min(PIECE, length - start);
        add(out.subarray(done + start, done + start + count), code.subarray(at + start), WIDTHS[kind]);
      }
      if (kind !== 1) at += length;
      if (kind > 0) place += length;
    }
    if (at !== code.length) throw new Error("a payload has more than its file");
    return out;
  }

  /** Adds differences, their lowest bytes first, to numbers of so many bytes. */
  function add(numbers, differences, width) {
    const count = numbers.length / width;
    for (let i = 0; i < count; i++) {
      let zigzag = 0;
      let value = 0;
      for (let byte = 0; byte < width; byte++) {
        zigzag |= differences[byte * count + i] << (8 * byte);
        value |= numbers[i * width + byte] << (8 * byte);
      }
      value += (zigzag >>> 1) ^ -(zigzag & 1);
      for (let byte = 0; byte < width; byte++) numbers[i * width + byte] = value >> (8 * byte);
    }
  }

  return { cacheName, sha256, fromEarlier, restored };
})();
