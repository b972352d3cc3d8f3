import { COLOURS, DIVERGING, SCALE, bytesOf, colour, fixed, floats, inflate, inkOn, make, makeButton, makeCanvas, makeChoice, makeReadout, makeRequests, makeRoot, makeSlider, makeToggle, onKeys, put, signed, themeOf, visible, watch } from "./shared.js";

const fontOf = (size, weight = "") => `${weight} ${size}px system-ui, sans-serif`;
const FONT = fontOf(12); // the smallest text that a projector shows
const NO_TOKEN = "The filter lets no token through.";
const THUMBNAIL = 32; // as in attention_explorer.py
const [QUERY, KEY] = COLOURS; // as in position_explorer.js

const cells = (causal, queries, keys) => (causal ? (queries * (queries + 1)) / 2 : queries * keys);
const small = (n) => Math.min(n, THUMBNAIL);
const named = ([layer, head]) => `layer ${layer}, head ${head}`;
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

function onPointer(element, actions) {
  for (const [type, action] of Object.entries(actions)) element.addEventListener(type, action);
}

function write(pen, align, ...place) {
  pen.textAlign = align;
  pen.fillText(...place);
}

/** A frame that can be seen on every colour of the scale. */
function frame(pen, style, ...box) {
  for (const [stroke, width] of [["white", 5], [style, 2.5]]) {
    pen.strokeStyle = stroke;
    pen.lineWidth = width;
    pen.strokeRect(...box);
  }
}

/**
 * A picture of rows × columns, `colourAt(row, column)` giving 0 … 255 in the table. Where it would be larger than
 * `most` pixels, each pixel shows the cell of its patch that is furthest from `zero`, so that no stripe is lost.
 */
function picture(rows, columns, colourAt, table, most, zero = 0) {
  const [height, width] = [Math.min(rows, most), Math.min(columns, most)];
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let y = 0; y < height; y++) {
    const top = Math.floor((y * rows) / height), bottom = Math.ceil(((y + 1) * rows) / height);
    for (let x = 0; x < width; x++) {
      const left = Math.floor((x * columns) / width), right = Math.ceil(((x + 1) * columns) / width);
      let best = zero;
      for (let i = top; i < bottom; i++) {
        for (let j = left; j < right; j++) {
          const step = colourAt(i, j);
          if (Math.abs(step - zero) > Math.abs(best - zero)) best = step;
        }
      }
      pixels[y * width + x] = table[best];
    }
  }
  const canvas = make("canvas", { width, height });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** The strongest lines, at most `most` of them: [row, column, weight]. All of a long text's would be one black patch. */
function strongest(rows, columns, at, most = 400) {
  const strength = (weight) => Math.ceil(255 * Math.sqrt(Math.min(Math.abs(weight), 1)));
  const counts = new Uint32Array(256);
  for (const i of rows) for (const j of columns) counts[strength(at(i, j))]++;
  let least = 255, lines = counts[255];
  while (least > 36 && lines + counts[least - 1] <= most) lines += counts[--least]; // down to a weight of 0.02
  const found = [];
  rows.forEach((i, row) => columns.forEach((j, column) => { if (strength(at(i, j)) >= least) found.push([row, column, at(i, j)]); }));
  return found;
}

