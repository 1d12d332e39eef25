// Listens to the reader and shows the first view.

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) { return; }
  const done = await copy(button.parentElement.querySelector("code").textContent);
  button.textContent = done ? "Copied" : "Select it";
  byId("said").textContent = done ? "Command copied" : "Copying is not allowed here; select the command";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});

byId("theme").addEventListener("click", () => {
  // first the theme that the system does not use, then the one it does, then automatic again
  const [same, other] = systemIsDark.matches ? ["dark", "light"] : ["light", "dark"];
  state.theme = { auto: other, [other]: same, [same]: "auto" }[state.theme];
  setTheme();
  drawFigures();
  refresh();
});
systemIsDark.addEventListener("change", () => { drawFigures(); refresh(); });
window.addEventListener("beforeprint", () => fitFigures(true));
window.addEventListener("afterprint", () => fitFigures(false));
if (byId("previous")) {
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
}

let firstBudget = null;

// starts from the first view and applies what the address holds
function show() {
  Object.assign(state, { hidden: {}, peak: "peak_allocated_bytes", budget: firstBudget, theme: "auto",
    page: 0, picked: null });
  recall();
  if (byId("explorer")) {
    // keep a budget from the address exactly, even if the front has moved since
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
