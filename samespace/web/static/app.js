// Shared by all pages: requests to the server, messages at the foot of the page, and keys that work everywhere.

export const AWAY = "SameSpace is not answering. Check that samespace serve is still running in its terminal.";
const csrf = document.querySelector("meta[name=csrf]").content;

/** Send a request to /api/…. Resolves to its JSON, rejects with its error sentence and `status`. `body` is FormData or becomes JSON. */
export async function ask(method, address, body) {
  const form = body instanceof FormData;
  let response;
  try {
    response = await fetch(address, {
      method,
      headers: { accept: "application/json", "x-samespace-token": csrf, ...(form || !body ? {} : { "content-type": "application/json" }) },
      body: form ? body : body && JSON.stringify(body),
    });
  } catch {
    throw new Error(AWAY);
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(answer.error || `The server answered ${response.status}.`), { status: response.status });
  return answer;
}

/** Show a message at the foot of the page for a while; `undo`, if given, becomes a button. */
export function say(words, { bad = false, undo } = {}) {
  const toast = document.createElement("div");
  toast.className = bad ? "toast bad" : "toast";
  toast.append(Object.assign(document.createElement("span"), { textContent: words }));
  if (undo) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Undo" });
    button.addEventListener("click", () => { toast.remove(); undo(); });
    toast.append(button);
  }
  document.getElementById("toasts").replaceChildren(toast);
  clearTimeout(say.timer);
  say.timer = setTimeout(() => toast.remove(), bad || undo ? 12000 : 5000);
}

/** Return true for a key meant for the page: not typed into a field, not with Ctrl, Alt or Meta. */
export function isForPage(event) {
  const field = event.target.closest?.("input:not([type=range], [type=checkbox], [type=radio]), textarea, select, [contenteditable]");
  return !field && !event.ctrlKey && !event.altKey && !event.metaKey;
}

// What others do to the library, in another window or at a terminal, is known here within two seconds. A hidden page does
// not listen, because a browser keeps few connections open; it learns what it missed as soon as it is shown again.
let known = document.querySelector("meta[name=changes]").content, stream = null;
function listen() {
  stream?.close();
  stream = csrf && !document.hidden ? new EventSource("/api/events") : null;
  if (stream) stream.onmessage = ({ data }) => learn(String(JSON.parse(data).number));
}
function learn(number) {
  if (number === known) return;
  known = number;
  document.dispatchEvent(new Event("changed"));
}
document.addEventListener("visibilitychange", listen);
listen();

const help = document.getElementById("help"), keys = document.getElementById("keys");
keys.hidden = false;
keys.addEventListener("click", () => help.showModal());

document.addEventListener("keydown", (event) => {
  if (!isForPage(event) || document.querySelector("dialog[open]")) return;
  if (event.key === "?") help.showModal();
  else if (event.key === "/") {
    const box = document.querySelector("input[type=search]");
    if (box) { box.focus(); box.select(); } else location.assign("/search");
  } else return;
  event.preventDefault();
});

// htmx sends the token with every request, and errors are shown.
document.body.addEventListener("htmx:configRequest", (event) => { event.detail.headers["X-SameSpace-Token"] = csrf; });
document.body.addEventListener("htmx:responseError", (event) => {
  let words = `The server answered ${event.detail.xhr.status}.`;
  try { words = JSON.parse(event.detail.xhr.responseText).error; } catch { /* not JSON */ }
  say(words, { bad: true });
});
document.body.addEventListener("htmx:sendError", () => say(AWAY, { bad: true }));
document.documentElement.classList.add("js");
