// Which trials are shown, which of them count, which are best: the rules of the Python package.

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

// a trial that held more than its own budget still counts for a larger one
function mayBeBest(index) {
  return trials.kind[index] === "candidate" && peakOf(index) !== null && trials.metric[index] !== null;
}

// smaller peak first, then the better metric, then the name that sorts first
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

// metric and peak rise together along a front
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
