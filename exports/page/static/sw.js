// The service worker: serves the page itself from its cache, so that it works offline. The family is not cached here:
// the client stores its model, checks it at every launch, and knows what to do offline.

// The server writes SHELL above this line, so a new version of the page is another worker. `files`: digests by name.
const { version, files } = SHELL;
const SCOPE = new URL(self.registration.scope).pathname;
const CACHE = `model-factory-${version}`;

self.addEventListener("install", (event) => {
  event.waitUntil(Promise.all(Object.keys(files).map(store)).then(() => self.skipWaiting()));
});

/** The page has just loaded most files, so the browser's own cache has them; it may also have those of an older one. */
async function store(name) {
  for (const cache of ["force-cache", "reload"]) {
    const found = await fetch(name, { cache });
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await found.clone().arrayBuffer()));
    const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found.ok && hex === files[name]) return (await caches.open(CACHE)).put(name, found);
  }
  throw new Error(`${name} is not the file of this page`);
}

self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => names.filter((name) => name.startsWith("model-factory-") && name !== CACHE))
      .then((old) => Promise.all(old.map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url);
  const name = origin === self.location.origin && pathname.startsWith(SCOPE) ? pathname.slice(SCOPE.length) : null;
  const key = name === "" || name === "index.html" ? "./" : name;
  if (event.request.method !== "GET" || !Object.hasOwn(files, key)) return;
  const stored = caches.open(CACHE).then((cache) => cache.match(key));
  event.respondWith(stored.then((found) => found ?? fetch(event.request)));
});
