// Keeps the page for use without a network. While there is one, it answers: a new version shows at the next visit.
// The runtime and the bundle are put into the same cache by the page itself (download.js), so they travel once.

importScripts("files.js", "stored.js"); // FILES changes with any file, and with it this worker

const SCOPE = new URL("./", location.href);
const PREFIX = stored.cacheName("");
const CACHE = stored.cacheName(FILES.version);

self.addEventListener("install", (event) => {
  event.waitUntil(store().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(removeOldVersions().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const path = pathOf(event.request.url);
  if (path in FILES.files || path === "files.js") event.respondWith(answer(event.request, path));
});

/** Path below the page's address; other pages may live there, which are none of this worker's business. */
function pathOf(url) {
  const { origin, pathname } = new URL(url);
  if (origin + pathname === SCOPE.href) return "index.html";
  return (origin + pathname).startsWith(SCOPE.href) ? pathname.slice(SCOPE.pathname.length) : "";
}

async function store() {
  const cache = await caches.open(CACHE);
  const missing = async (path) => !(await cache.match(path));
  for (const path of ["files.js", ...Object.keys(FILES.files)]) {
    if (!(await missing(path))) continue;
    const kept = path in FILES.files ? await stored.fromEarlier(FILES, path) : null;
    if (await missing(path)) await cache.put(path, kept ?? (await received(path)));
  }
}

/** A file of this version, not of the one before or after that a busy host may still or already serve. */
async function received(path) {
  const response = await fetch(path, { cache: "no-cache" });
  if (!response.ok) throw new Error(`${path}: HTTP ${response.status}`);
  const expected = FILES.files[path];
  if (expected && (await stored.sha256(await response.clone().arrayBuffer())) !== expected.sha256) {
    throw new Error(`${path} is of another version`);
  }
  return response;
}

async function removeOldVersions() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== CACHE).map((name) => caches.delete(name)));
}

async function answer(request, path) {
  const stored = await (await caches.open(CACHE)).match(path);
  // More than a file's name is not sent: it could tell of the visitor.
  if (stored && (request.method !== "GET" || new URL(request.url).search)) return stored;
  return fetch(request).catch((error) => stored ?? Promise.reject(error));
}
