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

function paretoFigure(shown, fronts) {
  const kinds = kindsOf(shown);
  const placed = [...kinds.keys()];
  const budgets = data.budgets.map((each) => each.bytes);
  const peaks = [...placed.map(peakOf), ...budgets, ...data.reference.map((each) => each.peak_bytes)]
    .map(inUnit);
  const lowest = peaks.reduce((a, b) => Math.min(a, b), Infinity);
  const highest = peaks.reduce((a, b) => Math.max(a, b), 0);
  const isLog = highest > data.logAxisRatio * lowest;
  const air = 0.06 * (highest - lowest) || 0.1 * highest || 1;
  const range = !peaks.length ? [0, 1]
    : isLog ? [lowest / 1.3, highest * 1.3] : [Math.max(0, lowest - air), highest + air];
  const traces = fronts.map((front, run) => stepsTrace(front, run,
    inUnit(Math.max(0, ...budgets)))).filter((trace) => trace.x.length);
  traces.push(...data.runs.map((_, run) => sureTrace(shown, run)).filter((trace) => trace && trace.x.length));
  for (const kind of Object.keys(data.marks)) {
    data.runs.forEach((_, run) => {
      const indices = placed.filter((index) => kinds.get(index) === kind && trials.run[index] === run);
      if (indices.length) { traces.push(pointsTrace(kind, run, indices)); }
    });
  }
  traces.push(...referenceTraces());
  const hasStrip = placed.some((index) => data.strip.includes(kinds.get(index)));
  const axis = { gridcolor: "@grid", linecolor: "@grid", zeroline: false, automargin: true };
  const place = (bytes) => (isLog ? Math.log10(inUnit(bytes)) : inUnit(bytes));
  const peakText = data.peaks.find((each) => each.name === state.peak).text;
  const layout = {
    paper_bgcolor: "@surface", plot_bgcolor: "@surface",
    font: { color: "@text", family: "system-ui, sans-serif", size: 13 },
    hoverlabel: { bgcolor: "@surface", bordercolor: "@muted", font: { color: "@text" }, align: "left" },
    hovermode: "closest", dragmode: false, showlegend: true,
    margin: { l: 48, r: 12, t: 18 + 16 * levels(range, isLog).count, b: 48 },
    legend: { orientation: "h", x: 0, y: -0.2, yanchor: "top" },
    xaxis: Object.assign({}, axis, { title: { text: "peak memory, " + peakText + " (" + data.unit + ")",
      standoff: 8 }, type: isLog ? "log" : "linear", showgrid: false,
    range: isLog ? range.map(Math.log10) : range, anchor: hasStrip ? "y2" : "y" }),
    yaxis: Object.assign({}, axis, { title: { text: escaped(data.metricName) },
      domain: [hasStrip ? 0.24 : 0, 1] }),
    shapes: [...data.budgets.map((each) => ({ type: "line", x0: inUnit(each.bytes), x1: inUnit(each.bytes),
      yref: "paper", y0: 0, y1: 1, layer: "below", line: { color: "@muted", width: 1.5, dash: "dash" } })),
    ],
    annotations: data.budgets.map((each, index) => ({ x: place(each.bytes), y: 1, yref: "paper",
      yanchor: "bottom", yshift: 16 * levels(range, isLog).rows[index], text: "<b>" + each.text + "</b>",
      showarrow: false, font: { color: "@muted", size: 12 } })),
  };
  if (isLog) {
    const ticks = logTicks(range[0], range[1]);
    Object.assign(layout.xaxis, { tickvals: ticks, ticktext: ticks.map(String) });
  }
  if (hasStrip) {
    layout.yaxis2 = { domain: [0, 0.15], range: [data.strip.length - 0.4, -0.6], showticklabels: false,
      showgrid: false, zeroline: false, fixedrange: true };
    layout.annotations.push(note("no result", 0, 0.15, "left"));
  }
  const hasResults = placed.some((index) => !data.strip.includes(kinds.get(index)));
  if (!hasResults) {
    layout.annotations.push(note(placed.length ? "no trial has a result" : "no trial is shown", 0.5, 0.6,
      "center"));
  }
  if (!hasResults && !data.reference.length) {
    Object.assign(layout.yaxis, { range: [0, 1], showticklabels: false });
  }
  shapesBelow = layout.shapes;
  chosenRange = range;
  layout.shapes = [...shapesBelow, ...chosenShapes(range)];
  return { data: traces, layout: layout };
}

// what does not move with the slider
let shapesBelow = [];
let chosenRange = [0, 1];

function note(text, x, y, anchor) {
  return { text: text, x: x, y: y, xref: "paper", yref: "paper", xanchor: anchor, yanchor: "bottom",
    showarrow: false, font: { color: "@muted", size: 12 } };
}

// a row for each budget's label, so that near ones do not overprint
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
