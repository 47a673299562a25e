// The search page: drop, paste or choose a photo, complete names, move by keyboard, view one photo large.
import { ask, isForPage, say } from "./app.js";
import { edit, show } from "./captions.js";

const $ = (id) => document.getElementById(id);
const box = $("box"), names = $("names"), found = $("found"), viewer = $("viewer");

/** Return the address of a search with this page's folder and threshold; a sentence's threshold does not carry over. */
function address(query) {
  const values = new URLSearchParams(location.search);
  if (values.get("q")) values.delete("threshold");
  for (const name of ["like", "photo", "q", "names", "start", "top"]) values.delete(name);
  return `/search?${new URLSearchParams({ ...query, ...Object.fromEntries(values) })}`;
}

// A photo from outside: the server looks at it and does not keep it; its picture stays in this tab.

async function searchWith(file) {
  if (!file || document.body.classList.contains("busy")) return;
  // Never revoked: it may not be drawn yet when the answer comes, and it ends with this page.
  const picture = URL.createObjectURL(file), name = file.name || "your photo";
  setBusy(name, picture);
  try {
    const form = new FormData();
    form.append("photo", file, "photo"); // without its name, which the server need not know
    form.append("top", "1");
    const [{ photo }, thumbnail] = await Promise.all([ask("POST", "/api/search", form), smaller(file)]);
    remember(photo, { name, thumbnail });
    location.assign(address({ photo }));
  } catch (error) {
    setBusy();
    $("mishap").textContent = error.message;
    $("mishap").hidden = false;
  }
}

function setBusy(name, picture) {
  const busy = $("busy");
  document.body.classList.toggle("busy", Boolean(name));
  busy.hidden = !name;
  for (const other of document.querySelectorAll("#main > .asked, #found")) other.hidden = Boolean(name);
  $("mishap").hidden = true;
  document.querySelector(".ask").classList.toggle("begin", !name && !document.querySelector("#main > .asked") && !location.search);
  if (!name) return;
  busy.querySelector("h2 span").textContent = name;
  busy.querySelector(".outside").style.backgroundImage = `url("${picture}")`;
  window.scrollTo(0, 0);
}

/** Return a small picture of a photo, to show after a reload; "" if this browser cannot decode it. */
async function smaller(file) {
  try {
    const whole = await createImageBitmap(file);
    const scale = Math.min(1, 288 / Math.max(whole.width, whole.height));
    const canvas = Object.assign(document.createElement("canvas"), { width: Math.max(1, whole.width * scale), height: Math.max(1, whole.height * scale) });
    canvas.getContext("2d").drawImage(whole, 0, 0, canvas.width, canvas.height);
    whole.close();
    return canvas.toDataURL("image/jpeg", 0.8);
  } catch {
    return "";
  }
}

function remember(key, shown) {
  try {
    sessionStorage.setItem(`photo ${key}`, JSON.stringify(shown));
  } catch { /* full or forbidden: the page works without it */ }
}

function showOutside() {
  const key = $("of")?.dataset.key;
  const shown = key && JSON.parse(sessionStorage.getItem(`photo ${key}`) || "null");
  if (!shown) return;
  $("of-name").textContent = shown.name;
  document.title = `Similar to ${shown.name} · Search · SameSpace`;
  if (shown.thumbnail) $("of").querySelector(".outside").style.backgroundImage = `url("${shown.thumbnail}")`;
}

const photoIn = (files) => [...files].find((file) => file.type.startsWith("image/")) || files[0];

let inside = 0, ours = false; // how many elements the dragged file is over; true while dragging one of this page's own pictures
document.addEventListener("dragstart", () => { ours = true; });
document.addEventListener("dragend", () => { ours = false; });
const carriesFile = (event) => !ours && event.dataTransfer?.types.includes("Files");
document.addEventListener("dragenter", (event) => { if (carriesFile(event)) { inside++; $("drop").hidden = false; event.preventDefault(); } });
document.addEventListener("dragover", (event) => { if (carriesFile(event)) { event.dataTransfer.dropEffect = "copy"; event.preventDefault(); } });
document.addEventListener("dragleave", (event) => { if (carriesFile(event) && --inside <= 0) endDrag(); });
document.addEventListener("drop", (event) => {
  if (!carriesFile(event)) return;
  event.preventDefault();
  endDrag();
  searchWith(photoIn(event.dataTransfer.files));
});
function endDrag() { inside = 0; $("drop").hidden = true; }

