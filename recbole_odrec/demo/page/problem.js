// What can go wrong while loading, in the visitor's words.

const WORDS = {
  missing: ["No bundle here", "This folder has the page but no model. Write both with: recbole-odrec demo --bundle DIR --export FOLDER"],
  damaged: ["A file is damaged", "It is not the one that was exported, so nothing is recommended from it. Copy or export the bundle again, then reload."],
  version: ["This bundle is of another version", "Export it again with the recbole_odrec that wrote this page."],
  network: ["Loading was interrupted", "The connection broke before everything had arrived. Reload the page to try again."],
  model: ["The model does not run", "The runtime in this page cannot use this bundle. Export it again."],
};

/** A reason not to recommend; `kind` is a key of WORDS, the message says which file or value. */
export class Problem extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

/** Shows an error in place of the page's main part. */
export function showProblem(error) {
  const kind = error instanceof Problem ? error.kind : "model";
  const [title, text] = WORDS[kind];
  document.getElementById("problem-title").textContent = title;
  document.getElementById("problem-text").textContent = text;
  document.getElementById("problem-detail").textContent = error.message;
  document.getElementById("problem").hidden = false;
  document.documentElement.dataset.state = "failed";
  document.documentElement.dataset.problem = kind;
}
