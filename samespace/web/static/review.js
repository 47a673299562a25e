// Review: go through the groups by keyboard; one key decides, one key undoes.

import { ask, isForPage, say } from "./app.js";
import { edit } from "./captions.js";
import { openCompare } from "./compare.js";
import { tellLosses } from "./losses.js";

const $ = (id) => document.getElementById(id);
const review = $("review");
const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const LAST = "Keep at least one photo in each group.";
const NOTHING = "Nothing was removed: the library was changed elsewhere. Look at the list again.";

function sizeWords(size) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (size >= 999.5 && unit < 4) { size /= 1000; unit += 1; }
  return `${size < 99.95 && unit ? size.toFixed(1) : size.toFixed(0)} ${units[unit]}`;
}

// Requests go to the server one after the other, so that undo undoes the last decision.
let turn = Promise.resolve();
function inTurn(work) {
  turn = turn.then(work).catch((error) => say(error.message, { bad: true }));
  return turn;
}

let counts = null; // {kind, at: threshold → groups}, until the next decision

// The groups

const open = () => [...review.querySelectorAll(".group:not(.done)")];
const members = (group) => [...group.querySelectorAll(".members > li")];
const isKept = (member) => member.classList.contains("keep");
const ids = (group, kept) => members(group).filter((member) => isKept(member) === kept).map((member) => member.dataset.id);
const current = () => review.querySelector(".group.current:not(.done)");
const listed = () => review.querySelectorAll(".group:not(.sent)").length; // by the server: decided groups too, until they are sent
const about = () => {
  const asked = new URLSearchParams(location.search);
  return { kind: asked.get("kind") || "near", ...(asked.get("threshold") ? { threshold: +asked.get("threshold") } : {}) };
};

// The switch stays as it was set in this browser.
const MERGE = "merge metadata";
const merging = () => ({ merge_metadata: localStorage.getItem(MERGE) === "yes" });

function mark(group) {
  if (group === current()) return;
  review.querySelector(".group.current")?.classList.remove("current");
  group?.classList.add("current");
}

function goTo(group, gently = false) {
  if (!group) return;
  mark(group);
  group.focus({ preventScroll: true });
  group.scrollIntoView({ block: gently ? "nearest" : "start" });
  const groups = open();
  if (groups.length - groups.indexOf(group) < 5) showMore();
}

function step(by) {
  const groups = open(), at = groups.indexOf(current());
  if (at < 0 || !current().contains(document.activeElement)) return goTo(current() || groups[0]);
  goTo(groups[at + by]);
}

/** Show what is kept and what is removed, on each photo and on the group's button. */
function show(group) {
  const all = members(group), gone = all.filter((member) => !isKept(member));
  for (const member of all) member.querySelector(".fate").setAttribute("aria-checked", isKept(member));
  tellLosses(all, isKept);
  const words = gone.length ? `Remove ${gone.length}, keep ${all.length - gone.length}` : `Keep all ${all.length}`;
  const button = group.querySelector(".apply");
  button.firstElementChild.textContent = words;
  button.disabled = gone.length === all.length;
  button.classList.toggle("removes", gone.length > 0);
  note(group, button.disabled ? LAST : "");
}

function note(group, words) { group.querySelector(".note").textContent = words; }

function toggle(member) {
  if (!member) return;
  member.classList.toggle("keep");
  member.classList.toggle("remove", !isKept(member));
  show(member.closest(".group"));
}

let totals = { groups: 0, duplicates: 0, bytes: 0 }; // of the groups that are left, and of those decided since the last answer

/** Take the totals from a server's answer, which counts every decision sent so far. */
function learnTotals(piece) {
  const told = piece.querySelector(".totals");
  if (!told) return;
  const sent = [...review.querySelectorAll(".group.done.sent")];
  totals = { groups: +told.dataset.groups + sent.length };
  for (const name of ["duplicates", "bytes"]) totals[name] = sent.reduce((sum, group) => sum + +group.dataset[name], +told.dataset[name]);
  told.remove();
}

