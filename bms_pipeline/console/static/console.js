// Comfort only: every page works without it.
"use strict";

const enhance = (root) => {
  for (const all of root.querySelectorAll("[data-ticks]")) {
    all.hidden = false;
    all.addEventListener("change", () => {
      for (const box of document.getElementsByName(all.dataset.ticks)) box.checked = all.checked;
    });
  }
  for (const toggle of root.querySelectorAll("[data-opens]")) {
    const other = document.getElementsByName(toggle.dataset.opens)[0];
    const show = () => { other.disabled = !toggle.checked; };
    toggle.addEventListener("change", show);
    show();
  }
};
enhance(document);

const renew = async () => {
  try {
    const answer = await fetch(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("live");
    if (!fresh) { location.reload(); return; }
    showMoments(page);
    for (const part of [".as-of", "#live"]) {
      const [shown, renewed] = [document.querySelector(part), page.querySelector(part)];
      const isInUse = fresh.dataset.renew && shown.contains(document.activeElement);
      if (shown.innerHTML !== renewed.innerHTML && !isInUse) shown.replaceChildren(...renewed.childNodes);
    }
    if (fresh.dataset.renew) { setTimeout(renew, Number(fresh.dataset.renew)); return; }
    // The run has ended, and with it all of the page is another one. The live part stays, so that it is read out.
    const live = document.getElementById("live");
    delete live.dataset.renew;
    fresh.replaceWith(live);
    document.querySelector("main").replaceChildren(...page.querySelector("main").childNodes);
  } catch {
    setTimeout(renew, 5000);
  }
};
// A part that is under way, on a page whose forms may be half filled in: only the part is renewed.
const renewHere = async (part) => {
  try {
    const answer = await fetch(part.dataset.renewHere);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById(part.id);
    if (!fresh) { location.reload(); return; }
    showMoments(page);
    if (part.innerHTML !== fresh.innerHTML) part.replaceChildren(...fresh.childNodes);
    if (fresh.dataset.renewHere) setTimeout(renewHere, 1500, part); else delete part.dataset.renewHere;
  } catch {
    setTimeout(renewHere, 5000, part);
  }
};
for (const part of document.querySelectorAll("[data-renew-here]")) setTimeout(renewHere, 1500, part);

const live = document.querySelector("#live[data-renew]");
if (live) setTimeout(renew, Number(live.dataset.renew));

// Decisions without leaving the list. Each is sent as its form would be; meanwhile the next record has the focus, and
// what is decided until the answer comes goes out together.
const heard = document.getElementById("heard");
const list = () => document.getElementById("list");
const itemOf = (node) => node?.closest?.("[data-item]");
const items = (open) => [...document.querySelectorAll(`[data-item]${open ? "[data-waits]:not([data-sent])" : ""}`)];
const focusItem = (item) => (item?.querySelector("a, h2") ?? document.querySelector("main h1")).focus();
let unsent = [], isSending = false, following = [];

const moveOn = (item) => {
  const all = items(false), after = all.slice(all.indexOf(item) + 1);
  following = [...after, ...all].filter((other) => other !== item).map((other) => other.dataset.item);
  focusItem([...after, ...all].find((other) => "waits" in other.dataset && !("sent" in other.dataset)));
};

const decide = (form, act, item) => {
  const fields = new URLSearchParams(new FormData(form));
  fields.delete("act");
  if (item && form.matches(".decide")) {
    for (const name of [...fields.keys()]) if (/^(stamp\.|ticked$|of$)/.test(name)) fields.delete(name);
    fields.append(`stamp.${item.dataset.item}`, form.elements[`stamp.${item.dataset.item}`].value);
  }
  if (act) fields.append("act", act);
  fields.append("stay", "1");
  unsent.push({ action: form.getAttribute("action"), fields, id: item?.dataset.item, joins: form.matches(".decide") && !!item });
  if (item) {
    item.dataset.sent = "";
    item.querySelector(".ask")?.remove();
    if (itemOf(document.activeElement) === item || document.activeElement === document.body) moveOn(item);
  }
  send();
};

const send = async () => {
  if (isSending || !unsent.length) return;
  isSending = true;
  document.querySelector("main").setAttribute("aria-busy", "true");
  const first = unsent.shift();
  while (first.joins && unsent[0]?.joins && unsent[0].action === first.action) {
    for (const [name, value] of unsent.shift().fields) {
      if (name === "act" || name.startsWith("stamp.")) first.fields.append(name, value);
    }
  }
  try {
    const answer = await fetch(first.action, { method: "POST", body: first.fields });
    show(new DOMParser().parseFromString(await answer.text(), "text/html"), answer);
  } catch {
    location.reload();
  }
  isSending = false;
  if (!unsent.length) document.querySelector("main").removeAttribute("aria-busy");
  send();
};

const show = (page, answer) => {
  const renewed = page.getElementById("list");
  if (!renewed || !answer.ok) {
    if (answer.ok) { location.assign(answer.url); return; }
    unsent = [];
    document.querySelector("main").replaceWith(document.adoptNode(page.querySelector("main")));
    document.querySelector("main").focus();
    return;
  }
  const had = document.activeElement, id = itemOf(had)?.dataset.item, key = had.dataset?.key;
  const isInside = list().contains(had) || had === document.body || had.matches("h1");
  const ask = document.querySelector(".ask"), refused = [...list().querySelectorAll(".news .refused")].slice(-5);
  list().replaceWith(document.adoptNode(renewed));
  if (!document.querySelector(".top").contains(had)) {
    document.querySelector(".top").replaceWith(document.adoptNode(page.querySelector(".top")));
  }
  enhance(list());
  for (const { id: sent } of unsent) {
    const item = items(false).find((other) => other.dataset.item === sent);
    if (item) item.dataset.sent = "";
  }
  heard.textContent = [...list().querySelectorAll(".news:not([data-old]) .text")].map((text) => text.textContent).join(" ");
  list().querySelector(".news ul")?.prepend(...refused); // until the page is left: nobody misses one
  if (!isInside) return;
  const open = items(true), same = items(false).find((item) => item.dataset.item === id);
  if (same && !("sent" in same.dataset)) {
    if (ask && itemOf(ask) === null && ask.dataset.of === id) same.lastElementChild.append(ask);
    ((key && same.querySelector(`[data-key="${key}"]`)) || same.querySelector("a, h2")).focus({ preventScroll: true });
  } else {
    focusItem(following.map((next) => open.find((item) => item.dataset.item === next)).find(Boolean) ?? open[0]);
  }
};

const actOf = (button) => button.dataset.act ?? button.value;

const askOnce = (item, button) => {
  item.querySelector(".ask")?.remove();
  const ask = document.createElement("p"), yes = document.createElement("button");
  ask.className = "ask";
  ask.setAttribute("role", "alert");
  ask.dataset.of = item.dataset.item;
  ask.dataset.act = actOf(button);
  ask.textContent = `${button.dataset.ask} ${button.dataset.key ? `Press ${button.dataset.key} again, or ` : ""}`;
  yes.type = "button";
  yes.textContent = "Yes";
  yes.addEventListener("click", () => decide(button.closest("form"), actOf(button), item));
  ask.append(yes);
  (button.closest("td") ?? item).append(ask);
};

// Press a button as a person means it: one with a question asks first, and the second press answers.
const press = (button) => {
  const item = itemOf(button), isAsked = item?.querySelector(".ask")?.dataset.act === actOf(button);
  if (button.dataset.ask && !isAsked) askOnce(item, button);
  else if (!("sent" in (item?.dataset ?? {}))) decide(button.closest("form"), actOf(button), item);
};

const openInPlace = async (link) => {
  const item = itemOf(link), shown = item.nextElementSibling;
  if (shown?.matches(".in-place")) { shown.remove(); link.focus(); return; }
  const answer = await fetch(link.href);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const row = document.createElement("tr"), cell = row.insertCell();
  row.className = "in-place";
  cell.colSpan = item.children.length;
  const found = page.querySelector(".suggestions"), more = document.createElement("a");
  more.href = link.href;
  more.textContent = "Search in Passportal, or decide with a reason";
  if (found) cell.append(document.adoptNode(found));
  cell.append(more);
  // A form cannot lie in the list's form: its buttons act for the record's row.
  for (const form of cell.querySelectorAll("form")) {
    for (const button of form.querySelectorAll("button[value]")) {
      button.type = "button";
      button.addEventListener("click", () => decide(item.closest("form"), button.value, item));
      form.before(button);
    }
    form.remove();
  }
  item.after(row);
  (cell.querySelector("button") ?? more).focus();
};

document.addEventListener("submit", (event) => {
  const form = event.target, button = event.submitter;
  if (!list()?.contains(form) || !("stays" in form.dataset) || button?.value.startsWith("page:")) return;
  event.preventDefault();
  const item = button?.value.includes(":") ? itemOf(button) : null;
  if (item) press(button);
  else decide(form, button?.value, null);
});

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-act], a[data-in-place]");
  if (!link || !list()?.contains(link) || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  if ("inPlace" in link.dataset) openInPlace(link);
  else press(link);
});

