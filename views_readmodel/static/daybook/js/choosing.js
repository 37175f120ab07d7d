// Lists to choose from with arrow keys and Enter: the Find box, and the accounts of a new transfer.

function options(box) {
  const list = document.getElementById(box.getAttribute("aria-controls"));
  return { list, all: list ? [...list.querySelectorAll("[role=option]")] : [] };
}

function select(box, option) {
  const { all } = options(box);
  for (const other of all) other.setAttribute("aria-selected", String(other === option));
  if (option) {
    box.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  } else {
    box.removeAttribute("aria-activedescendant");
  }
}

function show(box, is) {
  const { list, all } = options(box);
  if (list) list.hidden = !is || !all.length;
  box.setAttribute("aria-expanded", String(is && all.length > 0));
  if (!is) select(box, null);
}

// Whether what was found is for something else than what stands in the box by now.
const behind = new WeakSet();
// Boxes in which Enter was pressed before anything could be found for what stands in them.
const entered = new WeakSet();
// What was chosen in each box: as long as it stands there, nothing is looked for.
const chosen = new WeakMap();

function isChosen(box) {
  return Boolean(box.value) && chosen.get(box) === box.value;
}

// What Enter takes: what is highlighted, or else the one thing that was found.
function taken(box, all, at) {
  if (at >= 0) return all[at];
  const isOnly = all.length === 1 && box.value && box.getAttribute("aria-expanded") === "true" && !behind.has(box);
  return isOnly ? all[0] : null;
}

function choose(box, option) {
  if (option.href) {
    location.assign(option.href);
    return;
  }
  const field = box.closest("[data-account-field]");
  box.value = option.dataset.value;
  chosen.set(box, box.value);
  behind.delete(box);
  box.removeAttribute("aria-invalid");
  field.querySelector(".error")?.remove();
  field.querySelector(".chosen").replaceChildren(option.querySelector("template").content.cloneNode(true));
  show(box, false);
  const amount = box.form.elements.amount?.closest(".field");
  if (!box.dataset.payer && amount) say(amount, option.dataset.currency);
}

// The currency stands beside the amount as soon as the paying account is known.
function say(field, currency) {
  const input = field.querySelector("input");
  let beside = field.querySelector(".amount-currency");
  if (!beside) {
    const around = document.createElement("span");
    around.className = "amount";
    beside = document.createElement("span");
    beside.className = "amount-currency";
    input.replaceWith(around);
    around.append(input, beside);
  }
  beside.textContent = currency;
}

document.addEventListener("keydown", (event) => {
  const box = event.target.closest?.("[role=combobox]");
  if (!box) return;
  const { all } = options(box);
  const at = all.findIndex((option) => option.getAttribute("aria-selected") === "true");
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    if (!all.length) return;
    event.preventDefault();
    show(box, true);
    const step = event.key === "ArrowDown" ? 1 : -1;
    select(box, all[at < 0 && step < 0 ? all.length - 1 : (at + step + all.length) % all.length]);
  } else if (event.key === "Enter") {
    const option = taken(box, all, at);
    if (option) choose(box, option);
    else if (behind.has(box) && box.closest("[data-account-field]")) entered.add(box);
    else return;
    event.preventDefault();
  } else if (event.key === "Tab" && at >= 0 && !all[at].href) {
    choose(box, all[at]); // and the focus goes on
  } else if (event.key === "Escape" && box.getAttribute("aria-expanded") === "true" && !box.closest("dialog")) {
    event.preventDefault();
    show(box, false);
  }
});

// A press, not a click: a click comes after the box has lost its focus and hidden the list.
document.addEventListener("pointerdown", (event) => {
  const option = event.target.closest(".listbox [role=option]");
  if (!option) return;
  event.preventDefault();
  const list = option.closest(".listbox");
  choose(document.querySelector(`[aria-controls="${list.id}"]`), option);
});

document.addEventListener("focusin", (event) => {
  const box = event.target.closest?.("[data-account-field] [role=combobox]");
  if (box && !box.value) htmx.trigger(box, "suggest");
});

document.addEventListener("focusout", (event) => {
  const box = event.target.closest?.("[data-account-field] [role=combobox]");
  if (box) show(box, false);
});

document.addEventListener("input", (event) => {
  if (event.target.matches("[role=combobox]")) {
    behind.add(event.target);
    entered.delete(event.target);
  }
  const field = event.target.closest?.("[data-account-field]");
  if (field) field.querySelector(".chosen").replaceChildren();
});

// A form that is being sent leads to another page: whatever is asked for now would be cut off.
document.addEventListener("htmx:beforeRequest", (event) => {
  const box = event.detail.elt;
  if (!box.matches?.("[role=combobox]")) return;
  if (box.form?.dataset.sent === "yes" || isChosen(box)) event.preventDefault();
});

document.addEventListener("htmx:afterRequest", (event) => {
  const box = event.detail.elt;
  if (!box.matches?.("[role=combobox]")) return;
  const asked = event.detail.requestConfig.parameters[box.name];
  if (!event.detail.successful || asked === box.value) behind.delete(box);
  if (behind.has(box) || !entered.delete(box)) return;
  const { all } = options(box);
  const only = taken(box, all, -1);
  if (only) choose(box, only);
});

document.addEventListener("htmx:configRequest", (event) => {
  const payer = event.detail.elt.dataset?.payer;
  if (payer) event.detail.parameters.set("payer", document.getElementById(payer).value);
});

document.addEventListener("htmx:afterSwap", (event) => {
  const box = document.querySelector(`[role=combobox][aria-controls="${event.target.id}"]`);
  if (!box) return;
  show(box, document.activeElement === box && !isChosen(box));
});
