// Numbers and settings as people read them.

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

// a size that parses back to the same bytes, as commands need
function exactText(value) {
  const budget = data.budgets.find((each) => each.bytes === value);
  return budget ? budget.text : value + "B";
}

function plainText(value) {
  if (value === null || value === undefined) { return data.unknown; }
  return typeof value === "number" && !Number.isInteger(value) ? significant(value, 4) : String(value);
}

// Plotly reads some markup in texts; text from the data must not be read so
function escaped(text) {
  const line = String(text).replace(/[\x00-\x1f\x7f\s]+/g, " ");
  return line.slice(0, 300).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function describe(index) {
  return data.settings
    .filter((setting) => data.values[setting.name][index] !== null)
    .map((setting) => setting.heading + " " + plainText(data.values[setting.name][index]));
}
