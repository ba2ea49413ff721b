// Keeps the numbers of a page fresh. Everything works without it.
"use strict";

(() => {
  const EVERY = 4000;
  const parts = (page) => [...page.querySelectorAll("[data-live]")];
  if (!parts(document).length) return;

  // A part in which somebody reads or types is left alone.
  const busy = (part) => part.contains(document.activeElement) || part.querySelector("details[open]");

  // "3 min ago" is no news: only the texts of times are exchanged then, so nothing moves.
  const withoutTimes = (part) => {
    const copy = part.cloneNode(true);
    for (const time of copy.querySelectorAll("time")) time.replaceChildren();
    return copy.innerHTML;
  };

  const renew = (old, fresh) => {
    if (withoutTimes(old) === withoutTimes(fresh)) {
      const times = fresh.querySelectorAll("time");
      old.querySelectorAll("time").forEach((time, index) => {
        if (time.textContent !== times[index].textContent) time.textContent = times[index].textContent;
        time.dateTime = times[index].dateTime;
        time.title = times[index].title;
      });
    } else if (!busy(old)) {
      old.innerHTML = fresh.innerHTML;
    }
  };

  const refresh = async () => {
    if (document.hidden) return;
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const old = parts(document);
    const fresh = parts(page);
    if (old.map((part) => part.id).join() === fresh.map((part) => part.id).join()) {
      old.forEach((part, index) => renew(part, fresh[index]));
    } else if (!old.some(busy)) {
      document.querySelector("main").replaceChildren(...page.querySelector("main").childNodes);
    }
  };

  const loop = () => setTimeout(() => refresh().catch(() => {}).finally(loop), EVERY);
  loop();
})();
