// Keeps what stands on the page true. The server streams which streams of the store have changed, ids and versions
// only; whatever shows one of them asks for itself again, authorised as always. One tab of a browser holds the stream
// for all of them (browsers allow few connections to one host); without a stream, pages ask every few seconds.

const QUIET_SECONDS = 12; // the server says something every five
const POLL_SECONDS = 5;
const KEPT_SECONDS = 10; // how long changes are kept for a tab that is just being opened
const PAUSE_MILLISECONDS = 800; // between two refreshes of one element

const WORDS = { live: "Live, ", polling: "Asking every 5 s, ", away: "Not reachable since " };

const mark = document.getElementById("live");
const address = mark?.dataset.stream;

const channel = address && "BroadcastChannel" in self ? new BroadcastChannel("daybook-live") : null;
let source = null;
let kept = [];
let heardAt = 0;
let freshAt = Date.now();
let leading = false;

// --- The mark ---------------------------------------------------------------------------------------------------

function clock(at) {
  return new Date(at).toLocaleTimeString("en-GB");
}

function show(state) {
  if (mark.dataset.state === state && state !== "live") return;
  mark.dataset.state = state;
  mark.querySelector(".live-word").textContent = WORDS[state];
  mark.querySelector("time").textContent = clock(freshAt);
}

function fresh() {
  freshAt = Date.now();
  mark.querySelector("time").textContent = clock(freshAt);
}

// --- Refreshing -------------------------------------------------------------------------------------------------

function concerned(element, changes) {
  const shown = element.dataset.live.split(" ").filter(Boolean);
  if (changes === null) return true;
  return changes.some(([type, id]) => shown.includes(`${type}:${id}`) || shown.includes(`${type}:*`));
}

function inUse(element) {
  const active = document.activeElement;
  return document.hidden || (element.contains(active) && active.matches("input, select, textarea"));
}

function refresh(element) {
  if (element.dataset.waits) return;
  const wait = Number(element.dataset.refreshed ?? 0) + PAUSE_MILLISECONDS - Date.now();
  if (wait > 0 || inUse(element)) {
    element.dataset.waits = "yes";
    if (wait > 0) setTimeout(() => again(element), wait);
    return;
  }
  htmx.trigger(element, "changed");
}

function again(element) {
  delete element.dataset.waits;
  if (element.isConnected) refresh(element);
}

function refreshAll(changes) {
  for (const element of document.querySelectorAll("[data-live]")) if (concerned(element, changes)) refresh(element);
}

for (const event of ["visibilitychange", "focusout"]) {
  document.addEventListener(event, () =>
    setTimeout(() => document.querySelectorAll("[data-live][data-waits]").forEach(again), 0),
  );
}

// What has the focus keeps it when the page around it is replaced, and what matters is read out.
let focused = null;
document.addEventListener("htmx:beforeSwap", (event) => {
  const active = document.activeElement;
  focused = event.target.contains?.(active) ? (active.getAttribute("href") ?? null) : null;
});
document.addEventListener("htmx:afterSettle", (event) => {
  const element = event.target.id ? document.getElementById(event.target.id) : null;
  if (!element?.matches("[data-live], #transfer")) return;
  element.dataset.refreshed = String(Date.now());
  fresh();
  if (focused) element.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  const told = element.querySelector("[data-announce]")?.textContent.trim();
  const announcer = document.getElementById("announcer");
  if (told && announcer && announcer.textContent !== told) announcer.textContent = told;
});

// --- Listening --------------------------------------------------------------------------------------------------

function hear(message) {
  heardAt = Date.now();
  if (message.kind === "ask") {
    if (leading && heardAt) tell({ kind: "changes", changes: kept.flatMap((one) => one.changes ?? []) });
    return;
  }
  if (message.kind === "changes") {
    if (message.changes === null || message.changes.length) refreshAll(message.changes);
  }
  freshAt = heardAt;
  show("live");
}

function tell(message) {
  channel?.postMessage(message);
}

function lead() {
  leading = true;
  source = new EventSource(address);
  const pass = (kind) => (event) => {
    const message = { kind, changes: event.data ? JSON.parse(event.data).changes : [] };
    kept = kept.filter((one) => Date.now() - one.at < KEPT_SECONDS * 1000);
    if (kind === "changes") kept.push({ at: Date.now(), changes: message.changes });
    hear(message);
    tell(message);
  };
  // A stream ends now and then, and begins again within a second or two; after that it is trouble.
  source.addEventListener("error", () => {
    heardAt = Math.min(heardAt, Date.now() - (QUIET_SECONDS - 4) * 1000);
  });
  source.addEventListener("changes", pass("changes"));
  source.addEventListener("tick", pass("tick"));
}

function poll() {
  if (Date.now() - heardAt < QUIET_SECONDS * 1000) return;
  if (leading && source.readyState === EventSource.CLOSED) {
    source.close();
    lead(); // the browser has given up; we have not
  }
  if (mark.dataset.state !== "away") show("polling");
  if (!document.hidden) refreshAll(null);
}

document.addEventListener("htmx:sendError", () => show("away"));
document.addEventListener("htmx:afterOnLoad", () => {
  if (mark?.dataset.state === "away") show("polling");
});

if (address) {
  if (channel) channel.onmessage = (event) => hear(event.data);
  // Whoever holds the lock leads, until the tab is closed.
  if (channel && navigator.locks) navigator.locks.request("daybook-live", () => (lead(), new Promise(() => {})));
  else lead();
  tell({ kind: "ask" });
  heardAt = Date.now();
  setInterval(poll, POLL_SECONDS * 1000);
}
