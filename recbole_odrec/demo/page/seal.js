// The promise, enforced and shown: once everything is loaded, the page can no longer connect to anything.

import { counted } from "./words.js";

/** Forbids every further connection, then counts the requests that are made nevertheless and shows their number. */
export function seal() {
  const policy = document.createElement("meta");
  policy.httpEquiv = "Content-Security-Policy";
  policy.content = "connect-src 'none'; frame-src 'none'; media-src 'none'; worker-src 'none'";
  document.head.append(policy); // a second policy only ever adds to the first
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
