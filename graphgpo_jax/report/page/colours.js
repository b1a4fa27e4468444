// Colours of both themes. Lines: after Okabe and Ito, as far apart for
// colour-blind readers as tests/report/test_colours.py asks. Advantages: orange,
// grey, blue, which they tell apart, too.

const PALETTES = {
  light: {
    lines: ["#0072b2", "#c44e00", "#00795a", "#a8487f", "#5f3a00", "#7a35e8", "#1b1f24"],
    below: [196, 78, 0],
    middle: [176, 180, 186],
    above: [0, 98, 168],
    node: "#ffffff",
    nodeEdge: "#3c434c",
    success: "#00795a",
    unreachable: "#e3e5e8",
    text: "#1b1f24",
    faint: "#5b636d",
    stripe: "#f5f6f8",
    back: "#ffffff",
    mark: "#1b1f24",
  },
  dark: {
    lines: ["#56b4e9", "#ff9a4d", "#2fc79a", "#e79ac6", "#f0e442", "#9a70ff", "#e7eaee"],
    below: [255, 150, 70],
    middle: [96, 103, 112],
    above: [96, 186, 255],
    node: "#14171b",
    nodeEdge: "#b3bbc6",
    success: "#2fc79a",
    unreachable: "#343a43",
    text: "#e7eaee",
    faint: "#a2abb6",
    stripe: "#1a1e23",
    back: "#14171b",
    mark: "#ffffff",
  },
};
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];

function theme() {
  return document.documentElement.dataset.theme === "dark" ? "dark" : "light";
}

function palette() {
  return PALETTES[theme()];
}

// Colour of a value on a scale from -limit over 0 to limit.
function advantageColour(value, limit) {
  const {below, middle, above} = palette();
  const end = value < 0 ? below : above;
  const share = limit > 0 ? Math.min(Math.abs(value) / limit, 1) ** 0.7 : 0;
  const mixed = middle.map((part, i) => Math.round(part + share * (end[i] - part)));
  return `rgb(${mixed.join(", ")})`;
}

function lineStyle(index) {
  const {lines} = palette();
  return {
    colour: lines[index % lines.length],
    dash: DASHES[index % DASHES.length],
  };
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  byId("theme").textContent = name === "dark" ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", `Change to ${name === "dark" ? "light" : "dark"} colours`);
}

function startTheme(changed) {
  const asked = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = false;
  setTheme(asked.matches ? "dark" : "light");
  asked.addEventListener("change", () => {
    if (chosen) return;
    setTheme(asked.matches ? "dark" : "light");
    changed();
  });
  byId("theme").addEventListener("click", () => {
    chosen = true;
    setTheme(theme() === "dark" ? "light" : "dark");
    changed();
  });
}