document.addEventListener("paste", (event) => {
  if (event.target === box && event.clipboardData.types.includes("text/plain")) return; // table cells come as text and as an image
  const file = event.clipboardData.files.length && photoIn(event.clipboardData.files);
  if (file) { event.preventDefault(); searchWith(file); }
});
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => { searchWith($("file").files[0]); $("file").value = ""; });

// Names, completed

const choices = () => [...names.children];
const chosen = () => names.querySelector("[aria-selected=true]");

function showNames(open) {
  names.hidden = !open;
  box.setAttribute("aria-expanded", open);
  if (!open) { chosen()?.setAttribute("aria-selected", "false"); box.removeAttribute("aria-activedescendant"); }
}

function choose(next) {
  chosen()?.setAttribute("aria-selected", "false");
  next.setAttribute("aria-selected", "true");
  next.scrollIntoView({ block: "nearest" });
  box.setAttribute("aria-activedescendant", next.id);
}

names.addEventListener("htmx:afterSwap", () => showNames(document.activeElement === box && names.children.length > 0));
box.addEventListener("blur", () => showNames(false));
names.addEventListener("pointerdown", (event) => event.preventDefault()); // so that the box keeps the focus until the click
names.addEventListener("click", (event) => take(event.target.closest("li")));
/** Go on with a photo that was chosen; in a sum, write its name as the last term. */
function take(choice) {
  const [before] = box.value.match(/^.*(?:^|\s)[+-]\s+/) ?? [];
  if (!before || !choice) return go(choice?.dataset.like);
  box.value = before + choice.dataset.name;
  names.replaceChildren();
  showNames(false);
}
function go(place) { if (place) location.assign(place); }

box.addEventListener("keydown", (event) => {
  const all = choices(), at = all.indexOf(chosen());
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const by = event.key === "ArrowDown" ? 1 : -1;
    if (names.hidden && by > 0 && !(box.value.trim() && all.length)) cards()[0]?.focus();
    else if (all.length) { showNames(true); choose(all[(Math.max(at, by > 0 ? -1 : 0) + by + all.length) % all.length]); }
  } else if (event.key === "Enter" && at >= 0 && !names.hidden) take(all[at]);
  else if (event.key === "Escape") {
    if (!names.hidden) showNames(false);
    else if (box.value) { box.value = ""; names.replaceChildren(); } else box.blur();
  } else return;
  event.preventDefault();
});
$("words").addEventListener("submit", (event) => { if (!box.value.trim()) event.preventDefault(); });

// Filters

$("filters")?.addEventListener("input", (event) => {
  if (event.target.type === "range") event.target.nextElementSibling.textContent = +event.target.value ? (+event.target.value).toFixed(2) : "any";
});

// A reload shows all results that were scrolled to.
found.addEventListener("htmx:beforeSwap", (event) => {
  const shown = event.target.closest?.(".further")?.querySelector("a").dataset.shown;
  if (!shown) return;
  const values = new URLSearchParams(location.search);
  values.set("top", shown);
  history.replaceState(history.state, "", `${location.pathname}?${values}`);
});

// Moving

const cards = () => [...found.querySelectorAll(".hit .like")];

function move(key) {
  const all = cards().map((link) => link.closest(".hit")), now = document.activeElement?.closest(".hit"), at = all.indexOf(now);
  const next = at < 0 ? all.find((card) => card.getBoundingClientRect().bottom > 80)
    : key === "ArrowLeft" ? all[at - 1] : key === "ArrowRight" ? all[at + 1] : inNextRow(all, now, key === "ArrowDown" ? 1 : -1);
  if (!next && key === "ArrowUp") box.focus();
  next?.querySelector(".like").focus({ preventScroll: true });
  next?.scrollIntoView({ block: "nearest" });
}

/** Return the card above or below; rows may differ in length. */
function inNextRow(all, now, down) {
  const further = all.filter((card) => (card.offsetTop - now.offsetTop) * down > 0);
  const row = Math.min(...further.map((card) => card.offsetTop * down)) * down;
  const aside = (card) => Math.abs(card.offsetLeft - now.offsetLeft);
  return further.filter((card) => card.offsetTop === row).sort((a, b) => aside(a) - aside(b))[0];
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || !isForPage(event) || document.querySelector("dialog[open]") || event.target.type === "range") return;
  const card = event.target.closest?.(".hit");
  if (event.key.startsWith("Arrow") && cards().length) move(event.key);
  else if (card && (event.key === "o" || event.key === " ") && !event.target.closest("summary")) open(card.querySelector(".open"));
  else if (card && event.key === "+") card.querySelector(".also")?.toggleAttribute("open");
  else if (card && event.key === "e") edit(card.querySelector(".caption"), card.querySelector(".like"));
  else if (event.key === "Escape") document.activeElement.blur();
  else return;
  event.preventDefault();
});

