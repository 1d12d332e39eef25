// The best in the chosen budget, and the trial that was picked.

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
    children.push(element("p", { className: "muted", textContent: "More memory would buy more: from "
      + bytesText(peakOf(next)) + " on, " + data.metricName + " " + metricText(trials.metric[next]) + gain + "." }));
  } else if (best !== null) {
    children.push(element("p", { className: "muted",
      textContent: "More memory bought nothing better among the trials shown." }));
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
    : "trial " + trials.trial_id[index] + ", " + data.statuses[trials.status[index]] + ": "
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

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch (error) {
    // browsers may refuse the clipboard to a page from disk; selecting and copying still works
    const area = element("textarea", { value: text, className: "hidden" });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
