(function () {
  "use strict";

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

  // what the reader has chosen; kept in the address, so that a link or a reload shows the same
  const state = { hidden: {}, peak: "peak_allocated_bytes", budget: null, theme: "auto",
    sort: "metric", descending: true, page: 0, picked: null };

  // ---- texts -----------------------------------------------------------------------------

  function metricText(value) {
    if (value === null || value === undefined) { return data.unknown; }
    return Math.abs(value) < 1000 ? value.toFixed(4) : significant(value, 4);
  }

  function significant(value, digits) { return String(Number(value.toPrecision(digits))); }

  function bytesText(value) {
    if (value === null || value === undefined) { return data.unknown; }
    for (const [unit, size] of [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["KB", 1e3]]) {
      if (Math.abs(value) >= size) { return significant(value / size, 4) + unit; }
    }
    return value + "B";
  }

  // a size that reads back as the same bytes, as commands need it
  function exactText(value) {
    const budget = data.budgets.find((each) => each.bytes === value);
    return budget ? budget.text : value + "B";
  }

  function plainText(value) {
    if (value === null || value === undefined) { return data.unknown; }
    return typeof value === "number" && !Number.isInteger(value) ? significant(value, 4) : String(value);
  }

  // Plotly takes some markup in texts; what comes from the data has none
  function escaped(text) {
    const line = String(text).replace(/[\x00-\x1f\x7f\s]+/g, " ");
    return line.slice(0, 300).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  function describe(index) {
    return data.settings
      .filter((setting) => data.values[setting.name][index] !== null)
      .map((setting) => setting.heading + " " + plainText(data.values[setting.name][index]));
  }

  function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  // ---- which trials count ----------------------------------------------------------------

  function visibleTrials() {
    const hidden = data.filters
      .map((filter) => [filter.codes, state.hidden[filter.name] || []])
      .filter(([, names]) => names.length);
    const shown = [];
    for (let index = 0; index < numTrials; index += 1) {
      if (hidden.every(([codes, places]) => !places.includes(codes[index]))) { shown.push(index); }
    }
    return shown;
  }

  function peakOf(index) {
    const peak = trials.kind[index] === "predicted_infeasible"
      ? trials.predicted_peak_bytes[index] : trials[state.peak][index];
    return peak !== null && peak > 0 ? peak : null;
  }

  // one that held more than its own budget still counts for a larger one
  function mayBeBest(index) {
    return trials.kind[index] === "candidate" && peakOf(index) !== null && trials.metric[index] !== null;
  }

  // smaller peak first; of equal peaks the better metric, of equals the first name
  function byPeak(a, b) {
    const order = (x, y) => (x < y ? -1 : x > y ? 1 : 0);
    return peakOf(a) - peakOf(b) || trials.metric[b] - trials.metric[a]
      || order(data.runs[trials.run[a]], data.runs[trials.run[b]])
      || order(trials.trial_id[a], trials.trial_id[b]);
  }

  function frontOf(indices) {
    const sorted = indices.filter(mayBeBest).sort(byPeak);
    const front = [];
    let best = -Infinity;
    let atPeak = null;
    for (const index of sorted) {
      const metric = trials.metric[index];
      const equal = metric === best && peakOf(index) === atPeak;
      if (metric > best || equal) {
        front.push(index);
        best = metric;
        atPeak = peakOf(index);
      }
    }
    return front;
  }

  // along a front metric and peak rise together
  function bestWithin(front, budget) {
    const fitting = front.filter((index) => peakOf(index) <= budget);
    if (!fitting.length) { return null; }
    const top = trials.metric[fitting[fitting.length - 1]];
    return fitting.find((index) => trials.metric[index] === top);
  }

  function commandOf(index, budget) {
    const odd = data.commands.odd[String(index)];
    const template = odd || data.commands.templates[trials.run[index]];
    if (!template) { return null; }
    const named = (text) => text.split(data.commands.placeholder).join(trials.trial_id[index]);
    const set = budget === null || budget === trials.budget_bytes[index]
      ? "" : " --set budget=" + exactText(budget);
    return (odd ? template.before : named(template.before)) + set
      + (odd ? template.after : named(template.after));
  }

  // ---- colours ---------------------------------------------------------------------------

  function isDark() {
    return state.theme === "dark" || (state.theme === "auto" && systemIsDark.matches);
  }

  // colours in the figures are names such as "@front"; only colour keys are looked at, never texts
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
      // all places first: a plot takes the width that its place has when it is drawn
      while (place.children.length < panels.length) { place.append(element("div", {})); }
      panels.forEach((figure, index) => {
        if (figure.layout.height) { place.children[index].style.height = figure.layout.height + "px"; }
        plot(place.children[index], figure);
      });
    }
  }

  // ---- the Pareto plot -------------------------------------------------------------------

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

  // kind as it is drawn: over its budget by the chosen kind of peak, on the front of all that is shown
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

  // ---- the answer for the chosen budget --------------------------------------------------

  function commandBlock(command, label) {
    const code = element("code", { textContent: command });
    const button = element("button", { type: "button", textContent: "Copy" });
    button.dataset.copy = "";
    button.setAttribute("aria-label", "Copy the command of " + label);
    const shown = element("pre", { tabIndex: 0 }, code);
    return element("div", { className: "command" }, shown, button);
  }

  function sentence(index) {
    const seeds = trials.num_seeds[index] === null ? "" : " (over " + trials.num_seeds[index] + " seeds "
      + metricText(trials.mean[index]) + " \u00b1 " + metricText(trials.deviation[index]) + ")";
    return data.metricName + " " + metricText(trials.metric[index]) + seeds + " at a peak of "
      + bytesText(peakOf(index)) + ": " + describe(index).join(", ") + "; trial " + trials.trial_id[index]
      + (data.runs.length > 1 ? " of " + data.runs[trials.run[index]] : "") + ".";
  }

  function showAnswer(front) {
    const place = byId("budget-answer");
    const best = bestWithin(front, state.budget);
    const next = front.find((index) => peakOf(index) > state.budget
      && (best === null || trials.metric[index] > trials.metric[best]));
    const children = [element("p", {}, element("strong", { textContent: "In " + bytesText(state.budget) + ": " }),
      best === null ? "no completed trial that is shown fits." : sentence(best))];
    if (next !== undefined) {
      const gain = best === null ? "" : ", " + metricText(trials.metric[next] - trials.metric[best]) + " more";
      children.push(element("p", { className: "muted", textContent: "More memory would buy: from "
        + bytesText(peakOf(next)) + " on " + data.metricName + " " + metricText(trials.metric[next]) + gain + "." }));
    } else if (best !== null) {
      children.push(element("p", { className: "muted",
        textContent: "More memory bought nothing better among the trials that are shown." }));
    }
    const command = best === null ? null : commandOf(best, state.budget);
    if (command) { children.push(commandBlock(command, "the best in the chosen budget")); }
    place.replaceChildren(...children);
    place.dataset.trial = best === null ? "" : trials.trial_id[best];
    place.dataset.budget = String(state.budget);
  }

  function showPicked() {
    const place = byId("picked");
    if (!place) { return; }
    place.hidden = state.picked === null;
    if (state.picked === null) { return; }
    const index = state.picked;
    const known = peakOf(index) !== null && trials.metric[index] !== null;
    const children = [element("p", {}, element("strong", { textContent: "Picked: " }), known ? sentence(index)
      : "trial " + trials.trial_id[index] + ", " + trials.status[index].replace(/_/g, " ") + ": "
        + describe(index).join(", ") + ".")];
    if (trials.error[index]) { children.push(element("p", { className: "muted", textContent: trials.error[index] })); }
    const command = commandOf(index, null);
    if (command) { children.push(commandBlock(command, "the picked trial")); }
    place.replaceChildren(...children);
  }

  function pick(index) {
    state.picked = index;
    showPicked();
    remember();
  }

  // ---- controls --------------------------------------------------------------------------

  // places that the slider stops at: round sizes, and every budget and peak of the front exactly
  function stopsOf() {
    const front = frontOf([...Array(numTrials).keys()]);
    const exact = [...data.budgets.map((each) => each.bytes), ...front.map(peakOf)];
    if (!exact.length) { return []; }
    const low = exact.reduce((a, b) => Math.min(a, b)) * 0.8;
    const high = exact.reduce((a, b) => Math.max(a, b)) * 1.25;
    const stops = new Set(exact);
    for (let step = 0; step <= 120; step += 1) {
      stops.add(Math.round(Number((low * Math.pow(high / low, step / 120)).toPrecision(3))));
    }
    return [...stops].sort((a, b) => a - b);
  }

  let stops = [];

  function setBudget(bytes) {
    let place = 0;
    stops.forEach((stop, index) => {
      if (Math.abs(stop - bytes) < Math.abs(stops[place] - bytes)) { place = index; }
    });
    state.budget = stops.length ? stops[place] : null;
    const slider = byId("budget");
    slider.max = Math.max(0, stops.length - 1);
    slider.value = place;
    slider.disabled = !stops.length;
    if (state.budget === null) { return; }
    slider.setAttribute("aria-valuetext", bytesText(state.budget));
    byId("budget-text").textContent = bytesText(state.budget);
  }

  function makeFilters() {
    const place = byId("filters");
    place.replaceChildren();
    for (const filter of data.filters) {
      const box = element("fieldset", {}, element("legend", { textContent: filter.heading }));
      box.dataset.filter = filter.name;
      filter.choices.forEach((choice, code) => {
        const input = element("input", { type: "checkbox", value: String(code) });
        input.checked = !(state.hidden[filter.name] || []).includes(code);
        input.addEventListener("change", () => {
          const hidden = new Set(state.hidden[filter.name] || []);
          if (input.checked) { hidden.delete(code); } else { hidden.add(code); }
          state.hidden[filter.name] = [...hidden].sort((a, b) => a - b);
          state.page = 0;
          refresh();
        });
        box.append(element("label", {}, input, choice.replace(/_/g, filter.name === "status" ? " " : "_")));
      });
      place.append(box);
    }
    if (data.peaks.length > 1) {
      const box = element("fieldset", {}, element("legend", { textContent: "Peak" }));
      for (const peak of data.peaks) {
        const input = element("input", { type: "radio", name: "peak", value: peak.name });
        input.checked = state.peak === peak.name;
        input.addEventListener("change", () => {
          state.peak = peak.name;
          stops = stopsOf();
          setBudget(state.budget || 0);
          refresh();
        });
        box.append(element("label", {}, input, peak.text));
      }
      place.append(box);
    }
    const reset = element("button", { type: "button", id: "reset", textContent: "Show all" });
    reset.addEventListener("click", () => {
      state.hidden = {};
      for (const input of place.querySelectorAll("input[type=checkbox]")) { input.checked = true; }
      refresh();
    });
    if (data.filters.length) { place.append(reset); }
  }

  function makeBudget() {
    stops = stopsOf();
    const budgets = data.budgets.map((each) => each.bytes);
    setBudget(state.budget || (budgets.length ? budgets[budgets.length - 1] : stops[stops.length - 1] || 0));
    byId("budget").addEventListener("input", (event) => {
      setBudget(stops[Number(event.target.value)]);
      refreshBudget();
    });
    for (const budget of data.budgets.slice(0, 8)) {
      const button = element("button", { type: "button", textContent: budget.text });
      button.addEventListener("click", () => { setBudget(budget.bytes); refreshBudget(); });
      byId("budget-stops").append(button, " ");
    }
  }

  // ---- the table of all trials -----------------------------------------------------------

  // a setting may be called as a column of ours is
  const SETTING = "setting ";

  function columns() {
    const bytes = (name, heading) => ({ name: name, heading: heading, text: bytesText, number: true });
    const found = [{ name: "trial_id", heading: "Trial", text: String }];
    if (data.runs.length > 1) {
      found.push({ name: "run", heading: "Run", text: (run) => data.runs[run] });
    }
    found.push({ name: "status", heading: "Status", text: String }, { name: "front", heading: "Front",
      text: (value) => (value ? "yes" : "") }, { name: "metric", heading: data.metricName, text: metricText,
      number: true });
    for (const peak of data.peaks) { found.push(bytes(peak.name, "Peak, " + peak.text.split(" ")[0])); }
    found.push(bytes("predicted_peak_bytes", "Predicted peak"), bytes("budget_bytes", "Budget"));
    for (const setting of data.settings) {
      found.push({ name: SETTING + setting.name, heading: setting.heading, text: plainText,
        number: !setting.isText });
    }
    found.push({ name: "seed", heading: "Seed", text: plainText, number: true },
      { name: "epochs_done", heading: "Epochs", number: true,
        text: (done, index) => plainText(done) + "/" + plainText(trials.epochs[index]) },
      { name: "train_time_s", heading: "Training s", number: true,
        text: (value) => (value === null ? data.unknown : value.toFixed(1)) },
      { name: "error", heading: "Error", text: (value) => value || "", className: "error" });
    return found;
  }

  function sorted(shown, values) {
    const sign = state.descending ? -1 : 1;
    return shown.slice().sort((a, b) => {
      const [x, y] = [values[a], values[b]];
      if (x === null || y === null) { return (x === null) - (y === null) || a - b; }
      return (x < y ? -sign : x > y ? sign : 0) || (trials.trial_id[a] < trials.trial_id[b] ? -1 : 1);
    });
  }

  function showTable(shown) {
    const table = byId("all-trials");
    if (!table) { return; }
    const onFront = new Set(front);
    const places = trials.trial_id.map((_, index) => (onFront.has(index) ? 1 : 0));
    const valuesOf = (name) => {
      if (name.startsWith(SETTING)) { return data.values[name.slice(SETTING.length)]; }
      return name === "front" ? places : trials[name];
    };
    const head = element("tr", {});
    const all = columns();
    for (const column of all) {
      const isSorted = state.sort === column.name;
      const button = element("button", { type: "button", className: "plain", textContent: column.heading
        + (isSorted ? (state.descending ? " \u25be" : " \u25b4") : "") });
      button.addEventListener("click", () => {
        state.descending = isSorted ? !state.descending : Boolean(column.number);
        state.sort = column.name;
        state.page = 0;
        refreshTable();
        byId("all-trials").querySelector("th[aria-sort] button").focus();
      });
      const cell = element("th", { scope: "col", className: column.number ? "number" : "" }, button);
      if (isSorted) { cell.setAttribute("aria-sort", state.descending ? "descending" : "ascending"); }
      head.append(cell);
    }
    const rows = sorted(shown, valuesOf(state.sort));
    const numPages = Math.max(1, Math.ceil(rows.length / PAGE_LENGTH));
    state.page = Math.min(state.page, numPages - 1);
    const page = rows.slice(state.page * PAGE_LENGTH, (state.page + 1) * PAGE_LENGTH);
    table.tHead.replaceChildren(head);
    table.tBodies[0].replaceChildren(...page.map((index) => {
      const row = element("tr", { className: onFront.has(index) ? "front" : "" });
      for (const column of all) {
        const value = valuesOf(column.name)[index];
        const cell = element("td", { className: column.className || (column.number ? "number" : "") });
        if (column.name === "trial_id") {
          const button = element("button", { type: "button", className: "plain", textContent: value });
          button.addEventListener("click", () => { pick(index); byId("picked").scrollIntoView({ block: "nearest" }); });
          cell.append(byId("picked") ? button : value);
        } else {
          cell.textContent = column.text(value, index);
          if (column.number && value !== null) { cell.dataset.value = String(value); }
        }
        row.append(cell);
      }
      return row;
    }));
    byId("shown").textContent = rows.length + " of " + numTrials + " trials"
      + (numPages > 1 ? ", page " + (state.page + 1) + " of " + numPages : "");
    byId("previous").disabled = state.page === 0;
    byId("next").disabled = state.page >= numPages - 1;
    byId("previous").hidden = byId("next").hidden = numPages === 1;
  }

  // ---- drawing again ---------------------------------------------------------------------

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

  // the slider moves the line of the plot alone: ten thousand points take long to draw again
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
    // by their values: after the sweep went on the same place is another trial's
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
        // some browsers do not let pages from disk do that; the view is then not kept
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
      // an address that was cut off shows the first view
    }
  }

  function setTheme() {
    const root = document.documentElement;
    if (state.theme === "auto") { root.removeAttribute("data-theme"); } else { root.dataset.theme = state.theme; }
    const button = byId("theme");
    button.textContent = { auto: "Auto", light: "Light", dark: "Dark" }[state.theme];
    button.setAttribute("aria-label", "Colours: " + { auto: "as the system's", light: "light", dark: "dark" }[state.theme]);
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch (error) {
      // a page from disk may not be given the clipboard; selecting and copying still works
      const area = element("textarea", { value: text, className: "hidden" });
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) { return; }
    const done = await copy(button.parentElement.querySelector("code").textContent);
    button.textContent = done ? "Copied" : "Select it";
    byId("said").textContent = done ? "Command copied" : "Copying is not allowed here; select the command";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });

  byId("theme").addEventListener("click", () => {
    // first what the system has not, then what it has, then the system's again
    const [same, other] = systemIsDark.matches ? ["dark", "light"] : ["light", "dark"];
    state.theme = { auto: other, [other]: same, [same]: "auto" }[state.theme];
    setTheme();
    drawFigures();
    refresh();
  });
  systemIsDark.addEventListener("change", () => { drawFigures(); refresh(); });
  function turn(pages) {
    state.page += pages;
    refreshTable();
    const [button, other] = pages > 0 ? ["next", "previous"] : ["previous", "next"];
    // a button that is switched off loses the focus of who turns pages by keys
    byId(byId(button).disabled ? other : button).focus();
  }
  if (byId("previous")) {
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
  }

  let firstBudget = null;

  // the view of the address, over the first one
  function show() {
    Object.assign(state, { hidden: {}, peak: "peak_allocated_bytes", budget: firstBudget, theme: "auto",
      page: 0, picked: null });
    recall();
    if (byId("explorer")) {
      // a budget of the address is kept as it is, also where the front has moved since
      stops = [...new Set([...stopsOf(), ...(state.budget === null ? [] : [state.budget])])].sort((a, b) => a - b);
      setBudget(state.budget || 0);
      makeFilters();
    }
    setTheme();
    refresh();
    showPicked();
    drawFigures();
  }

  if (byId("explorer")) {
    makeBudget();
    firstBudget = state.budget;
  }
  show();
  window.addEventListener("hashchange", () => {
    if (location.hash.startsWith("#view=")) { show(); }
  });
  if (watchSeconds) { setTimeout(() => location.reload(), watchSeconds * 1000); }
})();
