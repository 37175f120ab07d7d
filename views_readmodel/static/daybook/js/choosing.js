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
  if (list?.matches(".listbox")) list.hidden = !is || !list.childElementCount;
  box.setAttribute("aria-expanded", String(is && all.length > 0));
  if (!is) select(box, null);
}

function choose(box, option) {
  if (option.href) {
    location.assign(option.href);
    return;
  }
  const field = box.closest("[data-account-field]");
  box.value = option.dataset.value;
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
    const chosen = at >= 0 ? all[at] : box.closest("dialog") && all.length === 1 ? all[0] : null;
    if (chosen) {
      event.preventDefault();
      choose(box, chosen);
    }
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
  const field = event.target.closest?.("[data-account-field]");
  if (field) field.querySelector(".chosen").replaceChildren();
});

document.addEventListener("htmx:configRequest", (event) => {
  const payer = event.detail.elt.dataset?.payer;
  if (payer) event.detail.parameters.set("payer", document.getElementById(payer).value);
});

document.addEventListener("htmx:afterSwap", (event) => {
  const box = document.querySelector(`[role=combobox][aria-controls="${event.target.id}"]`);
  if (!box) return;
  show(box, document.activeElement === box);
});
