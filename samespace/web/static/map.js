// The map: photos that look alike are close together, drawn as dots from afar and as photos from near.
import { ask, say } from "./app.js";

const $ = (id) => document.getElementById(id);
const section = $("map"), canvas = $("map-canvas"), card = $("map-card"), state = $("map-state"), pen = canvas.getContext("2d");
const COLOURS = 9, REST = 9; // colours in the style sheet, and the one for all other photos
const CLOSE = 1000; // photos are drawn when no more dots than this are in sight
const KEPT = 600, AT_ONCE = 8, SIDE = 220; // pictures kept, pictures loaded at a time, and their longer side in pixels

let map, x, y, colour; // the answer; (N,) places and colours
let paints = [], inks = [], only = -1; // the colours, the same as pixels, and the one chosen in the legend
let view = { x: 0, y: 0, scale: 1 }, fitted = 1, width = 0, height = 0, ratio = 1;
let placed = [], dots, shown = -1, byKeys = false, isDue = false;

// Loading

async function load() {
  section.hidden = Number($("about").dataset.photos) < 3;
  if (section.hidden) return;
  try {
    const answer = await ask("GET", "/api/map");
    if (answer.state === "computing") { setTimeout(load, 700); return; }
    state.textContent = answer.words ?? "";
    if (answer.state === "ready") set(answer);
  } catch (error) {
    state.textContent = error.message;
  }
}

function set(answer) {
  const before = map;
  map = answer;
  x = Float32Array.from(map.x);
  y = Float32Array.from(map.y);
  const left = map.total - map.photos.length;
  $("map-copies").hidden = map.look !== "the same shot"; // which tells copies from other photos, and no more
  $("map-alike").hidden = !$("map-copies").hidden;
  $("map-left-out").textContent = left > 0 ? `Showing ${map.photos.length.toLocaleString("en")} of ${map.total.toLocaleString("en")} photos.` : "";
  canvas.setAttribute("aria-label", `Map of ${map.photos.length.toLocaleString("en")} photos`);
  state.hidden = true;
  hide();
  colourBy($("map-colours").value);
  if (!before) fit();
  section.dataset.ready = ""; // for tests and scripts
}

async function colourBy(what) {
  only = -1;
  colour = Uint8Array.from(map.folder, (folder) => Math.min(folder, REST));
  if (what === "folder") folderLegend();
  else await colourByGroups();
  draw();
}

async function colourByGroups() {
  const of = map, number = new Map(map.photos.map((id, at) => [id, at]));
  colour = new Uint8Array(map.photos.length).fill(REST);
  legend([["", "Looking for near duplicates …"]]);
  let groups = 0, photos = 0, total = 1;
  try {
    while (groups < total) {
      const answer = await ask("GET", `/api/groups?kind=near&start=${groups}&count=1000`);
      if (of !== map || $("map-colours").value !== "group") return;
      if (answer.state !== "ready") { await new Promise((done) => setTimeout(done, 700)); continue; }
      for (const { members } of answer.groups) {
        for (const { id } of members) if (number.has(id)) { colour[number.get(id)] = groups % COLOURS; photos++; }
        groups++;
      }
      total = answer.groups.length ? answer.total : groups;
    }
    const all = `${photos.toLocaleString("en")} photos in ${groups.toLocaleString("en")} ${groups === 1 ? "group" : "groups"} of near duplicates`;
    legend([[groups ? "c0" : "", groups ? `${all}, one colour per group` : "No near duplicates"], ["", "all other photos"]]);
  } catch (error) {
    say(error.message, { bad: true });
  }
}

function folderLegend() {
  const counts = new Array(map.folders.length).fill(0);
  for (const folder of map.folder) counts[folder]++;
  const rows = map.folders.slice(0, COLOURS).map((_, at) => [`c${at}`, folderName(at), counts[at], at]);
  const others = map.folders.length - COLOURS;
  if (others > 0) rows.push(["", others === 1 ? folderName(COLOURS) : `${others.toLocaleString("en")} other folders`, counts.slice(COLOURS).reduce((sum, one) => sum + one), REST]);
  legend(rows);
}

/** Return a folder's name without the part that all folders share. */
function folderName(at) {
  const parts = map.folders.map((name) => name.split("/"));
  let same = 0;
  while (parts.every((one) => one.length > same + 1 && one[same] === parts[0][same])) same++;
  return parts[at].slice(same).join("/") || "not in a folder";
}

