// Captions, edited in place: Enter saves, Escape cancels, and the page stays where it is.
import { ask, say } from "./app.js";

const next = new WeakMap(); // where the focus goes after editing
const shown = (place) => (place.classList.contains("none") ? "" : place.querySelector("summary").textContent);

/** Start editing; afterwards the focus moves to `then`. */
export function edit(place, then) {
  if (!place) return;
  next.set(place, then);
  place.open = true;
  place.querySelector("textarea").focus(); // at once: the next key must go into it
  place.querySelector("textarea").select();
}

/** Show another photo's caption in this place. */
export function show(place, caption, content, address) {
  if (content) place.dataset.content = content;
  if (address) place.querySelector("form").setAttribute("action", address);
  place.classList.toggle("none", !caption);
  const summary = place.querySelector("summary");
  summary.textContent = caption || "Add a caption";
  summary.title = caption;
  place.querySelector("textarea").value = caption;
}

function leave(place) {
  place.open = false;
  place.querySelector("textarea").value = shown(place);
  (next.get(place) || place.querySelector("summary")).focus({ preventScroll: true });
  next.delete(place);
}

/** Save a caption, and show it on every identical copy. */
async function save(place) {
  const { content } = place.dataset, caption = place.querySelector("textarea").value;
  try {
    const photo = await ask("PUT", `/api${place.querySelector("form").getAttribute("action")}`, { caption });
    for (const one of document.querySelectorAll(`[data-content="${content}"]`)) {
      if (one.matches(".caption")) show(one, photo.caption || "");
      else {
        one.dataset.caption = photo.caption || "";
        one.querySelector("img").alt = photo.caption || one.title;
      }
    }
    if (place.dataset.content === content) leave(place); // otherwise the large view has moved on to another photo
  } catch (error) {
    say(error.message, { bad: true });
  }
}

document.addEventListener("click", (event) => {
  const summary = event.target.closest(".caption summary");
  if (!summary) return;
  event.preventDefault();
  edit(summary.parentElement);
});
document.addEventListener("submit", (event) => {
  const place = event.target.closest(".caption");
  if (!place) return;
  event.preventDefault();
  save(place);
});
document.addEventListener("keydown", (event) => {
  const place = event.target.closest?.(".caption textarea")?.closest(".caption");
  if (!place || event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
  event.preventDefault();
  event.stopPropagation();
  if (event.key === "Enter") save(place); else leave(place);
}, true);
