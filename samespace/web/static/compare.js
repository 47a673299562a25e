// The compare view: two photos side by side, under a divider, subtracted, or with the points that both show. Zoom and pan
// move both; every action has a key.

import { ask } from "./app.js";

const $ = (id) => document.getElementById(id);
const dialog = $("compare"), stage = $("stage"), divider = $("divider"), canvas = $("difference");
const [leftView, rightView] = stage.querySelectorAll(".view");
const STEP = 1.25, MOST = 16;
const FIT = { scale: 1, x: 0.5, y: 0.5 };

let group, at, actions; // the group's members on the page, which one is compared with the keeper, and the page's actions
let mode = "side", wipe = 50;
let look = { ...FIT }; // how often as large as it just fits; the point in the middle, as a share of either photo's sides
let drawn = ""; // the two photos that the difference shows
let proof = null; // the points that the two photos share and what they prove, as far as the server has told
let turn = Promise.resolve(); // one pair is asked for after the other: a quick hand passes many

/** Open on a group's first photo and member `number`; `does` is {isKept, toggle}. */
export function openCompare(members, number, does) {
  [group, actions] = [members, does];
  setMode("side");
  show(Math.min(number, members.length - 1));
  dialog.showModal();
  stage.focus();
  place();
}

function show(number) {
  at = number;
  fill($("left-photo"), group[0]);
  fill($("right-photo"), group[at]);
  $("compare-title").textContent = `Photo ${at + 1} of ${group.length} compared with the first`;
  $("previous").disabled = at <= 1;
  $("next").disabled = at >= group.length - 1;
  look = { ...FIT };
  drawn = "";
  proof = null;
  tell("");
  facts();
  place();
}

/** Show the thumbnail at once, and the full photo when it has loaded. */
function fill(photo, member) {
  photo.src = member.dataset.thumbnail;
  photo.alt = member.dataset.name;
  const whole = new Image();
  photo.dataset.of = whole.src = member.dataset.photo;
  whole.decode().then(() => {
    if (photo.dataset.of !== member.dataset.photo) return;
    photo.src = whole.src;
    drawn = "";
    place();
  }, () => { photo.title = "The full-size photo cannot be shown"; });
}

function facts() {
  for (const [place, member, key] of [[$("left-facts"), group[0], 1], [$("right-facts"), group[at], 2]]) {
    const kept = actions.isKept(member);
    const fate = member.querySelector(".fate").cloneNode(true);
    fate.dataset.key = key;
    const number = Object.assign(document.createElement("kbd"), { textContent: key });
    place.replaceChildren(fate, number, ...[".why", ".name", ".facts"].map((part) => member.querySelector(part).cloneNode(true)));
    place.className = kept ? "keep" : "remove";
    const theirs = (place.id === "left-facts" ? group[at] : group[0]).querySelector(".facts").children;
    [...place.querySelector(".facts").children].forEach((fact, number) => fact.classList.toggle("differs", fact.textContent !== theirs[number].textContent));
  }
}

// Modes

function setMode(to) {
  mode = dialog.dataset.mode = to;
  dialog.classList.toggle("beside", isBeside());
  drawn = "";
  tell("");
  for (const button of dialog.querySelectorAll(".modes button")) button.setAttribute("aria-pressed", button.dataset.mode === to);
  place();
}

function setWipe(to) {
  wipe = Math.min(100, Math.max(0, to));
  divider.setAttribute("aria-valuenow", Math.round(wipe));
  place();
}

function swap(yes) {
  dialog.classList.toggle("swapped", yes);
  place(); // the lines have other ends
}

const isBeside = () => mode === "side" || mode === "points";

/** Say what was found, once: a screen reader reads it whenever it is written. */
function tell(words) {
  const finding = $("finding");
  if (finding.textContent !== words) finding.textContent = words;
}

// Where each photo is drawn

const sides = (member) => [+member.dataset.width, +member.dataset.height];

/** Return the size at which a photo just fits its view. */
function fitted(view, [width, height]) {
  const scale = Math.min(view.clientWidth / width, view.clientHeight / height);
  return [width * scale, height * scale];
}

function lay(picture, view, [width, height]) {
  const box = view.getBoundingClientRect();
  // On whole pixels of the screen: between them, even a photo at 1:1 would be blurred.
  const snapped = (at, from) => Math.round((from + at) * devicePixelRatio) / devicePixelRatio - from;
  Object.assign(picture.style, {
    width: `${width * look.scale}px`, height: `${height * look.scale}px`,
    left: `${snapped(view.clientWidth / 2 - look.x * width * look.scale, box.left)}px`,
    top: `${snapped(view.clientHeight / 2 - look.y * height * look.scale, box.top)}px`,
  });
}

/** Return the scale at which each pixel of the first photo is one of the screen. */
function oneToOne() {
  return sides(group[0])[0] / devicePixelRatio / fitted(leftView, sides(group[0]))[0];
}