function legend(rows) {
  $("legend").replaceChildren(...rows.map(([dot, name, count, at]) => {
    const item = document.createElement("li"), inside = document.createElement(at === undefined ? "span" : "button");
    inside.append(part(`dot ${dot}`), part("", name), ...(count === undefined ? [] : [part("soft", count.toLocaleString("en"))]));
    if (at !== undefined) {
      inside.type = "button";
      inside.title = `Show only ${name}`;
      inside.setAttribute("aria-pressed", "false");
      inside.addEventListener("click", () => choose(at, inside));
    }
    item.append(inside);
    return item;
  }));
}

function part(name, content = "") {
  return Object.assign(document.createElement("span"), { className: name, textContent: content });
}

function choose(at, button) {
  only = only === at ? -1 : at;
  for (const other of $("legend").querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button && only === at));
  draw();
}

// Drawing

function draw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => { isDue = false; if (map && dots) paint(); });
}

const across = (at) => (x[at] - view.x) * view.scale + width / 2;
const down = (at) => (y[at] - view.y) * view.scale + height / 2;

function paint() {
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const sight = inSight(), spacing = Math.sqrt(width * height / Math.max(1, map.photos.length));
  const radius = Math.min(6, Math.max(1.6, spacing * 0.1) * Math.min(2.4, (view.scale / fitted) ** 0.4));
  paintDots(sight, radius);
  placed = sight.length <= CLOSE ? place(sight) : [];
  for (const spot of placed) paintPhoto(spot);
  loadPictures();
  if (shown >= 0) paintRing(radius);
  canvas.dataset.photos = placed.length; // for tests and scripts
  canvas.dataset.sight = sight.length;
  canvas.dataset.loading = loading;
}

function inSight() {
  const sight = [];
  for (let at = 0; at < x.length; at++) {
    const left = across(at), top = down(at);
    if (left > -80 && left < width + 80 && top > -80 && top < height + 80) sight.push(at);
  }
  return sight;
}

/** Draw dots pixel by pixel: ten thousand circles would take longer than a frame. */
function paintDots(sight, radius) {
  const by = Array.from({ length: REST + 1 }, () => []);
  for (const at of sight) by[colour[at]].push(at);
  const pixels = new Uint32Array(dots.data.buffer), { width: wide, height: high } = dots, spots = disc(radius * ratio);
  pixels.fill(0);
  for (let number = REST; number >= 0; number--) {
    const strength = only >= 0 && only !== number ? 0.12 : number === REST ? 0.7 : 0.9;
    for (const at of by[number]) {
      const left = Math.round(across(at) * ratio), top = Math.round(down(at) * ratio);
      for (const [i, j, share] of spots) {
        const column = left + i, row = top + j, place = row * wide + column, alpha = share * strength * 255;
        if (column >= 0 && column < wide && row >= 0 && row < high && alpha >= pixels[place] >>> 24) pixels[place] = inks[number] | alpha << 24;
      }
    }
  }
  pen.putImageData(dots, 0, 0);
}

/** Return the pixels of a dot, and how much of each it covers. */
function disc(radius) {
  const spots = [], reach = Math.ceil(radius);
  for (let i = -reach; i <= reach; i++) {
    for (let j = -reach; j <= reach; j++) {
      const share = Math.min(1, radius + 0.5 - Math.hypot(i, j));
      if (share > 0) spots.push([i, j, share]);
    }
  }
  return spots;
}

/** Return where photos are drawn: as large as there is room, without overlap. */
function place(sight) {
  const chosen = only < 0 ? sight : sight.filter((at) => colour[at] === only);
  const size = Math.min(150, Math.max(44, 0.8 * Math.sqrt(width * height / Math.max(1, sight.length))));
  const taken = new Map(), spots = [];
  for (const at of chosen) {
    const left = across(at), top = down(at), column = Math.floor(left / size), row = Math.floor(top / size);
    if (isFree(taken, column, row, left, top, size)) {
      taken.set(`${column},${row}`, [left, top]);
      const side = map.sides[at], wide = side > 1 ? size : size * side, high = side > 1 ? size / side : size;
      spots.push({ at, left: left - wide / 2, top: top - high / 2, wide: wide - 6, high: high - 6 });
    }
  }
  return spots;
}

function isFree(taken, column, row, left, top, size) {
  for (let i = column - 1; i <= column + 1; i++) {
    for (let j = row - 1; j <= row + 1; j++) {
      const other = taken.get(`${i},${j}`);
      if (other && Math.abs(other[0] - left) < size && Math.abs(other[1] - top) < size) return false;
    }
  }
  return true;
}

