// The table of all trials: sorting, pages, picking.

// keeps settings apart from columns of ours with the same name
const SETTING = "setting ";

function columns() {
  const bytes = (name, heading) => ({ name: name, heading: heading, text: bytesText, number: true });
  const found = [{ name: "trial_id", heading: "Trial", text: String }];
  if (data.runs.length > 1) {
    found.push({ name: "run", heading: "Run", text: (run) => data.runs[run] });
  }
  found.push({ name: "status", heading: "Status", text: (status) => data.statuses[status] }, { name: "front", heading: "Front",
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

function headOf(column) {
  const isSorted = state.sort === column.name;
  const arrow = isSorted ? (state.descending ? " \u25be" : " \u25b4") : "";
  const button = element("button", { type: "button", className: "plain", textContent: column.heading + arrow });
  button.addEventListener("click", () => {
    state.descending = isSorted ? !state.descending : Boolean(column.number);
    state.sort = column.name;
    state.page = 0;
    refreshTable();
    byId("all-trials").querySelector("th[aria-sort] button").focus();
  });
  const cell = element("th", { scope: "col", className: column.number ? "number" : "" }, button);
  if (isSorted) { cell.setAttribute("aria-sort", state.descending ? "descending" : "ascending"); }
  return cell;
}

function cellOf(column, value, index) {
  const cell = element("td", { className: column.className || (column.number ? "number" : "") });
  if (column.name === "trial_id" && byId("picked")) {
    const button = element("button", { type: "button", className: "plain", textContent: value });
    button.addEventListener("click", () => { pick(index); byId("picked").scrollIntoView({ block: "nearest" }); });
    cell.append(button);
    return cell;
  }
  cell.textContent = column.text(value, index);
  if (column.number && value !== null) { cell.dataset.value = String(value); }
  return cell;
}

function showPages(numRows, numPages) {
  byId("shown").textContent = numRows + " of " + numTrials + " trials"
    + (numPages > 1 ? ", page " + (state.page + 1) + " of " + numPages : "");
  byId("previous").disabled = state.page === 0;
  byId("next").disabled = state.page >= numPages - 1;
  byId("previous").hidden = byId("next").hidden = numPages === 1;
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
  const all = columns();
  const rows = sorted(shown, valuesOf(state.sort));
  const numPages = Math.max(1, Math.ceil(rows.length / PAGE_LENGTH));
  state.page = Math.min(state.page, numPages - 1);
  const page = rows.slice(state.page * PAGE_LENGTH, (state.page + 1) * PAGE_LENGTH);
  table.tHead.replaceChildren(element("tr", {}, ...all.map(headOf)));
  table.tBodies[0].replaceChildren(...page.map((index) =>
    element("tr", { className: onFront.has(index) ? "front" : "" },
      ...all.map((column) => cellOf(column, valuesOf(column.name)[index], index)))));
  showPages(rows.length, numPages);
}

function turn(pages) {
  state.page += pages;
  refreshTable();
  const [button, other] = pages > 0 ? ["next", "previous"] : ["previous", "next"];
  // a disabled button would lose the keyboard focus
  byId(byId(button).disabled ? other : button).focus();
}
