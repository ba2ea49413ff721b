// Keeps the numbers of a page fresh. Everything works without it.
"use strict";

(() => {
  const EVERY = 4000;
  const live = document.querySelector("[data-live]");
  if (!live) return;

  const busy = () => live.contains(document.activeElement) || live.querySelector("details[open]");

  const refresh = async () => {
    if (document.hidden || busy()) return;
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("[data-live]");
    if (fresh && !busy() && fresh.innerHTML !== live.innerHTML) live.innerHTML = fresh.innerHTML;
  };

  const loop = () => setTimeout(() => refresh().catch(() => {}).finally(loop), EVERY);
  loop();
})();
