// The slider of a stream's versions: tells the version while it is dragged, and shows the state once it is let go.
const slider = document.querySelector(".es-versions input[type=range]");
if (slider) {
  slider.addEventListener("input", () => { slider.form.querySelector("output").value = slider.value; });
  slider.addEventListener("change", () => slider.form.requestSubmit());
  slider.form.querySelector("button").hidden = true;
}
