// Keeps what stands on the page true. The server streams which streams of the store have changed, ids and versions
// only; whatever shows one of them asks for itself again, authorised as always. One tab of a browser holds the stream
// for all of them (browsers allow few connections to one host); without a stream, pages ask every few seconds.

const QUIET_SECONDS = 12; // the server says something every five
const ERROR_SECONDS = 4; // a stream ends now and then, and begins again within a second or two
const POLL_SECONDS = 5;
const RETRY_SECONDS = 4; // until a refresh that failed is tried again, twice as long each time
const MOST_RETRY_SECONDS = 60;
const KEPT_SECONDS = 10; // how long changes are kept for a tab that is just being opened
const PAUSE_MILLISECONDS = 800; // between two refreshes of one element, at least
const PAUSE_FOR_ALL_MILLISECONDS = 2500; // the same, of one that shows whatever is newest
const SHARE = 8; // an element spends at most one part in so many of its time being refreshed

const WORDS = {
  page: "As of ",
  live: "Live, ",
  polling: "Asking every 5 s, ",
  behind: "Not up to date since ",
  away: "Not reachable since ",
  out: "Logged out",
};
const KEEPS_UP = "[data-live], [hx-trigger^=every]";

const mark = document.getElementById("live");
const address = mark?.dataset.stream;

const channel = mark && "BroadcastChannel" in self ? new BroadcastChannel("daybook-live") : null;
let source = null;
let release = null; // lets another tab lead
let kept = []; // what the leading tab has passed on lately
let hasHeard = false;
let heardAt = Date.now();
let freshAt = Date.now();

// --- The mark ---------------------------------------------------------------------------------------------------

// Only what keeps itself true is called live; anything else is as of when it was made, or came to its end.
function show(state) {
  const keepsUp = Boolean(document.querySelector(KEEPS_UP));
  if (state !== "out" && (isOut() || (!keepsUp && mark.dataset.state === "page"))) return;
  write(keepsUp || state === "out" ? state : "page");
}

function write(state) {
  const time = mark.querySelector("time");
  mark.dataset.state = state;
  mark.querySelector(".live-word").textContent = WORDS[state];
  time.textContent = new Date(freshAt).toLocaleTimeString("en-GB", { timeZone: mark.dataset.zone });
  time.hidden = state === "out";
  mark.querySelector(".live-log-in").hidden = state !== "out";
}

// What could not be refreshed is older than the stream, whatever that says.
function fresh(state) {
  if (isBehind()) {
    show("behind");
    return;
  }
  freshAt = Date.now();
  show(state);
}

function isOut() {
  return mark.dataset.state === "out";
}

function isStreamed() {
  return hasHeard && Date.now() - heardAt < QUIET_SECONDS * 1000;
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
  if (element.dataset.waits || isOut()) return;
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

// By the id of each element that could not be refreshed: how often in a row, and when it is tried again.
const failed = new Map();

function fail(element) {
  asked.delete(element.id);
  if (!element.matches?.("[data-live]")) return;
  const times = (failed.get(element.id)?.times ?? 0) + 1;
  const seconds = Math.min(RETRY_SECONDS * 2 ** (times - 1), MOST_RETRY_SECONDS);
  failed.set(element.id, { times, at: Date.now() + seconds * 1000 });
}

function isBehind() {
  for (const id of [...failed.keys()]) if (!document.getElementById(id)?.matches("[data-live]")) failed.delete(id);
  return failed.size > 0;
}

function retry() {
  for (const [id, { at }] of failed) if (at <= Date.now()) refresh(document.getElementById(id));
}

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
  failed.delete(element.id);
  fresh(isStreamed() ? "live" : "polling");
  const told = element.querySelector("[data-announce]")?.textContent.trim();
  const announcer = document.getElementById("announcer");
  if (told && announcer.textContent !== told) announcer.textContent = told;
});
document.addEventListener("htmx:sendError", (event) => {
  fail(event.detail.elt);
  show("away");
});
document.addEventListener("htmx:sendAbort", (event) => fail(event.detail.elt));
document.addEventListener("htmx:responseError", (event) => {
  const element = event.detail.elt;
  if (event.detail.xhr.status === 401 && element.matches?.(KEEPS_UP)) {
    asked.delete(element.id);
    leave();
    return;
  }
  fail(element);
  if (isBehind()) show("behind");
});
// What asks every few seconds by itself stops too when nobody is logged in any more.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (isOut() && event.detail.elt.matches?.(KEEPS_UP)) event.preventDefault();
});

// --- Listening --------------------------------------------------------------------------------------------------

function hear(message) {
  if (message.kind === "ask") {
    if (source && kept.length) tell({ kind: "changes", changes: together() });
    return;
  }
  if (message.kind === "out") {
    leave();
    return;
  }
  if (message.kind === "look") {
    if (source) look();
    return;
  }
  hasHeard = true;
  heardAt = Date.now();
  if (isOut()) comeBack();
  fresh("live");
  if (message.kind === "changes") refreshAll(message.changes);
  retry();
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
  if (isOut() || Date.now() - heardAt < QUIET_SECONDS * 1000) return;
  if (source?.readyState === EventSource.CLOSED) look(); // the browser has given up; we have not
  if (!["away", "behind"].includes(mark.dataset.state)) show("polling");
  refreshAll(null);
}

// Whoever holds the lock leads, until the tab is closed, or nobody is logged in.
function follow() {
  if (!channel || !navigator.locks) {
    lead();
    return;
  }
  navigator.locks.request("daybook-live", () => {
    if (isOut()) return undefined;
    lead();
    return new Promise((resolve) => {
      release = resolve;
    });
  });
}

// --- Logging out ------------------------------------------------------------------------------------------------

// A stream does not say why it is refused, and lives on for a while after the log-out: asks whether one is logged in.
async function look() {
  const asking = new AbortController();
  try {
    const { status } = await fetch(address, { cache: "no-store", signal: asking.signal });
    asking.abort();
    if (status === 401) leave();
    else if (source?.readyState === EventSource.CLOSED) lead();
  } catch {
    // Not reachable: the next poll looks again.
  }
}

// In this tab and all others: nothing more is asked, for nothing would be answered.
function leave() {
  if (isOut()) return;
  show("out");
  source?.close();
  source = null;
  release?.();
  tell({ kind: "out" });
}

// Another tab is told something again: somebody has logged in there.
function comeBack() {
  write("page");
  follow();
  refreshAll(null);
}

if (channel) {
  if (address) channel.onmessage = (event) => hear(event.data);
  else channel.postMessage({ kind: "look" }); // this page is nobody's, so the others may be too
}
if (address) {
  follow();
  tell({ kind: "ask" });
  setInterval(poll, POLL_SECONDS * 1000);
}
