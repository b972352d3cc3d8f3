// What the widgets have in common. A front end gets these lines inside each widget's own module (see base.py).

// ---------------------------------------------------------------- elements

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && name !== "style") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** The widget's outermost element, inside the place that the front end gives it. */
export function makeRoot(el, name) {
  const root = make("div", { className: "tlab", role: "group", "aria-label": name });
  root.dataset.widget = name;
  // A notebook's own keys (a, b, dd …) stay silent while a key is for us. Notebook 7 looks at the focused element first.
  root.addEventListener("focusin", (event) => { event.target.dataset.lmSuppressShortcuts = "true"; });
  for (const type of ["keydown", "keypress", "keyup"]) root.addEventListener(type, (event) => event.stopPropagation());
  el.append(root);
  return root;
}

/** A slider with its name and number. `set` moves it without telling `onInput`. */
export function makeSlider(label, { min, max, step, value, format = String }, onInput) {
  const number = make("output", {}, format(value));
  const input = make("input", { type: "range", min, max, step, value, ariaLabel: label });
  const say = (x) => {
    number.textContent = format(x);
    input.setAttribute("aria-valuetext", format(x));
  };
  input.addEventListener("input", () => {
    say(Number(input.value));
    onInput(Number(input.value));
  });
  say(value);
  const element = make("label", {}, label, input, number);
  return { element, input, set: (x) => { input.value = x; say(x); } };
}

export function makeButton(label, onClick, properties = {}) {
  const button = make("button", { type: "button", ...properties }, label);
  button.addEventListener("click", onClick);
  return button;
}

/** A button that stays down. `set` moves it without telling `onChange`. */
export function makeToggle(label, pressed, onChange) {
  const set = (down) => button.setAttribute("aria-pressed", String(down));
  const button = makeButton(label, () => {
    const down = button.getAttribute("aria-pressed") !== "true";
    set(down);
    onChange(down);
  });
  set(pressed);
  return { element: button, set };
}

/** A list to choose one entry from. */
export function makeChoice(label, options, value, onChange) {
  const select = make("select", { ariaLabel: label }, ...options.map((option) => make("option", { value: option }, option)));
  select.value = value;
  select.addEventListener("change", () => onChange(select.value));
  return { element: make("label", {}, label, select), input: select, set: (x) => { select.value = x; } };
}

/** A box to write in. `onEdit` gets its text once the typing has paused. `set` writes into it unless somebody types. */
export function makeTextBox(label, value, onEdit) {
  const input = make("textarea", { rows: 2, value, ariaLabel: label, spellcheck: false, dir: "auto" });
  let timer = 0;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => { timer = 0; onEdit(input.value); }, 150);
  });
  const set = (text) => { if (!timer && input.value !== text) input.value = text; };
  const element = make("label", { style: "width: 34em; max-width: 100%" }, label, input);
  return { element, input, set, stop: () => clearTimeout(timer) };
}

/** What is selected, in words: shown, and read out by a screen reader. */
export function makeReadout() {
  const element = make("p", { className: "readout", role: "status", "aria-live": "polite" });
  return { element, say: (text) => { if (element.textContent !== text) element.textContent = text; } };
}

// ---------------------------------------------------------------- canvas

/**
 * A canvas as wide as its place allows (at most `width`), sharp on every screen. `draw(context, width, height)` is
 * called in CSS pixels once a frame at most, after `redraw()`, and when its size or the theme has changed.
 */
export function makeCanvas({ label, width, height, draw, focusable = true }) {
  const element = make("canvas", { role: "img", "aria-label": label, tabIndex: focusable ? 0 : -1 });
  const context = element.getContext("2d");
  const size = { width, height };
  let frame = 0;
  const paint = () => {
    frame = 0;
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(size.width * ratio), Math.round(size.height * ratio)];
    if (element.width !== w || element.height !== h) {
      element.width = w;
      element.height = h;
      element.style.width = `${size.width}px`;
      element.style.height = `${size.height}px`;
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, size.width, size.height);
    draw(context, size.width, size.height);
    element.dataset.drawn = String(Number(element.dataset.drawn || 0) + 1); // how often, for who waits for it
  };
  const redraw = () => { frame ||= requestAnimationFrame(paint); };
  const stopTheme = onTheme(redraw);
  redraw();
  return {
    element, redraw, size,
    resize: (w, h) => { size.width = w; size.height = h; redraw(); },
    /** The pointer's place in CSS pixels of the canvas, also where the page shows it smaller than it is. */
    place: (event) => {
      const box = element.getBoundingClientRect();
      return [(event.clientX - box.left) * size.width / box.width, (event.clientY - box.top) * size.height / box.height];
    },
    stop: () => { cancelAnimationFrame(frame); stopTheme(); },
  };
}

/** Keys of an element: { ArrowLeft: action, … }. A key that has an action does not scroll the page. */
export function onKeys(element, actions) {
  element.addEventListener("keydown", (event) => {
    const action = !event.ctrlKey && !event.metaKey && !event.altKey && actions[event.key];
    if (!action) return;
    event.preventDefault();
    action(event);
  });
}

