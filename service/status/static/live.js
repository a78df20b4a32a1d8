// Keeps the page live: fetches its changing part each second and puts it in place. The page is whole without it.
"use strict";
(() => {
  const live = document.getElementById("live");
  const link = document.getElementById("link");
  let failures = 0;

  const say = (text, bad) => {
    link.textContent = text;
    document.body.classList.toggle("stale", bad);
  };

  const turn = async () => {
    if (!document.hidden) {
      try {
        const response = await fetch("/live", { cache: "no-store", signal: AbortSignal.timeout(5000) });
        if (!response.ok) throw new Error(String(response.status));
        const html = await response.text();
        // A selection in progress is left alone: a reader is copying a number.
        if (document.getSelection().isCollapsed) {
          // The server escapes every value; parsed apart, nothing in it can run.
          const parsed = new DOMParser().parseFromString(html, "text/html");
          live.replaceChildren(...parsed.body.childNodes);
        }
        failures = 0;
        say("live", false);
      } catch (error) {
        failures += 1;
        say(`no answer from the status service (${failures} tries)`, true);
      }
    }
    setTimeout(turn, Math.min(1000 * 2 ** Math.min(failures, 4), 15000));
  };
  turn();
})();