function paintPhoto({ at, left, top, wide, high }) {
  const picture = pictureOf(at);
  if (!picture) return;
  pen.fillStyle = paints[colour[at]];
  pen.beginPath();
  pen.roundRect(left - 2, top - 2, wide + 4, high + 4, 5);
  pen.fill();
  pen.save();
  pen.beginPath();
  pen.roundRect(left, top, wide, high, 3.5);
  pen.clip();
  pen.drawImage(picture, left, top, wide, high);
  pen.restore();
}

function paintRing(radius) {
  const spot = placed.find(({ at }) => at === shown);
  pen.strokeStyle = paints[REST + 1];
  pen.lineWidth = 2;
  pen.beginPath();
  if (spot) pen.roundRect(spot.left - 4, spot.top - 4, spot.wide + 8, spot.high + 8, 7);
  else pen.arc(across(shown), down(shown), radius + 4, 0, 7);
  pen.stroke();
}

// Pictures: a few load at a time, those in sight first; the most recently used are kept

const pictures = new Map(), wanted = new Set();
let loading = 0;

const thumbnail = (at) => `/photos/${map.photos[at]}/thumbnail?v=${map.versions[at]}`;

function pictureOf(at) {
  const address = thumbnail(at), picture = pictures.get(address);
  if (picture === undefined) { wanted.add(address); return null; }
  pictures.delete(address);
  pictures.set(address, picture); // the most recently used is last
  return picture;
}

function loadPictures() {
  for (const address of wanted) {
    if (loading >= AT_ONCE) break;
    loading++;
    pictures.set(address, null);
    picture(address).catch(() => null).then((found) => {
      loading--;
      pictures.set(address, found);
      while (pictures.size > KEPT) forget(pictures.keys().next().value);
      draw();
    });
  }
  wanted.clear();
}

async function picture(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const share = Math.min(1, SIDE / Math.max(image.naturalWidth, image.naturalHeight));
  const size = { resizeWidth: Math.max(1, Math.round(image.naturalWidth * share)), resizeHeight: Math.max(1, Math.round(image.naturalHeight * share)) };
  return createImageBitmap(image, { ...size, resizeQuality: "medium" });
}

function forget(address) {
  pictures.get(address)?.close();
  pictures.delete(address);
}

// Moving around

function fit() {
  const [left, right] = ends(x), [top, bottom] = ends(y);
  fitted = Math.min((width - 56) / Math.max(right - left, 1e-3), (height - 56) / Math.max(bottom - top, 1e-3));
  view = { x: (left + right) / 2, y: (top + bottom) / 2, scale: fitted };
  draw();
}

const ends = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);

function zoom(factor, left = width / 2, top = height / 2) {
  const scale = Math.min(fitted * 400, Math.max(fitted * 0.5, view.scale * factor));
  view.x += (left - width / 2) * (1 / view.scale - 1 / scale);
  view.y += (top - height / 2) * (1 / view.scale - 1 / scale);
  view.scale = scale;
  draw();
}

function pan(left, top) {
  view.x = Math.min(1.2, Math.max(-1.2, view.x - left / view.scale));
  view.y = Math.min(1.2, Math.max(-1.2, view.y - top / view.scale));
  draw();
}

const fingers = new Map();
let moved = 0, meant = false; // the wheel zooms once the pointer has moved on the map, not while the page scrolls past

canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
  if (fingers.size === 1) moved = 0;
});

canvas.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId), now = [event.offsetX, event.offsetY];
  meant ||= Boolean(event.movementX || event.movementY);
  if (!before) { if (event.pointerType !== "touch") show(under(...now)); return; }
  const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
  fingers.set(event.pointerId, now);
  moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
  if (other) {
    const apart = ([left, top]) => Math.max(10, Math.hypot(left - other[0], top - other[1]));
    zoom(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
  } else if (moved > 4) {
    canvas.classList.add("dragged");
    hide();
    pan(now[0] - before[0], now[1] - before[1]);
  }
});

canvas.addEventListener("pointerup", (event) => {
  const was = fingers.size;
  release(event);
  if (moved > 4 || was !== 1) return;
  const at = under(event.offsetX, event.offsetY);
  if (event.pointerType === "touch") show(at, true);
  else open(at);
});
canvas.addEventListener("pointercancel", release);
canvas.addEventListener("pointerleave", () => { if (!byKeys && !card.classList.contains("pinned")) hide(); });

function release(event) {
  fingers.delete(event.pointerId);
  if (!fingers.size) canvas.classList.remove("dragged");
}