/** Show in the heading what is left to review. */
function tally() {
  const done = [...review.querySelectorAll(".group.done")];
  const left = (name) => done.reduce((sum, group) => sum - group.dataset[name], totals[name]);
  const groups = totals.groups - done.length;
  const words = { groups: counted(groups, "group"), photos: counted(left("duplicates"), "photo"), bytes: sizeWords(left("bytes")) };
  for (const place of review.querySelectorAll("[data-is]")) place.textContent = words[place.dataset.is];
  document.title = `${groups ? `${words.groups} · ` : ""}Review · SameSpace`;
}

/** Take a decided group out of the list, and go to the next one. */
function fold(group) {
  const groups = open(), at = groups.indexOf(group);
  const next = groups[at + 1] || groups[at - 1];
  group.classList.add("done");
  tally();
  if (next) goTo(next); else if ($("more")) showMore(); else inTurn(renewAll);
}

function unfold(group) {
  group.classList.remove("done", "sent");
  show(group);
  tally();
}

async function fetchPiece(asked) {
  const answer = await fetch(`/review?${asked}`, { headers: { "hx-request": "true", "hx-target": "more" } });
  if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

/** Fetch the groups that these photos are in now; show them before `place`, or instead of it. */
async function renew(photos, place, instead) {
  const asked = new URLSearchParams(location.search);
  asked.set("photos", photos.join(","));
  const piece = await fetchPiece(asked);
  const fresh = [...piece.querySelectorAll(".group")], theirs = new Set(fresh.flatMap((group) => members(group).map((member) => member.dataset.id)));
  for (const stale of open()) if (stale !== place && members(stale).some((member) => theirs.has(member.dataset.id))) stale.remove();
  place.before(...fresh);
  if (instead && fresh.length) place.remove();
  else if (instead) { place.classList.add("sent"); fold(place); }
  prepare(piece);
  if (fresh.length) goTo(fresh[0], true);
}

/** Load the groups that follow those of the server's list which are here. */
function showMore() {
  inTurn(async () => {
    if (!$("more")) return;
    const asked = new URLSearchParams(location.search);
    asked.set("start", listed());
    const piece = await fetchPiece(asked);
    $("more").replaceWith(...[...piece.body.children].filter((part) => part.id && !$(part.id)), ...piece.querySelectorAll("#more"));
    prepare(piece);
  });
}
const end = new IntersectionObserver((seen) => { if (seen.some((each) => each.isIntersecting)) showMore(); }, { rootMargin: "600px" });

const renewAll = () => htmx.ajax("GET", location.pathname + location.search, { target: "#review", swap: "innerHTML" });

// Changes

const pristine = new WeakMap(); // each group as it came
const photosOf = (groups) => groups.flatMap((group) => members(group).map((member) => member.dataset.id));

/** Bring the list up to date after somebody else changed the library; marks and the current group stay. */
async function catchUp() {
  counts = null;
  if (review.querySelector(".comparing")) return; // it asks again by itself, and a second answer would undo what a person does with the first
  if (!$("groups")) return renewAll();
  const all = new URLSearchParams(location.search), fresh = [];
  let piece;
  do {
    all.set("start", fresh.length);
    piece = await fetchPiece(all);
    fresh.push(...piece.querySelectorAll(".group"));
  } while (piece.getElementById("more") && fresh.length < listed());
  if (piece.querySelector(".comparing")) return void setTimeout(() => inTurn(catchUp), 500);
  if (!fresh.length) return renewAll();
  if (+piece.querySelector(".totals").dataset.kinds !== review.querySelectorAll(".kinds a").length) await htmx.ajax("GET", location.pathname + location.search, { target: ".kinds", select: ".kinds", swap: "outerHTML" });
  const before = open(), at = before.indexOf(current());
  const told = before.filter((group) => group.querySelector(".note").textContent || group.querySelector(".caption[open]")); // a person is busy with these
  const busy = new Set(photosOf(told)), stays = new Set(fresh.map((group) => group.id));
  const left = before.filter((group) => !stays.has(group.id) && !told.includes(group));
  for (const group of left) group.remove();
  let last = null, came = 0;
  for (const group of fresh) {
    if (photosOf([group]).some((photo) => busy.has(photo))) continue;
    const old = $(group.id);
    if (old?.matches(".sent")) { unfold(old); came += 1; }
    if (old && (pristine.get(old) === group.outerHTML || old.matches(".done"))) { last = old; continue; }
    pristine.set(group, group.outerHTML);
    if (old) exchange(old, group); else if (last) last.after(group); else $("groups").prepend(group);
    if (!old) came += 1;
    last = group;
  }
  $("more")?.remove();
  $("groups").append(...piece.querySelectorAll("#more"));
  prepare(piece);
  if (at >= 0 && left.includes(before[at])) {
    if ($("compare").open) $("compare").close();
    goTo(before.slice(at).find((group) => !left.includes(group)) || open().at(-1), true);
  }
  const words = [...(left.length ? [`${counted(left.length, "group")} left the list`] : []), ...(came ? [`${counted(came, "group")} came`] : [])];
  // Why something was refused is not to be missed: the list shows for itself that it changed.
  if (words.length && !document.querySelector(".toast.bad")) say(`The library was changed elsewhere: ${words.join(", ")}.`);
}

/** Put a newer version in a group's place; its marks stay. */
function exchange(old, group) {
  const spots = (one) => [one, ...one.querySelectorAll("a, button, summary")];
  const focused = spots(old).indexOf(document.activeElement), marks = new Map(members(old).map((member) => [member.dataset.id, isKept(member)]));
  for (const member of members(group)) if (marks.has(member.dataset.id) && marks.get(member.dataset.id) !== isKept(member)) { member.classList.toggle("keep"); member.classList.toggle("remove"); }
  if (old === current()) group.classList.add("current");
  old.replaceWith(group);
  if (focused >= 0) (spots(group)[focused] || group).focus({ preventScroll: true });
}
document.addEventListener("changed", () => inTurn(catchUp));

// Decisions

function apply(group) {
  if (!group || group.classList.contains("busy")) return;
  const keep = ids(group, true), remove = ids(group, false);
  if (!keep.length) return say(LAST, { bad: true });
  inTurn(async () => {
    try {
      counts = null;
      const answer = await ask("POST", "/api/apply", { ...about(), ...merging(), groups: [{ keep, remove }] });
      group.classList.add("sent");
      if (answer.skipped.length) leave(group, answer);
      else say(answer.words, { undo });
    } catch (error) {
      unfold(group);
      if (error.status === 422) await renew([...keep, ...remove], group, true); // decided in another window: show what is left
      throw error;
    }
  });
  fold(group);
}

/** Keep the group on the page, with the reason, when some photos could not be moved. */
function leave(group, answer) {
  unfold(group);
  const why = answer.skipped.map((each) => `${each.name}: ${each.reason}`).join(" · ");
  say(answer.words, { bad: true, undo: answer.removed ? undo : undefined });
  const taken = answer.skipped.map((each) => each.photo);
  for (const member of members(group)) if (!isKept(member) && !taken.includes(member.dataset.id)) member.remove();
  show(group);
  note(group, why);
  goTo(group);
}

function tell(group, body) {
  inTurn(async () => {
    counts = null;
    const answer = await ask("POST", "/api/verdicts", { ...body, said: "different", group: group.dataset.id });
    await renew(members(group).map((member) => member.dataset.id), group, true);
    say(answer.words, { undo });
  }).then(() => group.classList.remove("busy"));
  group.classList.add("busy");
}

function unlike(group) {
  if (group && !group.querySelector(".unlike")) return say("These photos are identical, so they stay together.");
  if (group && !group.classList.contains("busy")) tell(group, { photos: members(group).map((member) => member.dataset.id) });
}

function apart(member) {
  const group = member.closest(".group");
  const others = members(group).filter((other) => other !== member).map((other) => other.dataset.id);
  tell(group, { photo0: member.dataset.id, photos: others });
}

function undo() {
  inTurn(async () => {
    counts = null;
    let answer;
    try {
      answer = await ask("POST", "/api/undo", { earlier: false });
    } catch (error) {
      if (error.status === 409) await renewAll(); // perhaps undone in another window
      throw error;
    }
    if (answer.undone === null) {
      if (!await sure("Undo", answer.words, "Bring them back")) return;
      answer = await ask("POST", "/api/undo", { run: answer.run });
    }
    const back = $(`g-${answer.groups[0]}`);
    if (answer.groups.length !== 1 || !$("groups") || !current()) await renewAll();
    else if (back?.classList.contains("done")) unfold(back);
    else await renew(answer.photos, current());
    goTo($(`g-${answer.groups[0]}`) || current());
    const left = answer.skipped.map((each) => `${each.name}: ${each.reason}`).join(" · ");
    say(left ? `${answer.words} ${left}` : answer.words, { bad: Boolean(left) });
  });
}

/** Ask before a large step; resolves to true or false. */
function sure(title, words, yes, removes = false) {
  const dialog = $("sure");
  $("sure-title").textContent = title;
  $("sure-words").textContent = words;
  $("sure-yes").textContent = yes;
  $("sure-yes").classList.toggle("removes", removes);
  dialog.returnValue = "";
  dialog.showModal();
  $("sure-yes").focus();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}
$("sure-yes").addEventListener("click", () => $("sure").close("yes"));
$("sure-no").addEventListener("click", () => $("sure").close(""));

/** Return every group with something to remove: as marked if it is on the page, as suggested if not loaded yet. */
async function everything() {
  const groups = [];
  for (let total = 1; groups.length < total;) {
    const asked = new URLSearchParams({ ...about(), start: groups.length, count: 500 });
    const answer = await ask("GET", `/api/groups?${asked}`);
    if (!answer.groups?.length) break;
    groups.push(...answer.groups);
    total = answer.total;
  }
  return groups.map(({ id, members: photos }) => {
    const seen = $(`g-${id}`), kept = new Map(seen && members(seen).map((member) => [member.dataset.id, isKept(member)]));
    const keeps = (photo) => (kept.has(photo.id) ? kept.get(photo.id) : photo.keep);
    const size = sizeOf(photos.filter((photo) => !keeps(photo)));
    return { keep: photos.filter(keeps).map((photo) => photo.id), remove: photos.filter((photo) => !keeps(photo)).map((photo) => photo.id), size, seen };
  }).filter((group) => group.remove.length);
}

/** Return the bytes of photos to remove, and of the files that go with them: those that leave no photo behind. */
function sizeOf(removed) {
  const ids = new Set(removed.map((photo) => photo.id));
  const partners = removed.flatMap((photo) => photo.partners).filter((partner) => partner.photos.every((id) => ids.has(id)));
  const once = new Map(partners.map((partner) => [`${partner.photos} ${partner.name}`, partner.size]));
  return [...removed.map((photo) => photo.size), ...once.values()].reduce((total, size) => total + size, 0);
}

function applyAll() {
  inTurn(async () => {
    const groups = await everything();
    const empty = groups.find((group) => !group.keep.length);
    if (empty) { goTo(empty.seen); throw new Error(LAST); }
    const photos = groups.reduce((sum, group) => sum + group.remove.length, 0), unseen = groups.filter((group) => !group.seen).length;
    const size = groups.reduce((sum, group) => sum + group.size, 0);
    const words = `${counted(photos, "photo")} from ${counted(groups.length, "group")} (${sizeWords(size)}) will move to quarantine. Every group keeps at least one photo. Press u afterwards to undo.`
      + (unseen ? ` ${counted(unseen, "group")} ${unseen === 1 ? "has" : "have"} not been shown yet: the suggestion applies there.` : "");
    if (!await sure(`Remove ${counted(photos, "photo")}?`, words, `Remove ${counted(photos, "photo")}`, true)) return;
    counts = null;
    say(`Moving ${counted(photos, "photo")} …`);
    let answer;
    try {
      answer = await ask("POST", "/api/apply", { ...about(), ...merging(), groups: groups.map(({ keep, remove }) => ({ keep, remove })) });
    } catch (error) {
      if (error.status !== 422) throw error;
      await catchUp(); // one of the groups was decided in another window
      throw new Error(NOTHING);
    }
    await renewAll();
    const named = ({ name, reason }) => (answer.words.includes(reason) ? name : `${name}: ${reason}`);
    const left = answer.skipped.slice(0, 3).map(named).join(" · ");
    say(left ? `${answer.words} ${left}` : answer.words, { undo, bad: Boolean(left) });
  });
}

// Compare

function compare(group, at = 1) {
  if (!group?.querySelector(".compare")) return; // videos and RAW files show nothing
  goTo(group, true);
  openCompare(members(group), at, { isKept, toggle });
}

function caption(group) {
  if (!group) return;
  const member = document.activeElement.closest(".members > li") || members(group)[0];
  if (member.querySelector(".caption")) edit(member.querySelector(".caption"), group);
}

// The slider shows how many groups there would be before it is released.

async function learnCounts() {
  const { kind } = about();
  if (counts?.kind === kind) return;
  counts = { kind };
  try {
    const answer = await ask("GET", `/api/groups/counts?kind=${kind}`);
    if (answer.state === "ready") counts.at = new Map(answer.positions.map((each) => [each.threshold.toFixed(2), each.groups]));
    else counts = null;
  } catch { counts = null; }
}

function slide(slider) {
  const at = (+slider.value).toFixed(2), groups = counts?.at?.get(at);
  slider.parentElement.querySelector("output").textContent = at;
  $("at").textContent = groups === undefined ? "" : counted(groups, "group");
}

// Events

function prepare(piece = review) {
  learnTotals(piece);
  for (const group of review.querySelectorAll(".group:not(.ready)")) {
    if (!pristine.has(group)) pristine.set(group, group.outerHTML);
    group.classList.add("ready");
    show(group);
  }
  if (!current()) mark(open()[0]);
  if ($("merge")) $("merge").checked = merging().merge_metadata;
  end.disconnect();
  if ($("more")) end.observe($("more"));
  tally();
}

review.addEventListener("click", (event) => {
  const on = (what) => event.target.closest(what);
  const group = on(".group");
  if (on("#apply-all")) return applyAll();
  if (!group) return;
  mark(group);
  if (on(".caption")) return;
  if (on(".shot")) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    return compare(group, Math.max(1, members(group).indexOf(on("li"))));
  }
  // After a click, Enter must apply the group, not press the same button again.
  if (event.detail) group.focus({ preventScroll: true });
  if (on(".fate")) toggle(on("li"));
  else if (on(".apart")) apart(on("li"));
  else if (on(".apply")) apply(group);
  else if (on(".unlike")) unlike(group);
  else if (on(".compare")) compare(group);
});
// Before the form hears of it, which would ask for the groups again.
review.addEventListener("change", (event) => {
  if (event.target.id !== "merge") return;
  event.stopPropagation();
  localStorage.setItem(MERGE, event.target.checked ? "yes" : "no");
}, true);
review.addEventListener("focusin", (event) => { const group = event.target.closest(".group"); if (group) mark(group); });
review.addEventListener("pointerover", (event) => { if (event.target.id === "threshold") learnCounts(); });
review.addEventListener("input", async (event) => {
  if (event.target.id !== "threshold") return;
  slide(event.target);
  await learnCounts();
  if ($("threshold")) slide($("threshold"));
});
const onPage = {
  j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
  Enter: () => apply(current()), n: () => unlike(current()), u: undo, c: () => compare(current()),
  e: () => caption(current()),
};
document.addEventListener("keydown", (event) => {
  if (!isForPage(event) || event.shiftKey || document.querySelector("dialog[open]")) return;
  const moves = event.key === "j" || event.key === "k" || event.key.startsWith("Arrow");
  if (event.repeat && !moves) return; // a key held down must not run through all groups
  if (event.target.matches("input, select") && (event.key.startsWith("Arrow") || event.key === "Enter")) return;
  if (event.key === "Enter" && event.target.closest("a, button, summary")) return;
  const action = /^[1-9]$/.test(event.key) ? () => current() && toggle(members(current())[event.key - 1]) : onPage[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

// An answer for a threshold that the slider has left meanwhile is dropped: the form asks again.
document.body.addEventListener("htmx:beforeSwap", (event) => {
  const { elt, parameters } = event.detail.requestConfig;
  if (elt.matches("form.bar") && $("threshold") && parameters.threshold !== $("threshold").value) event.detail.shouldSwap = false;
});
// After settling, not after the swap: until then htmx keeps the old classes, and takes away what is added to them.
document.body.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.target?.id !== "review") return;
  prepare();
  if (counts && $("threshold")) slide($("threshold"));
  if (document.activeElement.id === "sort") document.activeElement.blur(); // otherwise it would swallow the page's keys
});
prepare();