const isOneToOne = () => Math.abs(look.scale / oneToOne() - 1) < 1e-6;

/** Show how many pixels of the screen each photo's pixel takes, once if it is the same for both. */
function tellScale(left, right) {
  const shares = [[left, group[0]], [right, group[at]]].map(([[width], member]) => `${Math.round((width * look.scale * devicePixelRatio * 100) / sides(member)[0])}%`);
  $("scale").textContent = [...new Set(shares)].join(" · ");
  $("fit").setAttribute("aria-pressed", look.scale === 1);
  $("one-to-one").setAttribute("aria-pressed", isOneToOne());
}

function place() {
  if (!dialog.open) return;
  // Over each other, the second photo takes the first's shape, so that the same things are in the same place.
  const left = fitted(leftView, sides(group[0])), right = isBeside() ? fitted(rightView, sides(group[at])) : left;
  settle(leftView, left);
  lay($("left-photo"), leftView, left);
  lay($("right-photo"), rightView, right);
  lay(canvas, rightView, left);
  divider.style.left = `${wipe}%`;
  rightView.style.clipPath = mode === "wipe" ? `inset(0 0 0 ${wipe}%)` : "";
  tellScale(left, right);
  if (mode === "difference") subtract();
  if (mode === "points") prove();
}

/** Keep the view within the photo; a photo smaller than the view stays in the middle. */
function settle(view, [width, height]) {
  const inside = (at, seen) => (seen >= 1 ? 0.5 : Math.min(1 - seen / 2, Math.max(seen / 2, at)));
  look.x = inside(look.x, view.clientWidth / (width * look.scale));
  look.y = inside(look.y, view.clientHeight / (height * look.scale));
}

/** Zoom around the point (x, y) of a view, each from -0.5 to 0.5. */
function zoom(by, x = 0, y = 0) {
  const scale = Math.min(Math.max(MOST, oneToOne()), Math.max(Math.min(1, oneToOne()), look.scale * by)), [width, height] = fitted(leftView, sides(group[0]));
  const gained = 1 / look.scale - 1 / scale;
  look = { scale, x: look.x + (x * leftView.clientWidth / width) * gained, y: look.y + (y * leftView.clientHeight / height) * gained };
  place();
}

function fit() { look = { ...FIT }; place(); }
function toOneToOne() { zoom(oneToOne() / look.scale); }

/** Move both photos by shares of the view. */
function pan(x, y) {
  const [width, height] = fitted(leftView, sides(group[0]));
  look.x += (x * leftView.clientWidth) / (width * look.scale);
  look.y += (y * leftView.clientHeight) / (height * look.scale);
  place();
}

// Difference

function pixels(photo, width, height) {
  const small = new OffscreenCanvas(width, height).getContext("2d");
  small.drawImage(photo, 0, 0, width, height);
  return small.getImageData(0, 0, width, height).data;
}

/** Draw how far each pixel is from its partner, brighter for more, with both photos scaled to the same size. */
function subtract() {
  const [first, second] = [$("left-photo"), $("right-photo")];
  const which = `${first.src} ${second.src}`;
  if (which === drawn) return;
  if (!first.complete || !second.complete || !first.naturalWidth || !second.naturalWidth) {
    for (const photo of [first, second]) photo.addEventListener("load", place, { once: true });
    return;
  }
  drawn = which;
  const [width, height] = sides(group[0]), scale = Math.min(1, 1400 / Math.max(width, height));
  [canvas.width, canvas.height] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  const [one, other] = [first, second].map((photo) => pixels(photo, canvas.width, canvas.height));
  const context = canvas.getContext("2d"), result = context.createImageData(canvas.width, canvas.height);
  let total = 0;
  for (let i = 0; i < one.length; i += 1) total += Math.abs(one[i] - other[i]);
  const mean = total / (one.length * 0.75); // from 0 to 255; a fourth of the numbers is opacity, which is the same in both
  const brighter = Math.round(Math.min(16, Math.max(1, 64 / mean)));
  for (let i = 0; i < one.length; i += 1) result.data[i] = i % 4 === 3 ? 255 : Math.abs(one[i] - other[i]) * brighter;
  context.putImageData(result, 0, 0);
  const share = (mean / 255) * 100;
  tell(!mean ? "No difference" : `${share < 0.1 ? "Less than 0.1" : share.toFixed(1)}% difference on average${brighter > 1 ? `, shown ${brighter} times brighter` : ""}`);
}

// Shared points

/** Show the points that both photos show, and say what they prove, as soon as the server has found them. */
function prove() {
  if (!proof) {
    const mine = proof = { points: [], words: "Looking for points that both photos show…" };
    const pair = new URLSearchParams({ photo0: group[0].dataset.id, photo1: group[at].dataset.id });
    turn = turn.then(async () => {
      if (mine !== proof) return; // other photos are compared by now
      await ask("GET", `/api/evidence?${pair}`).then((found) => Object.assign(mine, found), (error) => { mine.words = error.message; });
      place();
    });
  }
  tell(proof.words);
  connect(proof.points);
}

