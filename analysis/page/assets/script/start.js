// What the page holds as data, and what the reader has chosen.

const byId = (id) => document.getElementById(id);
const read = (id) => JSON.parse(byId(id).textContent);
const palettes = read("palettes");
const data = read("explorer-data");
const figures = read("figures");
const watchSeconds = read("watch");
const trials = data.trials;
const numTrials = trials.trial_id.length;
const PAGE_LENGTH = 100;
const systemIsDark = window.matchMedia("(prefers-color-scheme: dark)");

// what the reader has chosen; the address keeps it, so a link or a reload shows the same
const state = { hidden: {}, peak: "peak_allocated_bytes", budget: null, theme: "auto",
  sort: "metric", descending: true, page: 0, picked: null };

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
