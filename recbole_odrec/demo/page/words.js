// Numbers as people read them.

/** 1234567 -> "1.2 MB" */
export function bytes(count) {
  if (count < 1000) return `${count} B`;
  if (count < 1e6) return `${Math.round(count / 1e3)} kB`;
  return `${(count / 1e6).toFixed(1)} MB`;
}

/** Milliseconds with the precision that browsers give: a tenth. */
export function milliseconds(ms) {
  return ms < 0.1 ? "under 0.1 ms" : `${ms.toFixed(ms < 100 ? 1 : 0)} ms`;
}

/** 1, "request" -> "1 request"; 2 -> "2 requests" */
export function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}
