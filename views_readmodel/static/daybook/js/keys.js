// The keyboard: shortcuts that work wherever nobody is typing. They are listed under "?".

import { open } from "./dialogs.js";

const PLACES = { t: "/", c: "/customers", a: "/accounts" };
let going = 0;

function typing(element) {
  return element.closest?.("input, select, textarea, [contenteditable]");
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k" && open("find")) {
    event.preventDefault();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  const went = Date.now() - going < 1500 && PLACES[event.key];
  going = event.key === "g" ? Date.now() : 0;
  if (went) location.assign(went);
  else if (event.key === "/") open("find") && event.preventDefault();
  else if (event.key === "?") open("keys");
  else if (event.key === "n" && document.querySelector('[data-new-transfer]')) location.assign("/transfers/new");
});

// A closed menu for whoever presses Escape or looks elsewhere.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.querySelector("details.menu[open]");
  if (menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