const keys = document.getElementById("keys");
const openKeys = () => { if (!keys.open) keys.showModal(); };
for (const button of document.querySelectorAll("[data-opens-keys]")) {
  button.hidden = false;
  button.addEventListener("click", openKeys);
}
const undoLast = () => {
  const last = unsent.pop();
  if (last) {
    const item = items(false).find((other) => other.dataset.item === last.id);
    if (item) { delete item.dataset.sent; focusItem(item); }
  } else if (!isSending) {
    const all = [...document.querySelectorAll("#list .undo button")];
    const form = (document.querySelector(".news[data-old]") ? all[0] : all.at(-1))?.closest("form");
    if (form) decide(form, null, null);
  }
};
const step = (by) => {
  const all = items(false), at = all.indexOf(itemOf(document.activeElement));
  focusItem(at < 0 ? items(true)[0] ?? all[0] : all[Math.min(Math.max(at + by, 0), all.length - 1)]);
};
const typed = "input:not([type=checkbox], [type=radio]), select, textarea, [contenteditable]";
document.addEventListener("keydown", (event) => {
  if (!list() || !keys || keys.open || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.matches(typed)) return;
  const item = itemOf(document.activeElement) ?? document.querySelector(".in-place")?.previousElementSibling;
  const of = (key) => item?.querySelector(`[data-key="${key}"]`);
  const acts = {
    j: () => step(1),
    k: () => step(-1),
    m: () => of("m") && press(of("m")),
    c: () => of("c") && press(of("c")),
    x: () => of("x") && press(of("x")),
    o: () => item?.querySelector("[data-in-place]")?.click(),
    u: undoLast,
    "/": () => document.getElementById("q")?.focus(),
    "?": openKeys,
    Escape: () => item?.querySelector(".ask")?.remove(),
  };
  if (!(event.key in acts)) return;
  event.preventDefault();
  acts[event.key]();
});
