// Goes on by itself to the next step of the first sync, once the run has ended that makes its page.
"use strict";

const main = document.querySelector("main[data-then]");
if (main && document.querySelector("#live[data-renew]")) {
  new MutationObserver((_, observer) => {
    const live = document.getElementById("live");
    if (!live || live.dataset.renew) return;
    observer.disconnect();
    if (!main.querySelector("[role=alert]")) location.assign(main.dataset.then);
  }).observe(main, { attributes: true, childList: true, subtree: true });
}

