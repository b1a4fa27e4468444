// Elements of the page. Texts go in as text nodes and never as HTML.

const data = JSON.parse(document.getElementById("data").textContent);

function byId(id) {
  return document.getElementById(id);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

function element(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  return fill(node, attributes, children);
}

// Options are [value, text] pairs; the chosen value stays if it is there.
function setOptions(select, options, wanted) {
  const before = wanted == null ? select.value : String(wanted);
  select.replaceChildren(
    ...options.map(([value, text]) => element("option", {value}, text))
  );
  if (options.some(([value]) => String(value) === before)) {
    select.value = before;
  }
}

function signed(value) {
  if (value == null) return "unknown";
  const text = Math.abs(value).toFixed(3);
  if (Number(text) === 0) return "0";
  return (value < 0 ? "\u2212" : "+") + text;
}

function plain(value) {
  if (value == null) return "none";
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1000 || size < 0.001
    ? value.toPrecision(3)
    : String(Number(value.toFixed(3)));
}

function distanceText(value) {
  return value == null ? "no way to success seen" : plain(value);
}

function plural(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}
