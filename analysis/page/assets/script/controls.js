// Filters, the kind of peak, and the slider of budgets.

// where the slider stops: round sizes, and every budget and every peak of the front exactly
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

function filterBox(filter) {
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
    box.append(element("label", {}, input, choice));
  });
  return box;
}

function peakBox() {
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
  return box;
}

function makeFilters() {
  const place = byId("filters");
  place.replaceChildren(...data.filters.map(filterBox));
  if (data.peaks.length > 1) { place.append(peakBox()); }
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
