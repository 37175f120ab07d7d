// Says so when the server cannot be reached or is in trouble. What was typed stays where it is.

const AWAY = "Daybook cannot be reached. Nothing you typed is lost: try again in a moment. Nothing is done twice.";
const BROKEN = "Something went wrong. Look whether it was done before you send it again; unchanged, nothing is done twice.";
const FORBIDDEN = "Your role does not permit this, or you were logged out. Reload the page.";
const GONE = "This is not there, or no longer. Reload the page.";

const note = document.getElementById("trouble");

export function say(words) {
  if (!note) return;
  note.querySelector("p").textContent = words;
  (document.querySelector("dialog[open] .dialog-inside") ?? document.body).prepend(note);
  note.hidden = false;
}

export function clear() {
  if (note && !note.hidden) {
    document.body.append(note);
    note.hidden = true;
  }
}

function fromPerson(event) {
  return event.detail.elt.matches?.("form, [data-dialog], input, dialog, .dialog-inside, body");
}

document.addEventListener("htmx:sendError", (event) => fromPerson(event) && say(AWAY));
document.addEventListener("htmx:timeout", (event) => fromPerson(event) && say(AWAY));
document.addEventListener("htmx:responseError", (event) => {
  if (!fromPerson(event)) return;
  const status = event.detail.xhr.status;
  if (status === 403) say(FORBIDDEN);
  else if (status === 404) say(GONE);
  else if (status === 503) say(AWAY);
  else say(BROKEN);
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful && fromPerson(event)) clear();
});
