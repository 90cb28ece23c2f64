// A bundle as `recbole-odrec export` writes it: the manifest, the model and the names of its items.

import { Problem } from "./problem.js";

const FORMAT = "recbole_odrec bundle";
const FORMAT_VERSION = 1;
const FOLDER = "bundle/";
const MOST = 2 ** 31 - 1; // items, positions
const MOST_LINE_BYTES = 4096;

/** The files of a bundle that the page reads; titles may be missing. */
export const BUNDLE_FILES = ["manifest.json", "model.onnx", "items.txt", "titles.txt"].map((name) => FOLDER + name);

/**
 * Reads a bundle, each file checked against the manifest, which is checked against files.js.
 * @param {import("./download.js").Downloads} downloads
 * @returns {Promise<{manifest: object, model: Uint8Array, tokens: string[], titles: string[]}>} item id i is line i - 1
 * @throws {Problem}
 */
export async function readBundle(downloads) {
  const manifest = parse(await downloads.read(`${FOLDER}manifest.json`));
  const read = (name) => downloads.read(FOLDER + name, manifest.files[name]);
  const [model, items, titles] = await Promise.all([
    read("model.onnx"),
    read("items.txt"),
    manifest.files["titles.txt"] ? read("titles.txt") : new Uint8Array(),
  ]);
  const tokens = lines("items.txt", items, manifest.n_items);
  if (tokens.includes("")) throw new Problem("damaged", "items.txt: a token is empty");
  if (new Set(tokens).size < tokens.length) throw new Problem("damaged", "items.txt: a token stands twice");
  return { manifest, model, tokens, titles: titles.length ? lines("titles.txt", titles, manifest.n_items) : [] };
}

function parse(bytes) {
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new Problem("damaged", `manifest.json: ${error.message}`);
  }
  if (manifest?.format !== FORMAT) throw new Problem("damaged", `manifest.json: expected format ${FORMAT}`);
  if (manifest.format_version !== FORMAT_VERSION) {
    throw new Problem("version", `format version ${manifest.format_version}, this page reads ${FORMAT_VERSION}`);
  }
  const largest = { n_items: MOST, max_length: MOST, topk: manifest.n_items };
  for (const [key, most] of Object.entries(largest)) {
    const value = manifest[key];
    if (!(Number.isInteger(value) && value >= 1 && value <= most)) {
      throw new Problem("damaged", `manifest.json: \`${key}\` is not 1 to ${most}`);
    }
  }
  const isItem = (id) => Number.isInteger(id) && id >= 1 && id <= manifest.n_items;
  if (!(Array.isArray(manifest.withdrawn ?? []) && (manifest.withdrawn ?? []).every(isItem))) {
    throw new Problem("damaged", "manifest.json: `withdrawn` is no list of item ids");
  }
  if (!isUserState(manifest.user_state ?? { size: 1, vector_weight: 0, decay: 0, seen_weight: 0 })) {
    throw new Problem("damaged", "manifest.json: `user_state` is none");
  }
  if (!manifest.files?.["model.onnx"] || !manifest.files["items.txt"]) {
    throw new Problem("damaged", "manifest.json does not list model.onnx and items.txt");
  }
  return manifest;
}

function isUserState({ size, space = "0".repeat(16), vector_weight, decay, seen_weight }) {
  const isSize = Number.isInteger(size) && size >= 1 && size <= 512 && /^[0-9a-f]{16}$/.test(space);
  return isSize && [vector_weight, seen_weight].every(Number.isFinite) && decay >= 0 && decay <= 1;
}

/** Lines of a file with one for each item, as Python's `Lines` takes them. */
function lines(name, bytes, count) {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Problem("damaged", `${name}: not UTF-8`);
  }
  const found = text.split("\n");
  if (found.pop() !== "") throw new Problem("damaged", `${name}: the last line is not complete`);
  if (found.length !== count) throw new Problem("damaged", `${name}: ${found.length} items, the manifest says ${count}`);
  for (let start = 0, end; start < bytes.length; start = end + 1) {
    end = bytes.indexOf(10, start);
    if (end - start > MOST_LINE_BYTES) throw new Problem("damaged", `${name}: a line of ${end - start} bytes`);
  }
  return found;
}
