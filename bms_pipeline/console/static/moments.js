// Shows times by the reader's clock, and how long ago they were. Without this script they are in UTC.
"use strict";

const showMoments = (part) => {
  const relative = new Intl.RelativeTimeFormat("en", { style: "short" });
  const now = new Date();
  for (const time of part.querySelectorAll("time.moment")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const clock = at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
    const year = at.getFullYear() === now.getFullYear() ? undefined : "numeric";
    const day = at.toLocaleDateString("en-GB", { day: "numeric", month: "short", year });
    const minutes = Math.trunc((now - at) / 60000);
    const [count, unit] = Math.abs(minutes) < 60 ? [minutes, "minute"] : [Math.trunc(minutes / 60), "hour"];
    const ago = minutes === 0 ? "just now" : relative.format(-count, unit);
    const isToday = at.toDateString() === now.toDateString();
    const [today, before] = time.classList.contains("day")
      ? [`today at ${clock}`, `on ${day}`]
      : [`${clock}, ${ago}`, `${day}, ${clock}`];
    time.textContent = isToday ? today : before;
    const local = at.toLocaleString("en-GB", { dateStyle: "full", timeStyle: "long" });
    time.title = `${local} (${at.toISOString().slice(0, 19).replace("T", " ")} UTC)`;
  }
};
showMoments(document);

