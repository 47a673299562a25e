// The library page: start, watch and stop a scan, and bring back removed photos.
import { ask, AWAY, say } from "./app.js";

const $ = (id) => document.getElementById(id);
const panel = $("scan"), words = $("scan-words"), share = $("scan-share"), stop = $("stop"), files = $("scan-unreadable"), next = $("scan-next");
const OVER = ["idle", "done", "stopped", "failed"];
let events;

let about = ""; // what the page shows of the library, as it came

/** Reload what the page shows of the library, if it is another. */
async function refresh() {
  const answer = await fetch("/library", { headers: { "hx-request": "true", accept: "text/html" } });
  if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
  const piece = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = piece.getElementById("about");
  if (fresh.outerHTML === about) return;
  about = fresh.outerHTML;
  $("about").replaceWith(fresh);
  setBusy(!OVER.includes(panel.dataset.state));
  document.dispatchEvent(new Event("library"));
}

function setBusy(busy) {
  for (const button of document.querySelectorAll("[data-scan], #add button")) button.disabled = busy;
}

function show(scan) {
  const over = OVER.includes(scan.state), changed = panel.dataset.state !== scan.state;
  panel.hidden = scan.state === "idle";
  next.hidden ||= !over;
  panel.dataset.state = scan.state;
  words.textContent = scan.words;
  share.hidden = stop.hidden = over;
  if (scan.state === "reading") { share.max = scan.total || 1; share.value = scan.total ? scan.done : 1; } else share.removeAttribute("value");
  stop.disabled = scan.state === "finishing";
  files.hidden = !scan.unreadable.length;
  files.querySelector("ul").replaceChildren(...scan.unreadable.map(line), ...(scan.more ? [rest(scan.more)] : []));
  setBusy(!over);
  if (changed) $("scan-said").textContent = scan.words; // a screen reader need not hear every number
}

/** After a scan, say how many duplicates there are, and lead to them. */
async function leadOn() {
  next.hidden = false;
  next.replaceChildren(text("span", "Looking for duplicates …", "soft"));
  let answer;
  do {
    answer = await ask("GET", "/api/groups?count=0");
    if (answer.state === "comparing") await new Promise((done) => { setTimeout(done, 300); });
  } while (answer.state === "comparing" && panel.dataset.state === "done");
  if (answer.state !== "ready") return;
  if (!answer.total) next.replaceChildren(text("span", "No duplicates were found.", "soft"));
  else next.replaceChildren(text("span", `${answer.total.toLocaleString("en")} group${answer.total === 1 ? "" : "s"} of duplicates`), " ", Object.assign(text("a", "Review", "button"), { href: "/review" }));
}

function line({ name, reason }) {
  const item = document.createElement("li");
  item.append(text("span", name), " ", text("span", reason, "soft"));
  return item;
}

const rest = (more) => text("li", `and ${more.toLocaleString("en")} more`, "soft");

function text(kind, content, name = "") {
  return Object.assign(document.createElement(kind), { textContent: content, className: name });
}

function watch() {
  events?.close();
  events = new EventSource("/api/scan/events");
  events.onmessage = ({ data }) => {
    const scan = JSON.parse(data);
    show(scan);
    if (!OVER.includes(scan.state)) return;
    events.close();
    refresh().catch(complain);
    if (scan.state === "done") leadOn().catch(() => { next.hidden = true; }); // the review page says why
  };
  events.onerror = () => { words.textContent = AWAY; };
}

async function scan(sent = {}) {
  setBusy(true);
  try {
    show(await ask("POST", "/api/scan", sent));
    watch();
  } finally {
    setBusy(!OVER.includes(panel.dataset.state));
  }
}

const complain = (error) => say(error.message, { bad: true });

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if ("scan" in button.dataset) scan(button.dataset.backbone ? { backbone: button.dataset.backbone } : {}).catch(complain);
  else if (button === stop) ask("DELETE", "/api/scan").then(show, complain);
  else if (button.dataset.run) bringBack(button).catch(complain);
});

document.addEventListener("submit", async (event) => {
  if (event.target.id !== "add") return;
  event.preventDefault();
  const mishap = $("add-mishap");
  mishap.hidden = true;
  try {
    await scan({ folders: [$("folder").value] });
    event.target.closest("details").open = false;
    event.target.reset();
  } catch (error) {
    mishap.textContent = error.message;
    mishap.hidden = false;
  }
});

document.addEventListener("keydown", (event) => {
  const open = document.querySelector(".adding[open]");
  if (event.key !== "Escape" || !open) return;
  open.open = false;
  open.querySelector("summary").focus();
});
document.addEventListener("toggle", (event) => { if (event.target.matches?.(".adding[open]")) $("folder").focus(); }, true);

async function bringBack(button) {
  button.disabled = true;
  const before = $("about").dataset.photos;
  try {
    const answer = await ask("POST", "/api/undo", { run: button.dataset.run });
    await refresh();
    button.disabled = false; // if it is still there
    say($("about").dataset.photos === before ? `${answer.words} Scan again to see them here.` : answer.words);
  } catch (error) {
    button.disabled = false;
    throw error;
  }
}

// A scan shows itself, and a folder's name that is being typed is not taken away.
document.addEventListener("changed", () => { if (OVER.includes(panel.dataset.state) && !document.querySelector(".adding[open]")) refresh().catch(complain); });
about = $("about").outerHTML;
setBusy(!OVER.includes(panel.dataset.state));
if (!OVER.includes(panel.dataset.state)) watch();
