// Colours of the light and the dark theme; drawing and theming of all figures.

function isDark() {
  return state.theme === "dark" || (state.theme === "auto" && systemIsDark.matches);
}

// colours in the figures are names such as "@front"; replaces them in colour keys, never in texts
function painted(value, palette) {
  if (Array.isArray(value)) { return value.map((item) => painted(item, palette)); }
  if (value === null || typeof value !== "object") { return value; }
  const copy = {};
  for (const [key, item] of Object.entries(value)) {
    const isName = /color$/.test(key) && typeof item === "string" && item.startsWith("@");
    copy[key] = isName ? palette[item.slice(1)] : painted(item, palette);
  }
  return copy;
}

function plot(place, figure) {
  const drawn = painted(figure, isDark() ? palettes.dark : palettes.light);
  return Plotly.react(place, drawn.data, drawn.layout,
    { responsive: true, displaylogo: false, displayModeBar: false, doubleClick: false });
}

function drawFigures() {
  for (const place of document.querySelectorAll("[data-figures]")) {
    const panels = figures[place.dataset.figures];
    // all places first: a plot takes the width of its place at the moment it is drawn
    while (place.children.length < panels.length) { place.append(element("div", {})); }
    panels.forEach((figure, index) => {
      if (figure.layout.height) { place.children[index].style.height = figure.layout.height + "px"; }
      plot(place.children[index], figure);
    });
  }
}

// paper is narrower than a window, and nothing tells a figure so
const PAPER_PX = 640;

function fitFigures(toPaper) {
  for (const place of document.querySelectorAll(".js-plotly-plot")) {
    const width = toPaper ? Math.min(PAPER_PX, place.clientWidth) : null;
    Plotly.relayout(place, { width, autosize: !toPaper });
  }
}

function setTheme() {
  const root = document.documentElement;
  if (state.theme === "auto") { root.removeAttribute("data-theme"); } else { root.dataset.theme = state.theme; }
  const button = byId("theme");
  button.textContent = { auto: "Auto", light: "Light", dark: "Dark" }[state.theme];
  button.setAttribute("aria-label", "Colours: " + { auto: "as the system's", light: "light", dark: "dark" }[state.theme]);
}