addEventListener("scroll", () => { meant = false; }, { passive: true });
canvas.addEventListener("wheel", (event) => {
  if (!meant) return;
  event.preventDefault();
  const pixels = event.deltaY * (event.deltaMode ? 16 : 1);
  zoom(Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.002)), event.offsetX, event.offsetY);
  show(under(event.offsetX, event.offsetY));
}, { passive: false });

canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || !map) return;
  const step = 80, moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
  if (moves[event.key]) pan(...moves[event.key]);
  else if (event.key === "+" || event.key === "=") zoom(1.4);
  else if (event.key === "-" || event.key === "−") zoom(1 / 1.4);
  else if (event.key === "0") fit();
  else if (event.key === "Enter") { open(shown >= 0 ? shown : middle()); return; }
  else if (event.key === "Escape") { hide(); return; }
  else return;
  event.preventDefault();
  byKeys = true;
  show(middle());
  $("map-spoken").textContent = shown < 0 ? "" : `${map.names[shown]}, ${map.folders[map.folder[shown]]}`;
});
canvas.addEventListener("blur", () => { if (byKeys) hide(); });

const middle = () => nearest(width / 2, height / 2, Infinity);

function under(left, top) {
  const spot = placed.findLast((spot) => left >= spot.left && left <= spot.left + spot.wide && top >= spot.top && top <= spot.top + spot.high && pictures.get(thumbnail(spot.at)));
  return spot ? spot.at : nearest(left, top, 14);
}

function nearest(left, top, reach) {
  if (!map) return -1;
  let best = -1, least = reach * reach;
  for (let at = 0; at < x.length; at++) {
    const apart = (across(at) - left) ** 2 + (down(at) - top) ** 2;
    if (apart < least && (only < 0 || colour[at] === only)) { least = apart; best = at; }
  }
  return best;
}

// One photo

const address = (at) => `/search?like=${map.photos[at]}`;

function open(at) {
  if (at >= 0) location.assign(address(at));
}

function hide() {
  if (shown >= 0) draw();
  shown = -1;
  byKeys = false;
  card.hidden = true;
  canvas.classList.remove("over");
}

function show(at, pinned = false) {
  if (at < 0) { hide(); return; }
  canvas.classList.add("over");
  if (at !== shown) {
    const image = card.querySelector("img"), [, name, folder] = card.children, side = map.sides[at];
    image.width = 200;
    image.height = Math.round(200 / side);
    image.src = thumbnail(at);
    name.textContent = map.names[at];
    folder.textContent = map.folders[map.folder[at]];
    card.href = address(at);
    card.tabIndex = -1;
  }
  shown = at;
  card.querySelector("img").hidden = placed.some((spot) => spot.at === at && spot.wide > 100 && pictures.get(thumbnail(at)));
  card.classList.toggle("pinned", pinned);
  card.style.pointerEvents = pinned ? "auto" : "none";
  card.hidden = false;
  put(across(at), down(at));
  draw();
}

/** Place the card beside the photo, within the map. */
function put(left, top) {
  const spot = placed.find(({ at }) => at === shown), gap = spot ? spot.wide / 2 + 12 : 16;
  const wide = card.offsetWidth, high = card.offsetHeight;
  const start = left + gap + wide < width - 4 ? left + gap : Math.max(4, left - gap - wide);
  const above = Math.min(Math.max(4, top - high / 2), Math.max(4, height - high - 4));
  card.style.transform = `translate(${Math.round(start)}px, ${Math.round(above)}px)`;
}

// The page around it

function restyle() {
  const styles = getComputedStyle(document.documentElement);
  paints = [...Array.from({ length: COLOURS }, (_, at) => `--c${at}`), "--rest", "--ink"].map((name) => styles.getPropertyValue(name).trim());
  inks = paints.map((paint) => { pen.fillStyle = paint; return parseInt(pen.fillStyle.slice(1).match(/../g).reverse().join(""), 16); });
  draw();
}

new ResizeObserver(([{ contentRect }]) => {
  const first = !width;
  ({ width, height } = contentRect);
  ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  dots = width ? new ImageData(canvas.width, canvas.height) : dots;
  if (!map || !width) return;
  if (first) fit();
  paint();
}).observe(canvas);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
$("map-colours").addEventListener("change", (event) => { if (map) colourBy(event.target.value); });
section.addEventListener("click", (event) => {
  const factor = event.target.dataset.zoom;
  if (!map || factor === undefined) return;
  if (Number(factor)) zoom(Number(factor)); else fit();
});
document.addEventListener("library", load);
restyle();
load();
