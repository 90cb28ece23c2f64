// The page, from loading to clicks: each step is a module of its own.

import { BUNDLE_FILES, readBundle } from "./bundle.js";
import { Catalogue } from "./catalogue.js";
import { Downloads } from "./download.js";
import { onRemove, showHistory } from "./history_list.js";
import { onPick, showAnswer, showExamples } from "./item_rows.js";
import { isByKeyboard } from "./keyboard.js";
import { openMemory } from "./memory.js";
import { keepForOffline } from "./offline.js";
import { Problem, showProblem } from "./problem.js";
import { Recommender } from "./recommender.js";
import { seal } from "./seal.js";
import { makeSearchField } from "./search_field.js";
import { bytes, counted, milliseconds } from "./words.js";

const TOP = 20;
const EXAMPLES = 6;
const RUNTIME = "runtime/ort.wasm.bundle.min.mjs";
const WASM = "runtime/ort-wasm-simd-threaded.wasm";

const element = (id) => document.getElementById(id);
const page = document.documentElement;

async function load() {
  await import("./files.js").catch(() => {
    throw new Problem("missing", "files.js is missing");
  });
  const downloads = new Downloads(self.FILES, showProgress);
  downloads.expect([WASM, ...BUNDLE_FILES]);
  const [bundle, wasm, ort] = await Promise.all([readBundle(downloads), downloads.read(WASM), import(`./${RUNTIME}`)]);
  return { bundle, recommender: await Recommender.create(ort, wasm, bundle), delta: downloads.delta };
}

function showProgress(arrived, total) {
  element("progress").value = total ? arrived / total : 0;
  element("progress-text").textContent = `${bytes(arrived)} of ${bytes(total)}`;
}

async function start({ bundle, recommender }) {
  const catalogue = new Catalogue(bundle.tokens, bundle.titles);
  const label = (id) => catalogue.label(id);
  const results = element("results");
  const excludeSeen = element("exclude-seen");
  let history = [];
  let turn = 0;

  const failing = (work) => work.catch(showProblem);
  const memory = await openMemory(recommender, bundle, () => failing(change([])));

  async function change(next) {
    history = next;
    memory.note(history);
    const mine = ++turn;
    showHistory(history, label, recommender.maxLength);
    if (history.length === 0) return showAnswerArea("invitation");
    const k = Math.min(TOP, recommender.topk);
    const answer = await recommender.recommend(history, k, excludeSeen.checked, memory.state);
    if (mine !== turn) return; // a later click has asked again
    showAnswer(results, answer, label, new Set(history));
    showAnswerArea("results");
    element("time").textContent = milliseconds(answer.ms);
    const first = answer.ids.length ? `, first ${label(answer.ids[0])}` : "";
    element("spoken").textContent = `${counted(answer.ids.length, "recommendation")}${first}`;
    page.dataset.answers = mine;
  }

  const add = (id) => failing(change([...history, id]));
  const remove = (index) => failing(change(history.filter((_, place) => place !== index)));
  makeSearchField(catalogue, { onPick: add, onBackspace: () => history.length && remove(history.length - 1) });
  onPick(results, add);
  onPick(element("example-list"), (id, byKeyboard) => {
    if (byKeyboard) element("search").focus({ preventScroll: true }); // the pressed row goes away
    add(id);
  });
  onRemove(remove);
  element("clear").addEventListener("click", (event) => {
    failing(change([]));
    if (isByKeyboard(event)) element("search").focus();
  });
  excludeSeen.disabled = false;
  excludeSeen.addEventListener("change", () => failing(change(history)));
  showExamples(element("example-list"), await recommender.favourites(EXAMPLES), label);
}

function showAnswerArea(shown) {
  for (const id of ["loading", "invitation", "results"]) element(id).hidden = id !== shown;
  element("scale").hidden = shown !== "results";
}

function showFacts({ manifest }, isOffline, delta) {
  const size = self.FILES.files;
  const model = manifest.files["model.onnx"].bytes;
  element("size").textContent = bytes(model);
  const facts = {
    Model: [manifest.model, manifest.dataset && `trained on ${manifest.dataset}`, manifest.precision].filter(Boolean).join(", "),
    Catalogue: counted(manifest.n_items, "item"),
    "Model file": bytes(model),
    ...(delta && { Update: `${bytes(delta)} travelled, the rest was here` }),
    Runtime: `ONNX Runtime Web, ${bytes(size[WASM].bytes + size[RUNTIME].bytes)}, the same for every model`,
    Network: isOffline ? "needed no longer: the page works offline" : "needed no longer until the page is reloaded",
  };
  element("facts").replaceChildren(
    ...Object.entries(facts).flatMap(([term, fact]) => {
      const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
      [dt.textContent, dd.textContent] = [term, fact];
      return [dt, dd];
    }),
  );
}

/** The loaded bundle and its recommender; never resolves where the page cannot run. */
export const loaded = page.dataset.state === "refused" ? new Promise(() => {}) : load();

try {
  const { bundle, recommender, delta } = await loaded;
  await start({ bundle, recommender });
  showAnswerArea("invitation");
  page.dataset.state = "ready";
  performance.mark("ready");
  const isOffline = await keepForOffline();
  showFacts(bundle, isOffline, delta);
  seal();
  page.dataset.state = "sealed";
} catch (error) {
  showProblem(error);
}
