// Comfort only: every page works without it.
"use strict";

for (const all of document.querySelectorAll("[data-ticks]")) {
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const each of document.getElementsByName(all.dataset.ticks)) each.checked = all.checked;
  });
}

for (const toggle of document.querySelectorAll("[data-opens]")) {
  const other = document.getElementsByName(toggle.dataset.opens)[0];
  const show = () => { other.disabled = !toggle.checked; };
  toggle.addEventListener("change", show);
  show();
}

const renew = async () => {
  try {
    const answer = await fetch(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("live");
    if (!fresh) { location.reload(); return; }
    showMoments(page);
    for (const part of [".as-of", "#live"]) {
      const [shown, renewed] = [document.querySelector(part), page.querySelector(part)];
      const isInUse = shown.contains(document.activeElement);
      if (shown.innerHTML !== renewed.innerHTML && !isInUse) shown.replaceWith(document.adoptNode(renewed));
    }
    if (fresh.dataset.renew) setTimeout(renew, Number(fresh.dataset.renew));
  } catch {
    setTimeout(renew, 5000);
  }
};
const live = document.querySelector("#live[data-renew]");
if (live) setTimeout(renew, Number(live.dataset.renew));
