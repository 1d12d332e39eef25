// Metric against memory: axes, budgets and the whole figure.

function logTicks(low, high) {
  const ticks = [];
  const decades = Math.ceil(Math.log10(high)) - Math.floor(Math.log10(low)) + 1;
  for (let decade = Math.floor(Math.log10(low)); decade <= Math.ceil(Math.log10(high)); decade += 1) {
    for (const step of decades <= 5 ? [1, 2, 5] : [1]) {
      const tick = Number(step + "e" + decade);
      if (tick >= low && tick <= high) { ticks.push(tick); }
    }
  }
  return ticks;
}

// the range of the axis of peaks in units, and whether it is logarithmic
function plotRange(placed) {
  const peaks = [...placed.map(peakOf), ...data.budgets.map((each) => each.bytes),
    ...data.reference.map((each) => each.peak_bytes)].map(inUnit);
  if (!peaks.length) { return { range: [0, 1], isLog: false }; }
  const lowest = peaks.reduce((a, b) => Math.min(a, b));
  const highest = peaks.reduce((a, b) => Math.max(a, b));
  if (highest > data.logAxisRatio * lowest) { return { range: [lowest / 1.3, highest * 1.3], isLog: true }; }
  const air = 0.06 * (highest - lowest) || 0.1 * highest || 1;
  return { range: [Math.max(0, lowest - air), highest + air], isLog: false };
}

function plotTraces(kinds, shown, fronts) {
  const largest = inUnit(Math.max(0, ...data.budgets.map((each) => each.bytes)));
  const lines = [...fronts.map((front, run) => stepsTrace(front, run, largest)),
    ...data.runs.map((_, run) => sureTrace(shown, run))];
  const points = [];
  for (const kind of Object.keys(data.marks)) {
    data.runs.forEach((_, run) => {
      const indices = [...kinds.keys()].filter((index) => kinds.get(index) === kind && trials.run[index] === run);
      if (indices.length) { points.push(pointsTrace(kind, run, indices)); }
    });
  }
  return [...lines.filter((line) => line && line.x.length), ...points, ...referenceTraces()];
}

function budgetLine(budget) {
  const x = inUnit(budget.bytes);
  return { type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, layer: "below",
    line: { color: "@muted", width: 1.5, dash: "dash" } };
}

function budgetLabels(isLog, rows) {
  const place = (bytes) => (isLog ? Math.log10(inUnit(bytes)) : inUnit(bytes));
  return data.budgets.map((each, index) => ({ x: place(each.bytes), y: 1, yref: "paper",
    yanchor: "bottom", yshift: 16 * rows[index], text: "<b>" + each.text + "</b>",
    showarrow: false, font: { color: "@muted", size: 12 } }));
}

function peakAxis(range, isLog) {
  const peakText = data.peaks.find((each) => each.name === state.peak).text;
  const axis = { gridcolor: "@grid", linecolor: "@grid", zeroline: false, automargin: true, showgrid: false,
    title: { text: "peak memory, " + peakText + " (" + data.unit + ")", standoff: 8 },
    type: isLog ? "log" : "linear", range: isLog ? range.map(Math.log10) : range };
  if (isLog) {
    const ticks = logTicks(range[0], range[1]);
    Object.assign(axis, { tickvals: ticks, ticktext: ticks.map(String) });
  }
  return axis;
}

function plotLayout(range, isLog) {
  const labels = levels(range, isLog);
  return {
    paper_bgcolor: "@surface", plot_bgcolor: "@surface",
    font: { color: "@text", family: "system-ui, sans-serif", size: 13 },
    hoverlabel: { bgcolor: "@surface", bordercolor: "@muted", font: { color: "@text" }, align: "left" },
    hovermode: "closest", dragmode: false, showlegend: true,
    margin: { l: 48, r: 12, t: 18 + 16 * labels.count, b: 48 },
    legend: { orientation: "h", x: 0, y: -0.2, yanchor: "top" },
    xaxis: Object.assign(peakAxis(range, isLog), { anchor: "y" }),
    yaxis: { gridcolor: "@grid", linecolor: "@grid", zeroline: false, automargin: true,
      title: { text: escaped(data.metricName) }, domain: [0, 1] },
    annotations: budgetLabels(isLog, labels.rows),
  };
}

// a strip under the plot for trials without a result
function addStrip(layout) {
  layout.xaxis.anchor = "y2";
  layout.yaxis.domain = [0.24, 1];
  layout.yaxis2 = { domain: [0, 0.15], range: [data.strip.length - 0.4, -0.6], showticklabels: false,
    showgrid: false, zeroline: false, fixedrange: true };
  layout.annotations.push(note("no result", 0, 0.15, "left"));
}

function paretoFigure(shown, fronts) {
  const kinds = kindsOf(shown);
  const placed = [...kinds.keys()];
  const inStrip = (index) => data.strip.includes(kinds.get(index));
  const { range, isLog } = plotRange(placed);
  const layout = plotLayout(range, isLog);
  if (placed.some(inStrip)) { addStrip(layout); }
  const hasResults = !placed.every(inStrip);
  if (!hasResults) {
    const text = placed.length ? "no trial has a result" : "no trial is shown";
    layout.annotations.push(note(text, 0.5, 0.6, "center"));
  }
  if (!hasResults && !data.reference.length) {
    Object.assign(layout.yaxis, { range: [0, 1], showticklabels: false });
  }
  shapesBelow = data.budgets.map(budgetLine);
  chosenRange = range;
  layout.shapes = [...shapesBelow, ...chosenShapes(range)];
  return { data: plotTraces(kinds, shown, fronts), layout: layout };
}

// lines that stay when the slider moves
let shapesBelow = [];
let chosenRange = [0, 1];

function note(text, x, y, anchor) {
  return { text: text, x: x, y: y, xref: "paper", yref: "paper", xanchor: anchor, yanchor: "bottom",
    showarrow: false, font: { color: "@muted", size: 12 } };
}

// which row each budget's label stands in, so that near ones do not overlap
function levels(range, isLog) {
  const position = (bytes) => (isLog
    ? Math.log(inUnit(bytes) / range[0]) / Math.log(range[1] / range[0])
    : (inUnit(bytes) - range[0]) / (range[1] - range[0]));
  const last = [];
  const rows = data.budgets.map((each) => {
    const x = position(each.bytes);
    let row = last.findIndex((other) => x - other >= 0.12);
    if (row < 0) { row = last.length; }
    last[row] = x;
    return row;
  });
  return { rows: rows, count: Math.max(1, last.length) };
}

function chosenShapes(range) {
  if (state.budget === null) { return []; }
  const x = inUnit(state.budget);
  const line = { type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1,
    line: { color: "@front", width: 2 } };
  const beyond = { type: "rect", x0: x, x1: Math.max(x, range[1] * 10), yref: "paper", y0: 0, y1: 1,
    layer: "below", fillcolor: "@muted", opacity: 0.1, line: { width: 0 } };
  return [line, beyond];
}
