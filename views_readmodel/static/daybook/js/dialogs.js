// Links marked data-dialog open their form in a dialog; without htmx, or with a modifier key, they are links.

const dialog = document.getElementById("dialog");
const inside = document.getElementById("dialog-inside");

function plain(event) {
  return event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
}

export function open(id) {
  const found = document.getElementById(id);
  if (!found || found.open) return Boolean(found);
  document.querySelectorAll("dialog[open]").forEach((other) => other.close());
  found.showModal();
  found.querySelector(".find-box")?.select();
  return true;
}

function fetchInto(link) {
  // What went wrong is said by trouble.js, and the page stays: to go to the address would be to lose it.
  htmx.ajax("GET", link.href, { source: link, target: inside, swap: "innerHTML" }).catch(() => {});
}

document.addEventListener("click", (event) => {
  if (!plain(event)) return;
  const link = event.target.closest("a[data-dialog]");
  if (link && dialog && self.htmx) {
    event.preventDefault();
    fetchInto(link);
    return;
  }
  const opener = event.target.closest("[data-opens]");
  if (opener && open(opener.dataset.opens)) {
    event.preventDefault();
    return;
  }
  const closer = event.target.closest("dialog [data-closes]");
  if (closer) {
    event.preventDefault();
    closer.closest("dialog").close();
  }
});

inside?.addEventListener("htmx:afterSwap", () => {
  if (!dialog.open) dialog.showModal();
  const wrong = inside.querySelector("[aria-invalid=true]");
  const first = inside.querySelector("input:not([type=hidden]), select, textarea");
  (wrong ?? first)?.focus();
});

dialog?.addEventListener("close", () => inside.replaceChildren());
