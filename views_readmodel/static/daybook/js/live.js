// Keeps what stands on the page true. The server streams which streams of the store have changed, ids and versions
// only; whatever shows one of them asks for itself again, authorised as always. One tab of a browser holds the stream
// for all of them (browsers allow few connections to one host); without a stream, pages ask every few seconds.

const QUIET_SECONDS = 12; // the server says something every five
const ERROR_SECONDS = 4; // a stream ends now and then, and begins again within a second or two
const POLL_SECONDS = 5;
const KEPT_SECONDS = 10; // how long changes are kept for a tab that is just being opened
const PAUSE_MILLISECONDS = 800; // between two refreshes of one element, at least
const PAUSE_FOR_ALL_MILLISECONDS = 2500; // the same, of one that shows whatever is newest
const SHARE = 8; // an element spends at most one part in so many of its time being refreshed

const WORDS = { live: "Live, ", polling: "Asking every 5 s, ", away: "Not reachable since " };

const mark = document.getElementById("live");
const address = mark?.dataset.stream;

const channel = address && "BroadcastChannel" in self ? new BroadcastChannel("daybook-live") : null;
let source = null;
let kept = []; // what the leading tab has passed on lately
let heardAt = Date.now();
let freshAt = Date.now();

// --- The mark ---------------------------------------------------------------------------------------------------

// Only what keeps itself true is called live; anything else is as of when it was made.
function show(state) {
  if (!document.querySelector("[data-live], [hx-trigger^=every]")) return;
  mark.dataset.state = state;
  mark.querySelector(".live-word").textContent = WORDS[state];
  mark.querySelector("time").textContent = new Date(freshAt).toLocaleTimeString("en-GB", { timeZone: mark.dataset.zone });
}

function fresh(state) {
  freshAt = Date.now();
  show(state);
}

// --- Refreshing -------------------------------------------------------------------------------------------------

// What an element shows is said as "account:ID@7": that account at version 7; or "transfer:*", whatever is newest.
function concerned(element, changes) {
  if (changes === null) return true;
  const shown = new Map(element.dataset.live.split(" ").map((one) => one.split("@")));
  return changes.some(
    ([type, id, version]) => shown.has(`${type}:*`) || version > Number(shown.get(`${type}:${id}`) ?? Infinity),
  );
}

function inUse(element) {
  const active = document.activeElement;
  return document.hidden || (element.contains(active) && active.matches("input, select, textarea"));
}

function wait(element) {
  const pause = element.dataset.live.includes("*") ? PAUSE_FOR_ALL_MILLISECONDS : PAUSE_MILLISECONDS;
  const took = Number(element.dataset.took ?? 0);
  return Number(element.dataset.refreshed ?? 0) + Math.max(pause, took * SHARE) - Date.now();
}

function refresh(element) {
  if (element.dataset.waits) return;
  const milliseconds = wait(element);
  if (milliseconds > 0 || inUse(element)) {
    element.dataset.waits = "yes";
    if (milliseconds > 0) setTimeout(() => again(element), milliseconds);
    return;
  }
  element.dataset.waits = "yes"; // until it is replaced, or its request has failed
  asked.set(element.id, Date.now());
  htmx.trigger(element, "changed");
}

function again(element) {
  delete element.dataset.waits;
  if (element.isConnected) refresh(element);
}

function refreshAll(changes) {
  for (const element of document.querySelectorAll("[data-live]")) if (concerned(element, changes)) refresh(element);
}

const asked = new Map(); // when each element asked for itself, by its id

document.addEventListener("htmx:afterRequest", (event) => {
  const element = event.detail.elt;
  if (element.matches?.("[data-live]") && !event.detail.successful) delete element.dataset.waits;
});

for (const event of ["visibilitychange", "focusout"]) {
  document.addEventListener(event, () =>
    setTimeout(() => {
      for (const element of document.querySelectorAll("[data-live][data-waits]")) if (!asked.has(element.id)) again(element);
    }, 0),
  );
}

// What has the focus keeps it when the page around it is replaced, and what matters is read out.
let focused = null;
document.addEventListener("htmx:beforeSwap", (event) => {
  const active = document.activeElement;
  focused = event.target.contains?.(active) ? active.getAttribute("href") : null;
});
document.addEventListener("htmx:afterSwap", () => {
  if (focused) document.querySelector(`[data-live] a[href="${CSS.escape(focused)}"]`)?.focus();
  focused = null;
});
document.addEventListener("htmx:afterSettle", (event) => {
  const element = event.target.id ? document.getElementById(event.target.id) : null;
  if (!asked.has(element?.id)) return;
  element.dataset.refreshed = String(Date.now());
  element.dataset.took = String(Date.now() - asked.get(element.id));
  asked.delete(element.id);
  fresh(mark.dataset.state === "away" ? "polling" : mark.dataset.state);
  const told = element.querySelector("[data-announce]")?.textContent.trim();
  const announcer = document.getElementById("announcer");
  if (told && announcer.textContent !== told) announcer.textContent = told;
});
document.addEventListener("htmx:sendError", (event) => {
  asked.delete(event.detail.elt.id);
  show("away");
});
document.addEventListener("htmx:responseError", (event) => asked.delete(event.detail.elt.id));

// --- Listening --------------------------------------------------------------------------------------------------

function hear(message) {
  if (message.kind === "ask") {
    if (source && kept.length) tell({ kind: "changes", changes: together() });
    return;
  }
  heardAt = Date.now();
  fresh("live");
  if (message.kind === "changes") refreshAll(message.changes);
}

function together() {
  return kept.some((one) => one.changes === null) ? null : kept.flatMap((one) => one.changes);
}

function tell(message) {
  channel?.postMessage(message);
}

function lead() {
  source = new EventSource(address);
  const pass = (kind) => (event) => {
    const message = { kind, changes: kind === "changes" ? JSON.parse(event.data).changes : [] };
    kept = kept.filter((one) => Date.now() - one.at < KEPT_SECONDS * 1000);
    if (kind === "changes") kept.push({ at: Date.now(), changes: message.changes });
    hear(message);
    tell(message);
  };
  source.addEventListener("changes", pass("changes"));
  source.addEventListener("tick", pass("tick"));
  source.addEventListener("error", () => {
    heardAt = Math.min(heardAt, Date.now() - (QUIET_SECONDS - ERROR_SECONDS) * 1000);
  });
}

function poll() {
  if (Date.now() - heardAt < QUIET_SECONDS * 1000) return;
  if (source?.readyState === EventSource.CLOSED) lead(); // the browser has given up; we have not
  if (mark.dataset.state !== "away") show("polling");
  refreshAll(null);
}

if (address) {
  if (channel) channel.onmessage = (event) => hear(event.data);
  // Whoever holds the lock leads, until the tab is closed.
  if (channel && navigator.locks) navigator.locks.request("daybook-live", () => (lead(), new Promise(() => {})));
  else lead();
  tell({ kind: "ask" });
  setInterval(poll, POLL_SECONDS * 1000);
}
