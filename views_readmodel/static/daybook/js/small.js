// What is too small for a file of its own.

// What only a script can do is hidden until there is one.
function showing(root) {
  for (const button of root.querySelectorAll("[data-prints], [data-opens][hidden]")) button.hidden = false;
}
showing(document);
document.addEventListener("htmx:load", (event) => showing(event.target));

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-prints]")) print();
});

// A list that is chosen from applies at once; its button is for those without a script.
function submitting(root) {
  for (const select of root.querySelectorAll("select[data-submits]")) {
    const button = select.form.querySelector("button");
    if (button) button.hidden = true;
  }
}
submitting(document);
document.addEventListener("htmx:load", (event) => submitting(event.target));
document.addEventListener("change", (event) => {
  if (event.target.matches("select[data-submits]")) event.target.form.requestSubmit();
});
