// A bundle as `recbole-odrec export` writes it: the manifest, the model and the names of its items.

import { Problem } from "./problem.js";

const FORMAT = "recbole_odrec bundle";
const FORMAT_VERSION = 1;
const FOLDER = "bundle/";

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
  const tokens = lines(items);
  if (tokens.length !== manifest.n_items) {
    throw new Problem("damaged", `items.txt: ${tokens.length} items, the manifest says ${manifest.n_items}`);
  }
  return { manifest, model, tokens, titles: lines(titles) };
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
  for (const key of ["n_items", "max_length", "topk"]) {
    if (!Number.isInteger(manifest[key])) throw new Problem("damaged", `manifest.json: \`${key}\` is missing`);
  }
  return manifest;
}

function lines(bytes) {
  const text = new TextDecoder().decode(bytes);
  return text === "" ? [] : text.slice(0, -1).split("\n"); // every line has its end
}
