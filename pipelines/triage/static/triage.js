// Shorter ways with the keyboard; every page works without this file.
"use strict";
(() => {
  const stored = "single-keys";
  const on = () => localStorage.getItem(stored) !== "off";
  const box = document.getElementById("keys-on");
  if (box) {
    box.disabled = false;
    box.checked = on();
    box.addEventListener("change", () => localStorage.setItem(stored, box.checked ? "on" : "off"));
  }
  const cases = [...document.querySelectorAll("a.case")];
  const step = (by) => {
    if (!cases.length) return;
    const at = cases.indexOf(document.activeElement);
    const next = at < 0 ? (by > 0 ? 0 : cases.length - 1) : at + by;
    const link = cases[Math.min(Math.max(next, 0), cases.length - 1)];
    link.focus();
    link.scrollIntoView({ block: "nearest" });
  };
  const follow = (selector) => document.querySelector(selector)?.click();
  const focus = (selector) => document.querySelector(selector)?.focus();
  const keys = {
    j: () => step(1),
    k: () => step(-1),
    n: () => follow("a[rel=next]"),
    p: () => follow("a[rel=prev]"),
    w: () => focus("#why"),
    q: () => location.assign("/"),
    "/": () => focus("input[type=search]"),
    "?": () => location.assign("/keys"),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest("input:not([type=checkbox]), textarea, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (!on() || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
})();
