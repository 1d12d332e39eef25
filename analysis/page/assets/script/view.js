// Drawing again after a change, and the view that the address keeps.

let shown = [];
let front = [];
let fronts = [];

function refresh() {
  shown = visibleTrials();
  front = frontOf(shown);
  fronts = data.runs.map((_, run) => frontOf(shown.filter((index) => trials.run[index] === run)));
  if (byId("explorer")) {
    const place = byId("pareto-plot");
    plot(place, paretoFigure(shown, fronts));
    if (!place.dataset.listens) {
      place.dataset.listens = "yes";
      place.on("plotly_click", (event) => {
        const index = event.points[0].customdata;
        if (Number.isInteger(index)) { pick(index); }
      });
    }
  }
  refreshBudget();
  refreshTable();
}

// the slider moves only a line of the plot: redrawing ten thousand points takes long
function refreshBudget() {
  if (byId("explorer") && state.budget !== null) {
    showAnswer(front);
    const palette = isDark() ? palettes.dark : palettes.light;
    const shapes = [...shapesBelow, ...chosenShapes(chosenRange)];
    Plotly.relayout(byId("pareto-plot"), { shapes: painted(shapes, palette) });
  }
  remember();
}

function refreshTable() { showTable(shown); remember(); }

// the address keeps only what differs from the first view
function remember() {
  const kept = {};
  // by value: once the sweep has more trials, the same index may mean another value
  const hidden = data.filters.filter((filter) => (state.hidden[filter.name] || []).length)
    .map((filter) => [filter.name, state.hidden[filter.name].map((code) => filter.choices[code])]);
  if (hidden.length) { kept.hidden = Object.fromEntries(hidden); }
  for (const [name, first] of [["peak", "peak_allocated_bytes"], ["theme", "auto"]]) {
    if (state[name] !== first) { kept[name] = state[name]; }
  }
  if (state.picked !== null) {
    kept.picked = [data.runs[trials.run[state.picked]], trials.trial_id[state.picked]];
  }
  if (state.budget !== null && state.budget !== firstBudget) { kept.budget = state.budget; }
  const text = Object.keys(kept).length ? "#view=" + encodeURIComponent(JSON.stringify(kept)) : "";
  if (text || location.hash.startsWith("#view=")) {
    try {
      history.replaceState(null, "", text || "#");
    } catch (error) {
      // some browsers forbid this for pages from disk; the view is then not kept
    }
  }
}

function recall() {
  if (!location.hash.startsWith("#view=")) { return; }
  try {
    const kept = JSON.parse(decodeURIComponent(location.hash.slice(6)));
    for (const filter of data.filters) {
      const values = (kept.hidden || {})[filter.name];
      if (Array.isArray(values)) {
        state.hidden[filter.name] = values.map((value) => filter.choices.indexOf(value))
          .filter((code) => code >= 0);
      }
    }
    if (data.peaks.some((peak) => peak.name === kept.peak)) { state.peak = kept.peak; }
    if (Number.isFinite(kept.budget)) { state.budget = kept.budget; }
    if (["light", "dark"].includes(kept.theme)) { state.theme = kept.theme; }
    if (Array.isArray(kept.picked)) {
      const [run, name] = kept.picked;
      const index = trials.trial_id.findIndex((id, place) => id === name && data.runs[trials.run[place]] === run);
      state.picked = index < 0 ? null : index;
    }
  } catch (error) {
    // a damaged address shows the first view
  }
}
