// Light, dark or as the machine has it, without another page: what is typed into this one stays. The server sets the
// cookie, as it does for the form without a script.

import { freshToken, say, AWAY, BROKEN } from "./trouble.js";

const THEME = "/theme";

function wear(form, theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  for (const button of form.elements.theme) button.setAttribute("aria-pressed", String(button.value === theme));
}

async function choose(form, theme) {
  const body = new URLSearchParams({ theme, csrfmiddlewaretoken: freshToken() ?? form.elements.csrfmiddlewaretoken.value });
  try {
    // The answer leads to a page, which is here already.
    const answer = await fetch(form.action, { method: "POST", body, redirect: "manual" });
    if (answer.type === "opaqueredirect") wear(form, theme);
    else say(BROKEN);
  } catch {
    say(AWAY);
  }
}

document.addEventListener("submit", (event) => {
  if (event.target.getAttribute("action") !== THEME || !event.submitter) return;
  event.preventDefault();
  choose(event.target, event.submitter.value);
});