function render({ model, el }) {
  const root = makeRoot(el, "Attention explorer");
  const get = (name) => model.get(name);
  const live = get("live") && !model.alone, two = get("models").length > 1;
  let layers = new Map(); // "kind/model/layer" → { steps, causal }: the patterns that have come, as roots in 255 steps
  let thumbnails = null; // the small pictures, where not all patterns come at once
  let exact = new Map(); // "kind/layer/head" → the numbers of one head
  let decoding = 0, version = -1, pointed = null, pointedHead = null, running = false, timer = 0;

  // ---------------------------------------------------------------- the numbers

  const side = () => get("sides")[get("kind")];
  const here = () => [get("layer"), get("head")];
  const size = () => [side().queries.length, side().keys.length];

  async function decode() {
    const number = ++decoding;
    const [bytes, pooled] = await Promise.all([inflate(get("weights")), get("thumbnails").byteLength ? inflate(get("thumbnails")) : null]);
    if (number !== decoding) return; // a later answer has overtaken this one
    if (version !== get("version")) layers.clear();
    version = get("version");
    let start = 0;
    for (const { kind, model: which, layer, causal } of get("sections")) {
      const { queries, keys, heads } = get("sides")[kind];
      const each = cells(causal, queries.length, keys.length);
      layers.set(`${kind}/${which}/${layer}`, { steps: bytes.subarray(start, start + heads[layer] * each), causal, each });
      start += heads[layer] * each;
    }
    thumbnails = pooled;
    running = false;
    pictures.clear();
    root.dataset.version = String(version);
    show();
  }

  function decodeDetails() {
    exact = new Map(get("details").map((entry) => [`${entry.kind}/${entry.layer}/${entry.head}`, { ...entry }]));
    show();
  }

  /** The numbers of one head: parts in the order in which Python wrote them, decoded when they are first asked for. */
  function detailOf(layer, head) {
    const entry = exact.get(`${get("kind")}/${layer}/${head}`);
    if (!entry || entry.version !== version) return null;
    if (!entry.patterns) {
      const [queries, keys] = size();
      const bytes = bytesOf(get("detail"));
      let at = entry.start;
      const take = (n) => floats(bytes.subarray(at, (at += 4 * n)));
      entry.patterns = get("models").map(() => take(queries * keys));
      if (entry.width) {
        entry.queries = take(queries * entry.width);
        entry.keys = take(keys * entry.width);
        if (entry.bias) entry.biases = take(queries * keys);
      }
    }
    return entry;
  }

  /** One head of one model: `step(query, key)` 0 … 255 for colours, `at` the weight; null while it has not come. */
  function head(which, layer, number) {
    const part = layers.get(`${get("kind")}/${which}/${layer}`);
    const [queries, keys] = size();
    // Not here yet, or those of another text; or Python has chosen the layer and not yet its head.
    if (part?.each !== cells(part?.causal, queries, keys) || number >= side().heads[layer]) return null;
    const { steps, causal, each } = part;
    const start = number * each;
    const step = causal
      ? (i, j) => (j > i ? 0 : steps[start + (i * (i + 1)) / 2 + j])
      : (i, j) => steps[start + i * keys + j];
    const numbers = detailOf(layer, number)?.patterns[which];
    return { causal, step, at: numbers ? (i, j) => numbers[i * keys + j] : (i, j) => (step(i, j) / 255) ** 2, exact: Boolean(numbers) };
  }

  /** What is side by side: one head; or two, and their difference. */
  function panels() {
    const [selected, pinned, models] = [here(), get("pinned"), get("models")];
    const first = { title: (two ? `${models[0]}: ` : "") + named(selected), ...head(0, ...selected) };
    let second = null;
    if (pinned.length) second = { title: `compared with ${named(pinned)}`, ...head(0, ...pinned) };
    else if (two) second = { title: `${models[1]}: ${named(selected)}`, ...head(1, ...selected) };
    if (!second) return [first];
    const at = (i, j) => first.at(i, j) - second.at(i, j);
    const difference = first.step && second.step && { at, step: (i, j) => clamp(Math.round(127.5 + 127.5 * at(i, j)), 0, 255) };
    return [first, second, { title: "first − second", isDifference: true, ...difference }];
  }

  /** The tokens that the filter lets through, as places. */
  function kept(tokens) {
    const words = get("filter").toLowerCase().trim().split(/\s+/);
    return [...tokens.keys()].filter((i) => words.some((word) => tokens[i].toLowerCase().includes(word)));
  }

  /** The query and the key on show: there are such, also while Python has not yet answered new tokens. */
  const chosen = () => inside(side(), pointed ?? { query: get("query"), key: get("key") });
  const inside = ({ queries, keys }, { query, key }) => ({ query: Math.min(query, queries.length - 1), key: Math.min(key, keys.length - 1) });

  const pictures = new Map(); // what was drawn pixel by pixel, under a name that says all it depends on
  function cached(name, make) {
    if (!pictures.has(name)) {
      if (pictures.size > 40) pictures.clear();
      pictures.set(name, make());
    }
    return pictures.get(name);
  }

  // ---------------------------------------------------------------- the grid of all heads

  const grid = makeCanvas({ label: "Heads", width: 300, height: 200, draw: drawGrid });
  const gridLeft = 26, gridTop = 34;
  let cell = 30;

  function sizeGrid() {
    const { heads } = side();
    cell = clamp(Math.floor(Math.min(380, root.clientWidth - gridLeft - 12) / Math.max(...heads)), 9, 56);
    cell = Math.min(cell, Math.max(9, Math.floor(560 / heads.length)));
    grid.resize(Math.max(gridLeft + cell * Math.max(...heads) + 4, 110), gridTop + cell * heads.length + 4);
  }

  function gridPicture() {
    const { heads } = side();
    const [queries, keys] = size();
    const most = small(cell - 2);
    const canvas = make("canvas", { width: Math.max(...heads) * cell, height: heads.length * cell });
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    let start = thumbnails ? thumbnailStart() : 0;
    heads.forEach((n, layer) => {
      for (let number = 0; number < n; number++) {
        const [rows, columns] = thumbnails ? [small(queries), small(keys)] : [queries, keys];
        const from = start, a = thumbnails || head(0, layer, number), b = !thumbnails && two && head(1, layer, number);
        start += rows * columns;
        if (!a) continue;
        const colourAt = thumbnails ? (i, j) => a[from + i * columns + j]
          : b ? (i, j) => clamp(Math.round(127.5 + 127.5 * (a.at(i, j) - b.at(i, j))), 0, 255) : a.step;
        const tiny = picture(rows, columns, colourAt, b ? DIVERGING : SCALE, most, b ? 127 : 0);
        pen.drawImage(tiny, number * cell + 1, layer * cell + 1, cell - 2, cell - 2);
      }
    });
    return canvas;
  }

  /** Where this kind's small pictures begin: those of the kinds before it come first. */
  function thumbnailStart() {
    let start = 0;
    for (const [kind, { queries, keys, heads }] of Object.entries(get("sides"))) {
      if (kind === get("kind")) return start;
      start += get("models").length * heads.reduce((a, b) => a + b) * small(queries.length) * small(keys.length);
    }
    return start;
  }

  function drawGrid(pen) {
    if (version < 0) return;
    const { ink, paper } = themeOf(root);
    const { heads } = side();
    pen.font = FONT;
    pen.fillStyle = ink;
    pen.textBaseline = "middle";
    write(pen, "left", `layers × heads${two && !thumbnails ? ": first − second" : ""}`, 0, 8);
    const every = Math.ceil(18 / cell);
    for (let h = 0; h < Math.max(...heads); h += every) write(pen, "center", h, gridLeft + (h + 0.5) * cell, gridTop - 9);
    for (let l = 0; l < heads.length; l += every) write(pen, "right", l, gridLeft - 6, gridTop + (l + 0.5) * cell);
    pen.drawImage(cached(["grid", version, get("kind"), cell, layers.size].join(), gridPicture), gridLeft, gridTop);
    const outline = ([l, h], style, width) => {
      pen.strokeStyle = style;
      pen.lineWidth = width;
      pen.strokeRect(gridLeft + h * cell + width / 2 - 1, gridTop + l * cell + width / 2 - 1, cell - width + 2, cell - width + 2);
    };
    for (const [l, h] of get("ablated")) {
      const [x, y] = [gridLeft + h * cell, gridTop + l * cell];
      pen.fillStyle = paper;
      pen.globalAlpha = 0.75;
      pen.fillRect(x + 1, y + 1, cell - 2, cell - 2);
      pen.globalAlpha = 1;
      pen.fillStyle = ink;
      pen.font = fontOf(cell, "bold");
      write(pen, "center", "×", x + cell / 2, y + cell / 2);
    }
    if (pointedHead) outline(pointedHead, ink, 1);
    if (get("pinned").length) outline(get("pinned"), COLOURS[2], 3);
    outline(here(), COLOURS[1], 3);
  }

  const headAt = (event) => {
    const [x, y] = grid.place(event);
    const [l, h] = [Math.floor((y - gridTop) / cell), Math.floor((x - gridLeft) / cell)];
    return l >= 0 && h >= 0 && l < side().heads.length && h < side().heads[l] ? [l, h] : null;
  };
  const chooseHead = (l, h) => {
    const layer = clamp(l, 0, side().heads.length - 1);
    put(model, { layer, head: clamp(h, 0, side().heads[layer] - 1) });
  };
  onPointer(grid.element, {
    pointermove: (event) => { pointedHead = headAt(event); show(); },
    pointerleave: () => { pointedHead = null; show(); },
    click: (event) => {
      const at = headAt(event);
      if (!at) return;
      chooseHead(...at);
      if (event.shiftKey) ablate();
    },
  });
  onKeys(grid.element, {
    ArrowLeft: () => chooseHead(get("layer"), get("head") - 1),
    ArrowRight: () => chooseHead(get("layer"), get("head") + 1),
    ArrowUp: () => chooseHead(get("layer") - 1, get("head")),
    ArrowDown: () => chooseHead(get("layer") + 1, get("head")),
    x: ablate,
    c: pin,
  });

  // ---------------------------------------------------------------- pointing at tokens

  const point = (at) => {
    if (at?.query === pointed?.query && at?.key === pointed?.key) return;
    pointed = at;
    show();
  };
  const select = (at) => { pointed = null; put(model, at ?? {}); };
  const onTokens = (element, at) => onPointer(element, {
    pointermove: (event) => point(at(event)),
    pointerleave: () => point(null),
    click: (event) => select(at(event)),
  });

  // ---------------------------------------------------------------- the text, coloured by what the query looks at

  const strip = makeCanvas({ label: "Text: each token as bright as the chosen query's weight on it. Arrow keys choose the query.", width: 700, height: 30, draw: drawStrip });
  let boxes = []; // of the tokens drawn: { token, x, y, width }

  /** The places of the tokens, line by line; of a long text those around the query. */
  function layStrip() {
    const pen = strip.element.getContext("2d");
    pen.font = fontOf(14);
    const tokens = side().keys, width = strip.size.width;
    const middle = isSelf() ? get("query") : get("key");
    const first = clamp(middle - 40, 0, Math.max(0, tokens.length - 80));
    boxes = [];
    let x = 0, y = 0;
    for (let token = first; token < Math.min(first + 80, tokens.length); token++) {
      const wide = Math.min(pen.measureText(visible(tokens[token])).width + 8, width);
      if (x + wide > width) [x, y] = [0, y + 26];
      boxes.push({ token, x, y, width: wide });
      x += wide + 2;
    }
    strip.resize(width, y + 26);
  }

  const isSelf = () => side().queries === side().keys || side().queries.join("\n") === side().keys.join("\n");

  function drawStrip(pen) {
    const panel = panels()[0];
    if (!panel.at) return;
    const { query, key } = chosen();
    pen.font = fontOf(14);
    pen.textBaseline = "middle";
    for (const { token, x, y, width } of boxes) {
      const shade = Math.sqrt(panel.at(query, token));
      pen.fillStyle = colour(shade);
      pen.fillRect(x, y, width, 23);
      pen.fillStyle = inkOn(shade);
      pen.fillText(visible(side().keys[token]), x + 4, y + 12, width - 6);
      const own = isSelf() && token === query;
      if (own || token === key) frame(pen, own ? QUERY : KEY, x + 1.5, y + 1.5, width - 3, 20);
    }
  }
  const tokenAt = (event) => {
    const [x, y] = strip.place(event);
    return boxes.find((box) => x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + 26)?.token;
  };
  const withToken = (token) => (token === undefined ? null : { query: get("query"), key: get("key"), [isSelf() ? "query" : "key"]: token });
  onTokens(strip.element, (event) => withToken(tokenAt(event)));
  const step = (by) => () => (isSelf() ? move(by, 0) : move(0, by));
  onKeys(strip.element, { ArrowLeft: step(-1), ArrowRight: step(1), ArrowUp: step(-1), ArrowDown: step(1) });

  // ---------------------------------------------------------------- one head

  const main = makeCanvas({ label: "One head", width: 640, height: 420, draw: drawMain });
  let areas = []; // where the pointer finds a query or a key: { x, y, width, height, find(x, y) }

  function drawMain(pen, width, height) {
    areas = [];
    const shown = panels();
    const all = ["kind", "layer", "head", "pinned", "filter"].map(get);
    for (const panel of shown) panel.name = [panel.title, panel.exact, version, ...all].join(); // all that its pictures depend on
    const { ink } = themeOf(root);
    pen.font = FONT;
    pen.fillStyle = ink;
    pen.textBaseline = "middle";
    if (shown.some((panel) => !panel.at)) {
      pen.fillText(missing(), 10, 20);
      return;
    }
    if (get("view") === "scores") return drawScores(pen, width, height);
    const gap = 14, each = (width - gap * (shown.length - 1)) / shown.length;
    shown.forEach((panel, i) => {
      pen.save();
      pen.translate(i * (each + gap), 0);
      pen.font = fontOf(13, "bold");
      pen.fillStyle = ink;
      write(pen, "left", panel.title, 0, 9, each);
      pen.font = FONT;
      (get("view") === "lines" ? drawLines : drawHeatmap)(pen, panel, i * (each + gap), each, height);
      pen.restore();
    });
    drawLegend(pen, width, height, shown.length > 1);
  }

  function drawLegend(pen, width, height, withDifference) {
    const { ink } = themeOf(root);
    const y = height - 27, wide = Math.min(150, width / 2 - 70);
    const scale = (left, low, high, colourOf) => {
      pen.fillStyle = ink;
      write(pen, "right", low, left - 5, y);
      write(pen, "left", high, left + wide + 5, y);
      for (let x = 0; x < wide; x++) {
        pen.fillStyle = colourOf(x / wide);
        pen.fillRect(left + x, y - 6, 1.5, 12);
      }
    };
    scale(62, "weight 0", "1", colour);
    pen.fillStyle = ink;
    for (const weight of [0.1, 0.5]) {
      const x = 62 + wide * Math.sqrt(weight);
      pen.fillRect(x, y - 8, 1, 18);
      write(pen, "center", weight, x, y + 18);
    }
    if (withDifference) scale(width - wide - 26, "−1", "+1", (t) => signed(2 * t - 1));
  }

  const labelWidth = (pen, tokens, places) =>
    clamp(Math.max(...places.slice(0, 200).map((i) => pen.measureText(visible(tokens[i])).width)) + 8, 50, 96);

  /**
   * The names of tokens that are `unit` pixels apart; `moveTo` brings the pen to each. Where there is no room for all:
   * every so many, and the selected one with some room around it.
   */
  function names(pen, tokens, places, selected, unit, align, most, moveTo) {
    places.forEach((token, i) => {
      const clear = i % Math.ceil(16 / unit) === 0 && Math.abs(i - places.indexOf(selected)) * unit > 14;
      if (unit < 13 && token !== selected && !clear) return;
      pen.save();
      pen.font = fontOf(12, token === selected ? "bold" : "");
      moveTo(i);
      write(pen, align, visible(tokens[token]), 0, 0, most);
      pen.restore();
    });
  }

  function sideNames(pen, queryX, keyX, y) {
    pen.font = fontOf(12, "bold");
    pen.fillStyle = QUERY;
    write(pen, "right", "query", queryX, y);
    pen.fillStyle = KEY;
    write(pen, keyX > queryX ? "left" : "right", "key", keyX, y - (keyX > queryX ? 0 : 15));
    pen.fillStyle = themeOf(root).ink;
  }

  function drawHeatmap(pen, panel, offset, width, height) {
    const [rows, columns] = [kept(side().queries), kept(side().keys)];
    if (!rows.length || !columns.length) return pen.fillText(NO_TOKEN, 0, 40);
    const left = labelWidth(pen, side().queries, rows), top = 24 + labelWidth(pen, side().keys, columns);
    const unit = Math.min((width - left - 2) / columns.length, (height - top - 46) / rows.length, 34);
    const [w, h] = [unit * columns.length, unit * rows.length];
    const most = Math.max(1, Math.floor(Math.max(w, h) * (window.devicePixelRatio || 1)));
    const image = cached(`${unit} ${panel.name}`, () => picture(rows.length, columns.length, (i, j) => panel.step(rows[i], columns[j]),
      panel.isDifference ? DIVERGING : SCALE, most, panel.isDifference ? 127 : 0));
    pen.imageSmoothingEnabled = false;
    pen.drawImage(image, left, top, w, h);
    const { query, key } = chosen();
    sideNames(pen, left - 10, left - 10, top - 14);
    names(pen, side().queries, rows, query, unit, "right", left - 4, (row) => pen.translate(left - 4, top + (row + 0.5) * unit));
    names(pen, side().keys, columns, key, unit, "left", top - 26, (column) => {
      pen.translate(left + (column + 0.5) * unit, top - 4);
      pen.rotate(-Math.PI / 2);
    });
    const [row, column] = [rows.indexOf(query), columns.indexOf(key)];
    if (column >= 0) frame(pen, KEY, left + column * unit, top, Math.max(unit, 2), h);
    if (row >= 0) frame(pen, QUERY, left, top + row * unit, w, Math.max(unit, 2));
    areas.push({ x: offset + left, y: top, width: w, height: h, find: (x, y) => ({ query: rows[clamp(Math.floor(y / unit), 0, rows.length - 1)], key: columns[clamp(Math.floor(x / unit), 0, columns.length - 1)] }) });
  }

  function drawLines(pen, panel, offset, width, height) {
    const { ink } = themeOf(root);
    const [rows, columns] = [kept(side().queries), kept(side().keys)];
    if (!rows.length || !columns.length) return pen.fillText(NO_TOKEN, 0, 40);
    const top = 46, bottom = height - 52;
    const [left, right] = [Math.min(labelWidth(pen, side().queries, rows), width * 0.3), width - Math.min(labelWidth(pen, side().keys, columns), width * 0.3)];
    const spacing = (n) => Math.min((bottom - top) / n, 24);
    const y = (i, n) => top + (i + 0.5) * spacing(n);
    const { query, key } = chosen();
    sideNames(pen, left - 4, right + 4, 32);
    for (const [tokens, places, selected, align, x] of [[side().queries, rows, query, "right", left - 4], [side().keys, columns, key, "left", right + 4]]) {
      names(pen, tokens, places, selected, spacing(places.length), align, left - 4, (i) => pen.translate(x, y(i, places.length)));
    }
    // Lines of one strength are one stroke: a few strokes however many lines. The chosen query's own come last.
    const buckets = 6;
    const draw = (lines, strength, style) => {
      const paths = Array.from({ length: buckets }, () => [new Path2D(), new Path2D()]);
      for (const [row, column, weight] of lines) {
        const path = paths[Math.min(buckets - 1, Math.floor(Math.abs(weight) * buckets))][weight < 0 ? 1 : 0];
        path.moveTo(left + 2, y(row, rows.length));
        path.lineTo(right - 2, y(column, columns.length));
      }
      paths.forEach((pair, i) => pair.forEach((path, negative) => {
        pen.globalAlpha = clamp(strength * Math.sqrt((i + 0.7) / buckets), 0, 1);
        pen.lineWidth = 1 + (3 * i) / buckets;
        pen.strokeStyle = panel.isDifference ? COLOURS[negative ? 0 : 1] : style;
        pen.stroke(path);
      }));
      pen.globalAlpha = 1;
    };
    draw(cached(`lines ${panel.name}`, () => strongest(rows, columns, panel.at)), 0.5, ink);
    const own = rows.indexOf(query);
    if (own >= 0) draw(columns.map((key, column) => [own, column, panel.at(query, key)]).filter(([, , weight]) => Math.abs(weight) > 0.004), 1, QUERY);
    areas.push({ x: offset, y: top, width, height: bottom - top, find: (x, py) => {
      const at = (places) => places[clamp(Math.floor(py / spacing(places.length)), 0, places.length - 1)];
      return x < width / 2 ? { query: at(rows), key: get("key") } : { query: get("query"), key: at(columns) };
    } });
  }

  /** How one score comes about: query × key dimension by dimension, their sum, and its place among the other keys'. */
  function drawScores(pen, width, height) {
    const { ink, faint } = themeOf(root);
    const { query, key } = chosen();
    const entry = detailOf(...here());
    pen.font = FONT;
    pen.fillStyle = ink;
    pen.textAlign = "left";
    if (!entry?.queries) {
      const [one] = get("details");
      const words = !one?.width ? "Only patterns were given: queries and keys show how a score comes about."
        : model.alone ? `This page holds the vectors of ${named([one.layer, one.head])} alone.` : "Fetching this head's vectors …";
      return pen.fillText(words, 10, 20, width - 20);
    }
    const { width: d, scale } = entry;
    const weightOf = (j) => entry.patterns[0][query * size()[1] + j];
    const biasOf = (j) => entry.biases[query * size()[1] + j];
    const q = entry.queries.subarray(query * d, (query + 1) * d);
    const scoreOf = (j) => {
      let sum = 0;
      for (let i = 0; i < d; i++) sum += q[i] * entry.keys[j * d + i];
      return sum * scale + (entry.biases ? biasOf(j) : 0);
    };
    const k = entry.keys.subarray(key * d, (key + 1) * d);
    const products = Array.from(q, (x, i) => x * k[i]);
    const total = products.reduce((a, b) => a + b, 0);
    const left = 86, bar = (width - left - 4) / d;
    const row = (values, top, name, style) => {
      const limit = Math.max(...values.map(Math.abs), 1e-6);
      pen.fillStyle = ink;
      write(pen, "left", name, 0, top + high / 2 - 8, left - 6);
      write(pen, "left", `±${fixed(limit)}`, 0, top + high / 2 + 8, left - 6);
      pen.fillStyle = faint(0.3);
      pen.fillRect(left, top + high / 2, width - left, 1);
      values.forEach((value, i) => {
        pen.fillStyle = style;
        const tall = (Math.abs(value) / limit) * (high / 2);
        pen.fillRect(left + i * bar, top + high / 2 - (value > 0 ? tall : 0), Math.max(bar - 1, 0.8), tall);
      });
    };
    const high = clamp((height - 222) / 3, 36, 74);
    pen.font = fontOf(13, "bold");
    pen.fillText(`${visible(side().queries[query])} (${query}) · ${visible(side().keys[key])} (${key}): ${d} dimensions`, 0, 9, width);
    pen.font = FONT;
    row(Array.from(q), 22, "query", QUERY);
    row(Array.from(k), 22 + high + 6, "key", KEY);
    row(products, 22 + 2 * (high + 6), "product", COLOURS[2]);
    const under = 22 + 3 * (high + 6) + 22;
    pen.fillStyle = ink;
    write(pen, "left", "dimension", 0, under - 16);
    for (let i = 0; i < d; i += Math.ceil(18 / bar)) write(pen, "center", i, left + (i + 0.5) * bar, under - 16);
    const bias = entry.biases ? ` + bias ${fixed(biasOf(key))}` : "";
    const heat = get("temperature"), plain = Math.abs(scale * heat * Math.sqrt(d) - 1) < 1e-3; // some models have a scale of their own
    const scaled = plain ? `/ √${d}${heat === 1 ? "" : ` / ${fixed(heat)}`}` : `× ${fixed(scale, 3)}`;
    write(pen, "left", `sum ${fixed(total)} ${scaled}${bias} = score ${fixed(scoreOf(key))}`, left, under, width - left);
    // The same score beside those of the other keys, and what the softmax makes of them.
    const keys = kept(side().keys), step = (width - left - 4) / keys.length;
    if (!keys.length) return pen.fillText(NO_TOKEN, left, under + 24);
    const scores = keys.map((j) => (weightOf(j) ? scoreOf(j) : NaN)); // hidden: no weight
    const open = scores.filter((score) => !Number.isNaN(score));
    const limit = Math.max(...open.map(Math.abs), 1e-6);
    const top = under + 20, tall = clamp(height - top - 60, 40, 130);
    pen.fillStyle = ink;
    pen.fillText("all scores", 0, top + tall / 4, left - 6);
    pen.fillText("weights", 0, top + tall * 0.78, left - 6);
    keys.forEach((j, i) => {
      const score = scores[i], weight = weightOf(j);
      const x = left + i * step, thick = Math.max(step - 1, 0.8);
      pen.fillStyle = j === key ? KEY : faint(Number.isNaN(score) ? 0.15 : 0.5);
      const half = tall / 4, high = weight * (tall / 2 - 20);
      if (!Number.isNaN(score)) pen.fillRect(x, top + half - (score > 0 ? (score / limit) * half : 0), thick, Math.max((Math.abs(score) / limit) * half, 1));
      pen.fillRect(x, top + tall - high, thick, Math.max(high, 1));
      if (step >= 34 && weight) {
        pen.fillStyle = ink;
        write(pen, "center", fixed(score), x + thick / 2, top + half + (score < 0 ? -8 : 8));
        write(pen, "center", fixed(weight), x + thick / 2, top + tall - high - 8);
      }
    });
    pen.fillStyle = ink;
    names(pen, side().keys, keys, key, step, step > 44 ? "center" : "left", Math.max(step, 52), (i) => {
      pen.translate(left + (i + 0.5) * step, top + tall + (step > 44 ? 12 : 4));
      if (step <= 44) pen.rotate(Math.PI / 2);
    });
    areas.push({ x: left, y: top, width: width - left, height: tall + 50, find: (x) => ({ query: get("query"), key: keys[clamp(Math.floor(x / step), 0, keys.length - 1)] }) });
  }

  const found = (event) => {
    const [x, y] = main.place(event);
    const area = areas.find((a) => x >= a.x && x < a.x + a.width && y >= a.y && y < a.y + a.height);
    return area ? area.find(x - area.x, y - area.y) : null;
  };
  function move(down, right) {
    const [rows, columns] = [kept(side().queries), kept(side().keys)];
    const next = (places, at, by) => places[clamp(Math.max(places.indexOf(at), 0) + by, 0, places.length - 1)] ?? at;
    select({ query: next(rows, get("query"), down), key: next(columns, get("key"), right) });
  }
  onTokens(main.element, found);
  onKeys(main.element, {
    ArrowUp: () => move(-1, 0),
    ArrowDown: () => move(1, 0),
    ArrowLeft: () => move(0, -1),
    ArrowRight: () => move(0, 1),
    Home: () => move(0, -Infinity),
    End: () => move(0, Infinity),
  });

  // ---------------------------------------------------------------- what the model says

  const effect = makeCanvas({ label: "The likeliest next tokens, as the model is and with your changes", width: 460, height: 40, draw: drawEffect, focusable: false });

  function drawEffect(pen, width) {
    const { ink } = themeOf(root);
    const [now, before] = [get("next_tokens"), get("unchanged").next_tokens].map((said) => new Map(said));
    pen.font = FONT;
    pen.textBaseline = "middle";
    pen.fillStyle = ink;
    write(pen, "left", "next token: bar with your changes, outline without", 0, 9);
    likeliest().forEach((name, i) => {
      const y = 20 + 20 * i, left = 90, wide = width - left - 90;
      pen.fillStyle = ink;
      write(pen, "right", visible(name), left - 6, y + 8, left - 8);
      pen.fillStyle = COLOURS[0];
      pen.fillRect(left, y, wide * (now.get(name) ?? 0), 15);
      pen.strokeStyle = ink;
      pen.lineWidth = 1.5;
      if (before.has(name)) pen.strokeRect(left, y, wide * before.get(name), 15);
      pen.fillStyle = ink;
      pen.textAlign = "left";
      const [old, fresh] = [before, now].map((said) => (said.has(name) ? fixed(said.get(name)) : "–"));
      pen.fillText(old === fresh ? fresh : `${old} → ${fresh}`, left + wide * Math.max(now.get(name) ?? 0, before.get(name) ?? 0) + 6, y + 8);
    });
  }

  const likeliest = () => [...new Set([get("unchanged").next_tokens, get("next_tokens")].flatMap((said = []) => said.slice(0, 5)).map(([name]) => name))].slice(0, 8);
  const effects = make("p");

  function showEffect() {
    const n = likeliest().length;
    effect.element.style.display = n ? "" : "none"; // an encoder predicts no next token
    effect.resize(effect.size.width, 24 + 20 * n);
    const [before, now, off] = [get("unchanged").loss, get("loss"), get("ablated")];
    const change = before === now ? "" : `${fixed(before)} → `;
    effects.textContent = (now === null ? "" : `Loss on this text: ${change}${fixed(now)} nats a token. `)
      + (off.length ? `Switched off: ${off.map(named).join("; ")}.` : "");
  }

  // ---------------------------------------------------------------- controls

  const isOff = () => get("ablated").some((head) => named(head) === named(here()));
  function ablate() {
    if (!live) return;
    const others = get("ablated").filter((head) => named(head) !== named(here()));
    change({ ablated: isOff() ? others : [...others, here()] });
  }
  function pin() {
    put(model, { pinned: get("pinned").length ? [] : here() });
  }
  /** Set what makes the model run again, and say so until the answer has come. */
  function change(values) {
    running ||= Object.entries(values).some(([name, value]) => String(get(name)) !== String(value));
    show();
    put(model, values);
  }

  const views = Object.entries({ heatmap: "heatmap", lines: "lines", scores: "query · key" }).map(([view, name]) =>
    ({ view, ...makeToggle(name, false, () => put(model, { view })) }));
  const kind = makeChoice("attention", get("kinds"), get("kind"), (value) => {
    const next = get("sides")[value], { heads } = next;
    const layer = Math.min(get("layer"), heads.length - 1);
    const [l, h] = get("pinned");
    put(model, { ...inside(next, chosen()), layer, head: Math.min(get("head"), heads[layer] - 1), pinned: h < heads[l] ? [l, h] : [], kind: value });
  });
  const compare = makeToggle("compare with this head", false, pin);
  const filter = make("input", { type: "search", placeholder: "only tokens with …", ariaLabel: "show only tokens that hold one of these words", size: 16 });
  filter.addEventListener("input", () => put(model, { filter: filter.value }));
  const row = make("div", { className: "row" }, ...views.map(({ element }) => element), ...(get("kinds").length > 1 ? [kind.element] : []), compare.element, filter);

  const text = makeRequests(model);
  const off = makeButton("switch off", ablate);
  const mask = makeToggle("causal mask", get("causal"), (causal) => change({ causal }));
  const heat = makeSlider("temperature", { min: -2, max: 2, step: 0.05, value: Math.log2(get("temperature")), format: (x) => fixed(2 ** x) },
    (x) => { clearTimeout(timer); timer = setTimeout(() => change({ temperature: 2 ** x }), 60); });
  const saved = get("checkpoints");
  const checkpoint = makeSlider("checkpoint", { min: 0, max: Math.max(saved.length - 1, 1), step: 1, value: Math.max(saved.indexOf(get("checkpoint")), 0), format: (i) => saved[i] ?? "" },
    (i) => change({ checkpoint: saved[i] }));
  const undo = makeButton("undo changes", () => change({ ablated: [], causal: true, temperature: 1 }));
  const controls = make("div", { className: "row" }, off, undo, mask.element, heat.element, ...(saved.length > 1 ? [checkpoint.element] : []));

  const readout = makeReadout();
  root.append(row, ...(live ? [make("div", { className: "row" }, text.box.element), controls] : []),
    strip.element, make("div", { className: "side-by-side" }, grid.element, main.element), readout.element, ...(live ? [effects, effect.element] : []));

  // ---------------------------------------------------------------- together

  function missing() {
    const held = [...new Set(get("sections").map(({ layer }) => layer))];
    return model.alone ? `This page holds layer ${held.join(" and ")} alone.` : `Fetching layer ${get("layer")} …`;
  }

  function words() {
    const [first, second] = panels();
    if (running || text.waiting()) return "The model is running …";
    const problem = text.news() && `${text.news()}\n`;
    if (!first.at) return problem + missing();
    const { query, key } = chosen();
    const name = (tokens, i) => `“${visible(tokens[i])}” (${i})`;
    const number = ({ at, exact }) => (exact ? fixed(at(query, key), 3) : `about ${fixed(at(query, key))}`);
    const where = pointedHead ? `${named(pointedHead)}: click to look at it${live ? ", shift-click to switch it off" : ""}.\n` : "";
    const compared = second?.at ? ` (${second.title}: ${number(second)})` : "";
    let most = 0;
    for (let j = 0; j < side().keys.length; j++) if (first.at(query, j) > first.at(query, most)) most = j;
    const [from, to] = [name(side().queries, query), name(side().keys, key)];
    const looks = first.causal && key > query ? `cannot look at ${to}, which comes later` : `looks at ${to} with weight ${number(first)}${compared}`;
    return `${problem}${where}${first.title}: ${from} ${looks}; ${first.at(query, most) ? `most at ${name(side().keys, most)}, ${fixed(first.at(query, most))}` : "it may look at nothing"}.`;
  }

  function show() {
    readout.say(words());
    for (const canvas of [grid, strip, main]) canvas.redraw();
  }

  function showState() {
    for (const { view, set } of views) set(view === get("view"));
    compare.set(get("pinned").length > 0);
    kind.set(get("kind"));
    if (document.activeElement !== filter) filter.value = get("filter");
    main.element.setAttribute("aria-label", `${named(here())}: ${get("view")}. Arrow keys move the query and the key.`);
    if (live) {
      text.fill();
      off.textContent = `switch ${isOff() ? "on" : "off"} ${named(here())}`;
      mask.set(get("causal"));
      heat.set(Math.log2(get("temperature")));
      checkpoint.set(Math.max(saved.indexOf(get("checkpoint")), 0));
      showEffect();
      effect.redraw();
    }
    layStrip();
    show();
  }

  function fit() {
    const wide = Math.max(root.clientWidth - 14, 240);
    sizeGrid();
    const beside = wide - grid.size.width - 14;
    const width = beside >= (panels().length > 1 ? 700 : 330) ? Math.min(beside, 860) : wide;
    main.resize(width, clamp(width * (panels().length > 1 ? 0.45 : 0.72), 300, 560));
    strip.resize(wide, strip.size.height);
    effect.resize(Math.min(wide, 560), effect.size.height);
    showState();
  }
  const observer = new ResizeObserver(fit);
  observer.observe(root);
  const stops = [
    watch(model, ["sections", "weights", "thumbnails", "version"], decode),
    watch(model, ["details", "detail"], decodeDetails),
    watch(model, ["kind", "sides", "pinned"], () => { pictures.clear(); fit(); }),
    watch(model, ["layer", "head", "query", "key", "view", "filter", "text", "ablated", "causal", "temperature", "checkpoint", "next_tokens", "loss", "unchanged", "request"], showState),
    watch(model, ["answered", "error"], () => { running = false; showState(); }),
  ];
  return () => {
    clearTimeout(timer);
    decoding++; // what is still being decoded comes too late
    text.box.stop();
    observer.disconnect();
    for (const stop of stops) stop();
    for (const canvas of [grid, strip, main, effect]) canvas.stop();
  };
}

export default { render };
