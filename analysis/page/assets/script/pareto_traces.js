// Metric against memory: points and lines of the plot.

function inUnit(bytes) { return bytes / data.unitBytes; }

function runLabel(run, label) { return data.runs.length > 1 ? data.runs[run] + ": " + label : label; }

function markerOf(kind, run) {
  const marker = JSON.parse(JSON.stringify(data.marks[kind].marker));
  if (data.runs.length > 1) {
    const colour = "@" + data.cycle[run % data.cycle.length];
    marker.color = colour;
    if (marker.line.color !== "@surface") { marker.line.color = colour; }
  }
  return marker;
}

function hover(index, kind) {
  const peakName = kind === "predicted_infeasible" ? "predicted peak " : "peak ";
  const head = (trials.metric[index] !== null && !data.strip.includes(kind)
    ? escaped(data.metricName) + " " + metricText(trials.metric[index]) + ", " : "")
    + peakName + bytesText(peakOf(index));
  const seeds = trials.num_seeds[index] === null ? [] : [trials.num_seeds[index] + " seeds: "
    + metricText(trials.mean[index]) + " \u00b1 " + metricText(trials.deviation[index])];
  return ["<b>" + head + "</b>", ...seeds, ...describe(index).map(escaped),
    "trial " + escaped(trials.trial_id[index]) + ": " + escaped(runLabel(trials.run[index],
      data.marks[kind].label))].join("<br>");
}

function stepsTrace(front, run, until) {
  const x = [];
  const y = [];
  for (const index of front) {
    if (y.length) { x.push(inUnit(peakOf(index))); y.push(y[y.length - 1]); }
    x.push(inUnit(peakOf(index)));
    y.push(trials.metric[index]);
  }
  if (x.length && until > x[x.length - 1]) { x.push(until); y.push(y[y.length - 1]); }
  const colour = data.runs.length > 1 ? data.cycle[run % data.cycle.length] : "front";
  return { type: "scatter", mode: "lines", x: x, y: y, hoverinfo: "skip",
    name: escaped(runLabel(run, "best " + data.metricName + " in that much memory")),
    line: { color: "@" + colour, width: 2 } };
}

// what every seed reaches, over the configurations that were trained with several
function sureTrace(shown, run) {
  const seeds = new Map();
  for (const index of shown) {
    if (trials.run[index] === run && trials.configuration[index] !== null && trials.status[index] === "completed"
      && peakOf(index) !== null && trials.metric[index] !== null) {
      seeds.set(trials.seed[index], [...(seeds.get(trials.seed[index]) || []), index]);
    }
  }
  if (seeds.size < 2) { return null; }
  const peaks = [...new Set([...seeds.values()].flat().map(peakOf))].sort((a, b) => a - b);
  const reached = (indices, peak) => indices.filter((index) => peakOf(index) <= peak)
    .reduce((best, index) => Math.max(best, trials.metric[index]), -Infinity);
  const x = [];
  const y = [];
  for (const peak of peaks) {
    const least = Math.min(...[...seeds.values()].map((indices) => reached(indices, peak)));
    if (least > (y.length ? y[y.length - 1] : -Infinity)) {
      if (y.length) { x.push(inUnit(peak)); y.push(y[y.length - 1]); }
      x.push(inUnit(peak));
      y.push(least);
    }
  }
  const colour = data.runs.length > 1 ? data.cycle[run % data.cycle.length] : "front";
  return { type: "scatter", mode: "lines", x: x, y: y, hoverinfo: "skip", name: escaped(runLabel(run, data.sure)),
    line: { color: "@" + colour, width: 1.5, dash: "dot" } };
}

function pointsTrace(kind, run, indices) {
  const inStrip = data.strip.includes(kind);
  const trace = { type: "scatter", mode: "markers", marker: markerOf(kind, run),
    name: escaped(runLabel(run, data.marks[kind].label)) + " (" + indices.length + ")",
    x: indices.map((index) => inUnit(peakOf(index))),
    y: indices.map((index) => (inStrip ? data.strip.indexOf(kind) : trials.metric[index])),
    yaxis: inStrip ? "y2" : "y", customdata: indices,
    text: indices.map((index) => hover(index, kind)), hovertemplate: "%{text}<extra></extra>" };
  if (!inStrip && indices.some((index) => trials.low[index] !== null)) {
    const distance = (ends) => indices.map((index) =>
      (ends[index] === null ? 0 : Math.abs(ends[index] - trials.metric[index])));
    trace.error_y = { type: "data", symmetric: false, array: distance(trials.high),
      arrayminus: distance(trials.low), color: trace.marker.color, thickness: 1.2 };
  }
  return trace;
}

function referenceTraces() {
  const traces = {};
  for (const point of data.reference) {
    traces[point.label] = traces[point.label] || { type: "scatter", mode: "markers", x: [], y: [],
      name: escaped(point.label), marker: point.marker, text: [],
      hovertemplate: "%{text}<extra></extra>" };
    traces[point.label].x.push(inUnit(point.peak_bytes));
    traces[point.label].y.push(point.metric);
    traces[point.label].text.push(point.text);
  }
  return Object.values(traces);
}

// the mark of each trial: over budget (by the chosen kind of peak), or on the front of the shown ones
function kindsOf(shown) {
  const onFront = new Set(front);
  const kinds = new Map();
  for (const index of shown) {
    let kind = trials.kind[index];
    const isDone = kind === "candidate" || kind === "replicate";
    const budget = trials.budget_bytes[index];
    if (isDone && budget !== null && peakOf(index) > budget) {
      kind = "over_budget";
    } else if (kind === "candidate") {
      kind = onFront.has(index) ? "front" : "dominated";
    }
    const inStrip = data.strip.includes(kind);
    if (data.marks[kind] && peakOf(index) !== null && (inStrip || trials.metric[index] !== null)) {
      kinds.set(index, kind);
    }
  }
  return kinds;
}
