// Talk to the server: events, pictures, changes.

const PATIENCE = 2000; // milliseconds without a sign of life, after which the connection counts as lost

/**
 * Listen to the server's events while the page can be seen; `on` has a function for each kind, and `link` for the
 * connection's state. A hidden page, or one that the browser keeps for Back, must not hold one of its six connections.
 */
export function listen(on) {
  let source = null;
  let last = 0;
  let up = null;
  const state = (now) => {
    if (now !== up) on.link((up = now));
  };
  const open = () => {
    source?.close();
    last = performance.now();
    source = new EventSource("/api/events");
    for (const kind of ["history", "state", "status", "numbers", "boxes"]) {
      source.addEventListener(kind, (event) => {
        last = performance.now();
        state(true);
        on[kind](JSON.parse(event.data));
      });
    }
    source.onerror = () => state(false);
  };
  const look = () => (document.hidden ? source?.close() : open());
  look();
  document.addEventListener("visibilitychange", look);
  setInterval(() => {
    if (!document.hidden && performance.now() - last > PATIENCE) {
      state(false);
      // A run that was started anew wants a token anew.
      fetch("/api/state").then((answer) => {
        if (answer.status === 401) location.reload();
        else if (answer.ok) open();
      }, () => {});
      last = performance.now();
    }
  }, 500);
}

/** Read the pictures of some cameras; `show(camera, frame, blob)` gets each. Returns a function that ends it. */
export function readPictures(cameras, show) {
  let control = new AbortController();
  let ended = false;
  const query = new URLSearchParams(cameras.map((name) => ["camera", name]));
  const run = async () => {
    while (!ended) {
      control = new AbortController();
      try {
        const answer = await fetch(`/api/stream?${query}`, { signal: control.signal });
        if (answer.ok) await parts(answer.body.getReader(), show);
      } catch {
        // the server or the network is away: tried again
      }
      if (!ended) await new Promise((resume) => setTimeout(resume, 500));
    }
  };
  run();
  return () => {
    ended = true;
    control.abort();
  };
}

const TEXT = new TextDecoder("latin1");

/** Split a Motion JPEG stream into its pictures. */
async function parts(reader, show) {
  let buffer = new Uint8Array(0);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const joined = new Uint8Array(buffer.length + value.length);
    joined.set(buffer);
    joined.set(value, buffer.length);
    buffer = joined;
    for (let part = firstPart(buffer); part; part = firstPart(buffer)) {
      show(decodeURIComponent(part.head["x-camera"]), Number(part.head["x-frame"]), part.body);
      buffer = buffer.subarray(part.end);
    }
  }
}

function firstPart(buffer) {
  const text = TEXT.decode(buffer.subarray(0, 1024));
  const at = text.indexOf("\r\n\r\n");
  if (at < 0) return null;
  const head = Object.fromEntries(
    text.slice(0, at).split("\r\n").slice(1).map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  const start = at + 4;
  const end = start + Number(head["content-length"]);
  if (buffer.length < end + 2) return null;
  return { head, body: new Blob([buffer.slice(start, end)], { type: "image/jpeg" }), end: end + 2 };
}

/** Change something of a camera. */
export async function put(camera, what, value) {
  const answer = await fetch(`/api/cameras/${encodeURIComponent(camera)}/${what}`, {
    method: "PUT",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(value),
  });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  return said;
}
