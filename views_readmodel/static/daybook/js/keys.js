// The keyboard: shortcuts that work wherever nobody is typing. They are listed under "?", and who speaks to the computer
// instead of typing can turn the single keys off there.

import { open } from "./dialogs.js";

const PLACES = { t: "/", c: "/customers", a: "/accounts", x: "/transfers" };
const OFF = "single-keys-off";
let going = 0;

// A box keeps the focus until the next frame after its dialog has closed: nobody types into what is not seen.
function typing(element) {
  return element.closest?.("input, select, textarea, [contenteditable]")?.checkVisibility();
}

function isOff() {
  return localStorage.getItem(OFF) === "yes";
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k" && open("find")) {
    event.preventDefault();
    return;
  }
  if (isOff() || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  const place = Date.now() - going < 1500 && PLACES[event.key];
  going = event.key === "g" ? Date.now() : 0;
  if (place && document.querySelector(`.nav a[href="${place}"]`)) location.assign(place);
  else if (event.key === "/") open("find") && event.preventDefault();
  else if (event.key === "?") open("keys");
  else if (event.key === "n" && document.querySelector("[data-new-transfer]")) location.assign("/transfers/new");
});

const choice = document.querySelector("[data-single-keys]");
if (choice) {
  choice.checked = !isOff();
  choice.addEventListener("change", () => localStorage.setItem(OFF, choice.checked ? "no" : "yes"));
}

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
