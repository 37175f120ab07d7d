// Says so when the server cannot be reached, is in trouble, or knows us no longer. What was typed stays where it is.

export const AWAY = "Daybook cannot be reached. Nothing you typed is lost: try again in a moment. Nothing is done twice.";
export const BROKEN = "Something went wrong. Look whether it was done before you send it again; unchanged, nothing is done twice.";
const FORBIDDEN = "Your role does not permit this, or the form has expired. Reload the page.";
const GONE = "This is not there, or no longer. Reload the page.";
const SIGNED_OUT = "You were logged out. Nothing you typed is lost: log in again in another tab, then go on here.";
const WORDS = { 401: SIGNED_OUT, 403: FORBIDDEN, 404: GONE, 503: AWAY };

const note = document.getElementById("trouble");

export function say(words) {
  if (!note) return;
  note.querySelector("p").textContent = words;
  note.querySelector("a").hidden = words !== SIGNED_OUT;
  // In the open dialog, or nobody could see or reach it behind that.
  (document.querySelector("dialog[open] .dialog-inside") ?? document.body).prepend(note);
  note.hidden = false;
}

function clear() {
  if (!note || note.hidden) return;
  note.hidden = true;
  document.body.append(note);
}

// Whatever refreshes itself says so by the mark of freshness; only a log-out concerns whoever sits there. (What asked
// is in the request's configuration: once it has been replaced, htmx tells its parent, and calls that the element.)
function byItself(event) {
  return Boolean(event.detail.requestConfig.elt.matches?.("[data-live], [hx-trigger^=every]"));
}

for (const name of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(name, (event) => byItself(event) || say(AWAY));
}
document.addEventListener("htmx:responseError", (event) => {
  const status = event.detail.xhr.status;
  if (status === 401 || !byItself(event)) say(WORDS[status] ?? BROKEN);
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful && (!byItself(event) || note?.textContent.includes(SIGNED_OUT))) clear();
});

// Logging in again makes a new token, and a form that was open before has the old one.
export function freshToken() {
  const token = document.cookie.split("; ").find((cookie) => /^(__Host-)?csrftoken=/.test(cookie));
  return token?.split("=")[1];
}

document.addEventListener("htmx:configRequest", (event) => {
  const token = freshToken();
  const { parameters } = event.detail;
  if (token && parameters.has("csrfmiddlewaretoken")) parameters.set("csrfmiddlewaretoken", token);
});

// The dialog's content is replaced and emptied: the note must not go with it.
document.getElementById("dialog")?.addEventListener("close", clear);
document.addEventListener("htmx:beforeSwap", (event) => event.target.contains(note) && clear());
