// Registers the service worker and waits until it holds the whole page.

const SECONDS = 20;

/** @returns {Promise<boolean>} whether the page works without a network from now on */
export async function keepForOffline() {
  if (!navigator.serviceWorker) return false;
  try {
    const registration = await navigator.serviceWorker.register("./sw.js", { updateViaCache: "none" });
    // On a later visit: look for a new version now, while the page loads.
    if (registration.active) await registration.update().catch(() => {});
    const worker = registration.installing ?? registration.waiting;
    if (!worker) return Boolean(registration.active);
    return await Promise.race([activated(worker), new Promise((done) => setTimeout(done, 1000 * SECONDS, false))]);
  } catch {
    return false; // storage refused: everything else works
  }
}

function activated(worker) {
  return new Promise((done) => {
    const look = () => {
      if (worker.state === "activated") done(true);
      if (worker.state === "redundant") done(false);
    };
    worker.addEventListener("statechange", look);
    look();
  });
}