// ---------------------------------------------------------------- colours

// Wong 2011 (Nature Methods 8:441), as in the series' pictures.
export const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

// cividis (Nuñez et al. 2018) at ninths: perceptually even, the same with and without colour vision.
const CIVIDIS = [[0, 34, 78], [18, 53, 112], [59, 73, 108], [87, 93, 109], [112, 113, 115], [138, 134, 120], [165, 156, 116], [195, 179, 105], [225, 204, 85], [254, 232, 56]];
const BLUE_TO_ORANGE = [[0, 76, 125], [70, 140, 190], [170, 205, 228], [247, 247, 247], [246, 201, 156], [222, 130, 50], [140, 62, 0]];

function between(stops, t) {
  const at = Math.min(Math.max(t, 0), 1) * (stops.length - 1);
  const i = Math.min(Math.floor(at), stops.length - 2);
  return stops[i].map((low, channel) => Math.round(low + (at - i) * (stops[i + 1][channel] - low)));
}

function table(stops) {
  const colours = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const [r, g, b] = between(stops, i / 255);
    colours[i] = (255 << 24) | (b << 16) | (g << 8) | r; // the bytes of an ImageData's pixel, little end first
  }
  return colours;
}

/** 0 … 255 → a pixel of an ImageData: from none to all, and from −1 to 1. */
export const SCALE = table(CIVIDIS);
export const DIVERGING = table(BLUE_TO_ORANGE);
/** 0 … 1 → a CSS colour. */
export const colour = (t, stops = CIVIDIS) => `rgb(${between(stops, t)})`;
/** −1 … 1 → a CSS colour. */
export const signed = (x) => colour((x + 1) / 2, BLUE_TO_ORANGE);
/** Ink that can be read on `colour(t)`. */
export const inkOn = (t) => (t > 0.5 ? "#000" : "#fff");

/** The page's colours as they are now, read from the style of the widget's root. */
export function themeOf(root) {
  const { color, backgroundColor } = getComputedStyle(root);
  const faint = (share) => `color-mix(in srgb, ${color} ${100 * share}%, ${backgroundColor})`;
  return { ink: color, paper: backgroundColor, faint };
}

/** Calls back when the reader or the front end changes from light to dark or back. Returns what stops it. */
export function onTheme(callback) {
  const media = window.matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", callback);
  const observer = new MutationObserver(callback);
  const attributes = { attributes: true, attributeFilter: ["class", "theme", "data-jp-theme-light", "data-jp-theme-name", "data-vscode-theme-kind"] };
  observer.observe(document.body, attributes);
  observer.observe(document.documentElement, attributes);
  return () => { media.removeEventListener("change", callback); observer.disconnect(); };
}

// ---------------------------------------------------------------- numbers

/** A DataView, as traits of bytes come in, or a typed array → its own bytes and no others. */
export const bytesOf = (view) => new Uint8Array(view.buffer ?? view, view.byteOffset ?? 0, view.byteLength);

export async function inflate(view) {
  const stream = new Blob([bytesOf(view)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export const floats = (view) => new Float32Array(bytesOf(view).slice().buffer);

export const fixed = (x, digits = 2) => (Object.is(x, -0) || Math.abs(x) < 0.5 * 10 ** -digits ? 0 : x).toFixed(digits).replace("-", "−");

/** Text that is written from right to left, set apart so that it does not turn the sentence around it. */
export const isolated = (text) => (/[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u.test(text) ? `\u2068${text}\u2069` : text);

/** Spaces and line ends that can be seen. */
export const visible = (token) => isolated(token.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "∅");

// ---------------------------------------------------------------- model

/** Run `update` now and whenever one of the traits changes. Returns what stops it. */
export function watch(model, names, update) {
  const events = names.map((name) => `change:${name}`);
  for (const event of events) model.on(event, update);
  update();
  return () => { for (const event of events) model.off(event, update); };
}

/** Set traits and tell Python, if there is one. */
export function put(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  model.save_changes();
}

/**
 * What only Python can do (see `Answering` in base.py). `ask({ draw: 1 })` sends a request, `waiting()` until the last
 * one is answered. `box` edits the text; `fill()` puts Python's text into it, unless a newer one is on its way, or one
 * that was refused is to be mended. `news(busy)` says how things stand.
 */
export function makeRequests(model) {
  const asked = () => model.get("request").number ?? 0;
  const error = () => model.get("error");
  const waiting = () => !model.alone && asked() > model.get("answered");
  const ask = (what) => put(model, { request: { number: Math.max(asked(), model.get("answered")) + 1, ...what } });
  const box = makeTextBox("text", model.get("text"), (text) => ask({ text }));
  return {
    ask, waiting, box,
    fill: () => { if (!waiting() && !error()) box.set(model.get("text")); },
    news: (busy) => (waiting() ? busy : error() && `This cannot be: ${error()}.`),
  };
}
