// A form is sent once, however often its button is pressed. The server makes sure of it by the form's key; this only
// keeps the second press from starting anything.

function busy(form, is) {
  form.dataset.sent = is ? "yes" : "";
  for (const button of form.querySelectorAll("button")) {
    if (is) button.setAttribute("aria-busy", "true");
    else button.removeAttribute("aria-busy");
  }
}

document.addEventListener(
  "submit",
  (event) => {
    const form = event.target;
    if (!form.matches("form[data-once]")) return;
    if (form.dataset.sent === "yes") {
      event.preventDefault();
      event.stopImmediatePropagation();
      return;
    }
    busy(form, true);
  },
  true,
);

// A fragment that came back with errors is a new form; one that did not come back may be sent again.
document.addEventListener("htmx:afterRequest", (event) => {
  const form = event.detail.elt.closest?.("form[data-once]");
  if (form && !event.detail.xhr.getResponseHeader("HX-Redirect")) busy(form, false);
});

// What was written down is kept by the server: the way back leads there, and not to an empty form.
document.addEventListener("htmx:beforeOnLoad", (event) => {
  const kept = event.detail.elt.dataset?.kept;
  if (kept && event.detail.xhr.getResponseHeader("HX-Redirect")) history.replaceState(history.state, "", kept);
});

// The page came back from the browser's memory, with its form as it was when it was sent.
addEventListener("pageshow", (event) => {
  if (event.persisted) document.querySelectorAll("form[data-once]").forEach((form) => busy(form, false));
});