/** Draw the points in sight, and a line for each that is in sight in both photos. */
function connect(points) {
  const from = stage.getBoundingClientRect();
  const [inLeft, inRight] = [leftView, rightView].map((view) => {
    const seen = view.getBoundingClientRect(), photo = view.querySelector("img").getBoundingClientRect();
    return (shareX, shareY) => {
      const x = photo.left + shareX * photo.width, y = photo.top + shareY * photo.height;
      return x >= seen.left && x <= seen.right && y >= seen.top && y <= seen.bottom ? `${x - from.left} ${y - from.top}` : null;
    };
  });
  let dots = "", lines = "";
  for (const { x0, y0, x1, y1 } of points) {
    const here = inLeft(x0, y0), there = inRight(x1, y1);
    if (here) dots += `M${here}h0`;
    if (there) dots += `M${there}h0`;
    if (here && there) lines += `M${here}L${there}`;
  }
  for (const path of $("points").children) path.setAttribute("d", path.matches(".line") ? lines : dots);
}

// Events

const stepTo = (by) => { if (group[at + by] && at + by >= 1) show(at + by); };
const decide = (member) => { actions.toggle(member); facts(); };

const keys = {
  j: () => stepTo(1), k: () => stepTo(-1), s: () => setMode("side"), w: () => setMode("wipe"), d: () => setMode("difference"), p: () => setMode("points"),
  "+": () => zoom(STEP), "=": () => zoom(STEP), "-": () => zoom(1 / STEP), "0": fit, z: () => (isOneToOne() ? fit() : toOneToOne()),
  1: () => decide(group[0]), 2: () => decide(group[at]), " ": () => swap(true), "?": () => $("help").showModal(),
  ArrowLeft: (event) => sideways(event, -1), ArrowRight: (event) => sideways(event, 1),
  ArrowUp: () => pan(0, -0.1), ArrowDown: () => pan(0, 0.1),
};
const sideways = (event, by) => (mode === "wipe" && !event.shiftKey ? setWipe(wipe + 2 * by) : pan(0.1 * by, 0));

dialog.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || !keys[event.key]) return;
  if (event.key === " " && event.target.closest("button")) return; // a button focused by Tab
  if (event.repeat && /^[12 ]$/.test(event.key)) return event.preventDefault();
  event.preventDefault();
  keys[event.key](event);
});
dialog.addEventListener("keyup", (event) => { if (event.key === " ") { event.preventDefault(); swap(false); } });
dialog.addEventListener("close", () => { swap(false); group[at].closest(".group")?.focus({ preventScroll: true }); });
dialog.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button && event.detail) stage.focus(); // otherwise Space would press it again instead of swapping
  if (button?.dataset.mode) setMode(button.dataset.mode);
  else if (button?.dataset.key) decide(button.dataset.key === "1" ? group[0] : group[at]);
});
$("previous").addEventListener("click", () => stepTo(-1));
$("next").addEventListener("click", () => stepTo(1));
$("smaller").addEventListener("click", () => zoom(1 / STEP));
$("larger").addEventListener("click", () => zoom(STEP));
$("fit").addEventListener("click", fit);
$("one-to-one").addEventListener("click", toOneToOne);
$("close").addEventListener("click", () => dialog.close());
$("swap").addEventListener("pointerdown", () => swap(true));
for (const end of ["pointerup", "pointerleave", "pointercancel", "blur"]) $("swap").addEventListener(end, () => swap(false));

/** Return a pointer's place in its view, each from -0.5 to 0.5. */
function within(event) {
  const box = (isBeside() && event.clientX >= rightView.getBoundingClientRect().left && event.clientY >= rightView.getBoundingClientRect().top ? rightView : leftView).getBoundingClientRect();
  return [(event.clientX - box.left) / box.width - 0.5, (event.clientY - box.top) / box.height - 0.5];
}

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-Math.max(-100, Math.min(100, event.deltaY)) / 250), ...within(event));
}, { passive: false });
stage.addEventListener("dblclick", (event) => (look.scale > 1 ? fit() : zoom(3, ...within(event))));

let dragged = null; // what the pointer drags: the divider or the photos
stage.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  dragged = event.target === divider ? "divider" : "photos";
  stage.setPointerCapture(event.pointerId);
  if (dragged === "divider") divider.focus();
  event.preventDefault();
});
stage.addEventListener("pointermove", (event) => {
  if (!dragged) return;
  const box = leftView.getBoundingClientRect();
  if (dragged === "divider") setWipe(((event.clientX - box.left) / box.width) * 100);
  else pan(-event.movementX / box.width, -event.movementY / box.height);
});
for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => { dragged = null; });
new ResizeObserver(place).observe(stage);
