// Keeps the page live: fetches its changing part each second and changes what differs. The page is whole without it.
"use strict";
(() => {
  const live = document.getElementById("live");
  const link = document.getElementById("link");
  let failures = 0;

  const say = (text, bad) => {
    if (link.textContent !== text) link.textContent = text;
    document.body.classList.toggle("stale", bad);
  };

  // Elements stay where they are, so that a table keeps its place, the keyboard its focus and a finger its grip.
  const renew = (old, fresh) => {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(fresh);
    } else if (old.nodeType === Node.ELEMENT_NODE) {
      for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
      for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
      fill(old, fresh);
    } else if (old.data !== fresh.data) {
      old.data = fresh.data;
    }
  };
  const fill = (old, fresh) => {
    const wanted = [...fresh.childNodes];
    while (old.childNodes.length > wanted.length) old.lastChild.remove();
    wanted.forEach((node, i) => (i < old.childNodes.length ? renew(old.childNodes[i], node) : old.append(node)));
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
          fill(live, new DOMParser().parseFromString(html, "text/html").body);
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
