// The promise, enforced and shown: once everything is loaded, the page can no longer connect to anything.

import { counted } from "./words.js";

// Nothing may be loaded any more from anywhere, this page's own address included: a file's name can carry a history in
// its query. Only WebAssembly that is here already may run.
const POLICY = "default-src 'none'; script-src 'wasm-unsafe-eval'; base-uri 'none'; form-action 'none'";

/** Forbids every further connection, then counts the requests that are made nevertheless and shows their number. */
export function seal() {
  const policy = document.createElement("meta");
  policy.httpEquiv = "Content-Security-Policy";
  policy.content = POLICY;
  document.head.append(policy); // a second policy only ever adds to the first
  // No policy covers a script that goes to another address. The visitor's own reload and address bar are not asked.
  self.navigation?.addEventListener("navigate", (event) => event.cancelable && event.preventDefault());
  const shown = document.getElementById("requests");
  const since = performance.now();
  let count = 0;
  const show = () => {
    shown.dataset.count = count;
    shown.textContent = `${counted(count, "request")} since loading`;
  };
  new PerformanceObserver((list) => {
    count += list.getEntries().filter((entry) => entry.startTime > since).length;
    show();
  }).observe({ type: "resource" });
  show();
}
