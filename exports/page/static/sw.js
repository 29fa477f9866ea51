// The service worker: serves the page itself from its cache, so that it works offline. The family is not cached here:
// the client stores its model, checks it at every launch, and knows what to do offline.

const { version, files } = SHELL; // the server writes SHELL above this line, so a new version is another worker
const SCOPE = new URL(self.registration.scope).pathname;
const CACHE = `model-factory-${version}`;

self.addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(CACHE)
      .then((cache) => cache.addAll(files.map((name) => new Request(name, { cache: "reload" }))))
      .then(() => self.skipWaiting()),
  );
});

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
  const { pathname } = new URL(event.request.url);
  const name = pathname.startsWith(SCOPE) ? pathname.slice(SCOPE.length) : null;
  const key = name === "" || name === "index.html" ? "./" : name;
  if (event.request.method !== "GET" || !files.includes(key)) return;
  const stored = caches.open(CACHE).then((cache) => cache.match(key));
  event.respondWith(stored.then((found) => found ?? fetch(event.request)));
});