// One photo, large

let shown = null; // the link that is open
const openable = () => [...document.querySelectorAll(".of .open, .hit > .open, .also[open] .open")].filter((link) => link.checkVisibility());

function open(link) {
  if (!link) return;
  shown = link;
  const { name, path, score, facts, like, caption, content } = link.dataset, image = viewer.querySelector("img");
  $("viewed").textContent = name;
  $("viewed").title = name;
  $("viewed-score").textContent = score;
  $("viewed-facts").textContent = facts;
  $("viewed-path").textContent = path;
  $("viewed-like").hidden = !like;
  $("viewed-like").href = like;
  image.src = link.querySelector("img").currentSrc; // the thumbnail until the photo has loaded
  image.alt = caption || name;
  $("viewed-caption").open = false;
  show($("viewed-caption"), caption, content, `${new URL(link.href).pathname}/caption`);
  const whole = new Image();
  whole.onload = () => { if (shown === link) image.src = whole.src; };
  whole.src = link.href;
  const all = openable(), at = all.indexOf(link);
  for (const button of viewer.querySelectorAll(".step")) button.disabled = !all[at + Number(button.dataset.step)];
  if (all[at + 1]) new Image().src = all[at + 1].href;
  else found.querySelector(".further a")?.click();
  if (!viewer.open) { viewer.showModal(); viewer.focus(); }
}

function step(by) {
  const all = openable();
  open(all[all.indexOf(shown) + by]);
}

/** Close the large view and focus its photo's card at once: the next key is for that card. */
function close() {
  const card = shown?.closest(".hit");
  shown = null;
  viewer.close();
  viewer.querySelector("img").removeAttribute("src");
  card?.querySelector(".like").focus({ preventScroll: true });
  card?.scrollIntoView({ block: "nearest" });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest(".open");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  open(link);
});
viewer.addEventListener("click", (event) => {
  const button = event.target.closest(".step");
  if (button) step(Number(button.dataset.step));
  else if (event.target === viewer) close();
});
viewer.addEventListener("keydown", (event) => {
  if (!isForPage(event)) return;
  if (event.key === "e") edit($("viewed-caption"), viewer);
  else if (event.key === "ArrowLeft" || event.key === "ArrowUp") step(-1);
  else if (event.key === "ArrowRight" || event.key === "ArrowDown") step(1);
  else if (["o", "Escape"].includes(event.key) || (event.key === " " && !event.target.closest("button, a, summary"))) close();
  else if (event.key === "Enter" && !event.target.closest("button, a, summary") && !$("viewed-like").hidden) go($("viewed-like").href);
  else return;
  event.preventDefault();
});
// Closed by its button or by the browser. The event comes late: another photo may be open by then.
viewer.addEventListener("close", () => { if (!viewer.open && shown) close(); });
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("viewed-path").textContent);
    say("Path copied");
  } catch {
    getSelection().selectAllChildren($("viewed-path"));
    say("Press Ctrl+C to copy the path");
  }
});

// What others change: results that are not there any more leave the page, and new ones come.

async function catchUp() {
  const list = (page) => [...page.querySelectorAll(".hit .like")].map((link) => `${link.href} ${link.closest(".hit").querySelector(".caption summary")?.textContent}`);
  const values = new URLSearchParams(location.search), further = found.querySelector(".further a");
  if (!cards().length || document.body.classList.contains("busy")) return;
  if (further) values.set("top", cards().length);
  const answer = await fetch(`${location.pathname}?${values}`, { headers: { "hx-request": "true", "hx-target": "found" } });
  if (!answer.ok) return say("The library was changed elsewhere: search again to see it.", { bad: true });
  const piece = new DOMParser().parseFromString(await answer.text(), "text/html"), place = document.activeElement?.closest(".hit .like")?.href;
  if (String(list(piece)) === String(list(found))) return;
  if (viewer.open || found.querySelector(".caption[open]")) return say("The library was changed elsewhere: search again to see it.");
  found.replaceChildren(...piece.body.childNodes);
  htmx.process(found);
  cards().find((link) => link.href === place)?.focus({ preventScroll: true });
  say("The library was changed elsewhere: these are the results now.");
}
document.addEventListener("changed", () => catchUp().catch((error) => say(error.message, { bad: true })));

showOutside();
// The page was restored from the browser's cache: no request is running any more.
addEventListener("pageshow", (event) => { if (event.persisted) setBusy(); });
