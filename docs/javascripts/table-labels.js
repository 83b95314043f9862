"use strict";
// On a phone a row is a card without a head (stylesheets/site.css), so each cell says what it is.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll(".md-typeset table")) {
    const heads = [...table.querySelectorAll("thead th")].map((head) => head.textContent.trim());
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.cells].forEach((cell, i) => {
        const names = i === 0 && !/^[\d.,]+$/.test(cell.textContent); // of a setting, column …
        if (heads[i] && !names) cell.dataset.label = `${heads[i]}: `;
      });
    }
  }
});
