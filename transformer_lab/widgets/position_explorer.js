import { COLOURS, DIVERGING, fixed, makeButton, makeCanvas, makeChoice, makeReadout, makeRoot, makeSlider, make, onKeys, put, themeOf, watch } from "./shared.js";

const [FIRST, SECOND, PAIR] = COLOURS; // the position (or query), the other (or key), the chosen pair
const FONT = "13px system-ui, sans-serif";
const HEIGHT = 232; // of every view
const ROOM = 60; // pixels that a wave needs to be drawn in full; with fewer it is drawn paler
const STATE = ["scheme", "n_positions", "position", "other", "pair", "base", "query", "key"];

// ---------------------------------------------------------------- the formulas

const omega = (pair, d, base) => base ** (-2 * pair / d); // radians a position

/** Every pair of a vector as an arrow in the plane, turned by position · omega. */
const turned = (vector, position, base) => Array.from({ length: vector.length / 2 }, (_, i) => {
  const angle = position * omega(i, vector.length, base), [x, y] = [vector[2 * i], vector[2 * i + 1]];
  return [x * Math.cos(angle) - y * Math.sin(angle), x * Math.sin(angle) + y * Math.cos(angle)];
});

const dot = ([a, b], [c, d]) => a * c + b * d;
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

/** All that is on show, from the state: as the Python class computes it. */
export function look({ scheme, n_positions: n, position, other, pair, base, query, key }) {
  const d = query.length, rotary = scheme === "rotary";
  const units = query.map((_, channel) => 1 - channel % 2); // a pair of the encoding is the arrow (1, 0), turned
  const [first, second] = rotary ? [query, key] : [units, units];
  const here = turned(first, position, base), there = turned(second, other, base);
  const products = (one, two) => one.map((arrow, i) => dot(arrow, two[i]) / (rotary ? Math.sqrt(d) : 1));
  const total = (parts) => sum(parts) / (rotary ? 1 : parts.length);
  const byPair = Array.from({ length: n }, (_, j) => products(here, turned(second, j, base)));
  const atStart = turned(first, 0, base);
  const byDistance = Array.from({ length: 2 * n - 1 }, (_, j) => products(atStart, turned(second, j - n + 1, base)));
  const [[a, b], [c, e]] = [here[pair], there[pair]];
  // Of the chosen pair, also between whole distances: the second arrow, turned, in the direction of the first.
  const [x, y] = atStart[pair], [v, w] = turned(second, 0, base)[pair], scale = rotary ? Math.sqrt(d) : 1;
  const [along, across] = [(x * v + y * w) / scale, (y * v - x * w) / scale];
  return {
    d, n, rotary, byPair,
    ownAt: (distance) => along * Math.cos(distance * omega(pair, d, base)) + across * Math.sin(distance * omega(pair, d, base)),
    encoding: Array.from({ length: n }, (_, p) => turned(units, p, base).flatMap(([cosine, sine]) => [sine, cosine])),
    wavelengths: Array.from({ length: d / 2 }, (_, i) => 2 * Math.PI / omega(i, d, base)),
    arrows: here.map((arrow, i) => [arrow, there[i]]),
    atStart: [[x, y], [v, w]],
    angle: Math.atan2(a * e - b * c, a * c + b * e) * 180 / Math.PI,
    similarity: byPair.map(total),
    everyDistance: byDistance.map(total),
    // The score if all arrows pointed the same way: no distance and no base goes beyond it.
    limit: rotary ? sum(here.map((arrow, i) => Math.hypot(...arrow) * Math.hypot(...there[i]))) / Math.sqrt(d) || 1 : 1,
  };
}

// ---------------------------------------------------------------- words

const grouped = (x) => Math.round(x).toLocaleString("en-US").replace("-", "−");
const length = (positions) => (positions < 100 ? fixed(positions, 1) : grouped(positions));

function inWords({ position, other, pair, base }, { d, rotary, wavelengths, angle, byPair, similarity }) {
  const step = 360 / wavelengths[pair], far = other - position;
  const wave = `Pair ${pair} comes round after ${length(wavelengths[pair])} positions, ${step < 1 ? "less than 1" : fixed(step, 1)}° a position.`;
  const own = fixed(byPair[other][pair]), all = fixed(similarity[other]);
  if (!rotary) {
    return `${wave} Positions ${position} and ${other}, ${Math.abs(far)} apart: its hands are ${grouped(Math.abs(angle))}° apart, similarity ${own}. The mean of all ${d / 2} pairs: ${all}.`;
  }
  return `${wave} Query at ${position}, turned by ${grouped(step * position)}°; key at ${other}, turned by ${grouped(step * other)}°; distance ${grouped(far)}. `
    + `From the query's arrow to the key's: ${grouped(angle)}°. This pair's part of the score: ${own}. The score, all ${d / 2} pairs: ${all}.`;
}

// ---------------------------------------------------------------- the widget

function render({ model, el }) {
  const root = makeRoot(el, "Position explorer");
  const get = () => Object.fromEntries(STATE.map((name) => [name, model.get(name)]));
  const start = get();
  const d = start.query.length;
  let state = start, seen = look(state), ink, paper, faint;

  // ---------------------------------------------------------------- what changes the state
  const within = (x, last) => Math.min(Math.max(Math.round(x), 0), last);
  const setPosition = (x) => put(model, { position: within(x, state.n_positions - 1) });
  const setOther = (x) => put(model, { other: within(x, state.n_positions - 1) });
  const setPair = (x) => put(model, { pair: within(x, d / 2 - 1) });
  function moveBoth(by) {
    const [low, high] = [Math.min(state.position, state.other), Math.max(state.position, state.other)];
    const step = Math.min(Math.max(by, -low), state.n_positions - 1 - high); // both stay on the page, as far apart
    if (step) put(model, { position: state.position + step, other: state.other + step });
  }

  const scheme = makeChoice("scheme", ["sinusoidal", "rotary"], state.scheme, (name) => put(model, { scheme: name }));
  const last = state.n_positions - 1;
  const position = makeSlider("position", { min: 0, max: last, step: 1, value: state.position }, setPosition);
  const other = makeSlider("other position", { min: 0, max: last, step: 1, value: state.other }, setOther);
  const pair = makeSlider("pair", { min: 0, max: d / 2 - 1, step: 1, value: state.pair }, setPair);
  const base = makeSlider(
    "base", { min: 1, max: 6, step: 0.1, value: Math.log10(state.base), format: (x) => (x < 6 ? grouped(10 ** x) : "1 million") },
    (x) => put(model, { base: Math.round(10 ** x) }),
  );
  base.element.lastChild.style.minWidth = "4.5em"; // room for every base, so that the buttons stay where they are
  const back = makeButton("both 1 back", () => moveBoth(-1));
  const on = makeButton("both 1 on", () => moveBoth(1));
  const reset = makeButton("start again", () => {
    put(model, { scheme: start.scheme, pair: start.pair, base: start.base });
    setPosition(start.position);
    setOther(start.other);
  });
  const readout = makeReadout();

  // ---------------------------------------------------------------- four views
  const views = [drawAll, drawPair, drawDistances, drawWavelengths].map((draw) => makeCanvas({
    label: "", width: 470, height: HEIGHT,
    draw: (context, width, height) => {
      ({ ink, paper, faint } = themeOf(root));
      context.font = FONT;
      context.textBaseline = "middle";
      context.lineJoin = "round";
      draw(context, width, height);
    },
  }));
  const [all, one, distances, waves] = views;
  const hints = views.map(() => make("p", { className: "note", style: "margin: 0 0 4px" }));
  root.append(
    make("div", { className: "row" }, scheme.element, position.element, other.element, pair.element, base.element, back, on, reset),
    make("div", { className: "side-by-side" }, ...views.map((view, i) => make("div", {}, view.element, hints[i]))),
    readout.element,
  );
  const fit = () => {
    const room = root.clientWidth - 12, width = room >= 680 ? Math.min((room - 12) / 2, 520) : Math.min(room, 520);
    if (width > 0) for (const view of views) if (view.size.width !== width) view.resize(width, HEIGHT);
  };
  const resizing = new ResizeObserver(fit);
  resizing.observe(root);

  const write = (context, text, x, y, align = "left", colour = ink) => {
    context.fillStyle = colour;
    context.textAlign = align;
    context.fillText(text, x, y);
  };
  const line = (context, points, colour, width = 1, dash = []) => {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.setLineDash(dash);
    context.beginPath();
    for (const [x, y] of points) context.lineTo(x, y);
    context.stroke();
  };
  const dotAt = (context, x, y, radius, colour) => {
    context.fillStyle = colour;
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.fill();
  };
  const stepFor = (range) => [1, 2, 5, 10, 20, 50, 100].find((step) => range / step <= 7) ?? 200;

  // Positions from left to right, channels downwards.
  const table = { left: 66, top: 40, right: 10, bottom: 26 };
  const columnsOf = (width) => (width - table.left - table.right) / seen.n;
  const rowsOf = (height) => (height - table.top - table.bottom) / d;

  function drawAll(context, width, height) {
    if (seen.rotary) return drawEveryPair(context, width, height);
    // As in the series' pictures: −1 is orange.
    const pixels = new ImageData(seen.n, d), colours = new Uint32Array(pixels.data.buffer);
    seen.encoding.forEach((row, p) => row.forEach((x, channel) => {
      colours[channel * seen.n + p] = DIVERGING[Math.round(127.5 * (1 - x))];
    }));
    const picture = make("canvas", { width: seen.n, height: d });
    picture.getContext("2d").putImageData(pixels, 0, 0);
    const { left, top } = table, w = columnsOf(width), h = rowsOf(height);
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, left, top, w * seen.n, h * d);
    write(context, "encoding: orange −1, white 0, blue 1", 0, 9);
    for (let p = 0; p < seen.n; p += stepFor(seen.n)) write(context, String(p), left + (p + 0.5) * w, height - 14, "center");
    write(context, "position", left - 8, height - 14, "right");
    for (const [place, colour] of [[state.other, SECOND], [state.position, FIRST]]) {
      const middle = left + (place + 0.5) * w;
      context.fillStyle = colour;
      context.beginPath();
      for (const [x, y] of [[middle - 7, top - 14], [middle + 7, top - 14], [middle, top - 2]]) context.lineTo(x, y);
      context.fill();
      context.strokeStyle = "#000"; // the picture is bright on every page
      context.lineWidth = 1.5;
      context.strokeRect(left + place * w, top, w, h * d);
    }
    context.strokeStyle = "#000";
    context.lineWidth = 1.5;
    context.strokeRect(left, top + 2 * state.pair * h, w * seen.n, 2 * h);
    context.fillStyle = PAIR;
    context.fillRect(left - 6, top + 2 * state.pair * h, 5, Math.max(2 * h, 4));
    write(context, `pair ${state.pair}`, left - 9, top + (2 * state.pair + 1) * h, "right");
  }

  // The pairs as small circles, in as many rows as make them largest.
  function gridOf(width, height) {
    const grids = [4, 8, 16].map((most) => Math.min(most, d / 2)).map((columns) => {
      const w = width / columns, h = (height - 24) / Math.ceil(d / 2 / columns);
      return { columns, w, h, radius: Math.min(w / 2 - 4, (h - 18) / 2, 46) };
    });
    return grids.reduce((best, grid) => (grid.radius > best.radius ? grid : best));
  }

  function drawEveryPair(context, width, height) {
    const { columns, w, h, radius } = gridOf(width, height), every = Math.ceil(22 / w);
    write(context, "all pairs, from the fastest to the slowest", 0, 9);
    seen.arrows.forEach((arrows, i) => {
      const x = (i % columns) * w, y = 24 + Math.floor(i / columns) * h;
      if (i === state.pair) {
        context.strokeStyle = PAIR;
        context.lineWidth = 2;
        context.setLineDash([]);
        context.strokeRect(x + 1, y + 1, w - 2, h - 2);
      }
      if (i % every === 0) write(context, String(i), x + w / 2, y + 9, "center"); // as many numbers as there is room for
      drawArrows(context, x + w / 2, y + h / 2 + 7, radius, arrows, 2);
    });
  }

  function drawArrows(context, x, y, radius, arrows, thick) {
    const longest = Math.max(...arrows.map((arrow) => Math.hypot(...arrow))) || 1;
    const tips = arrows.map(([across, up]) => [x + across / longest * radius, y - up / longest * radius]);
    context.setLineDash([]);
    context.strokeStyle = faint(0.3);
    context.lineWidth = 1;
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.stroke();
    [FIRST, SECOND].forEach((colour, i) => { // the first is thicker, so that both are seen where they coincide
      line(context, [[x, y], tips[i]], colour, thick * (2 - i));
      dotAt(context, ...tips[i], thick * (2 - i), colour);
    });
  }

  function drawPair(context, width, height) {
    const radius = Math.min(90, width / 4), x = radius + 16, y = 24 + radius + 8;
    const names = seen.rotary ? [`query at ${state.position}`, `key at ${state.other}`] : [`position ${state.position}`, `position ${state.other}`];
    write(context, seen.rotary ? `pair ${state.pair} of query and key, turned` : `pair ${state.pair} as a clock: cosine across, sine up`, 0, 9);
    const longest = Math.max(...seen.atStart.map((arrow) => Math.hypot(...arrow))) || 1;
    seen.atStart.forEach(([across, up], i) => {
      line(context, [[x, y], [x + across / longest * radius, y - up / longest * radius]], seen.rotary ? [FIRST, SECOND][i] : faint(0.6), 1.5, [3, 4]);
    });
    drawArrows(context, x, y, radius, seen.arrows[state.pair], 3);
    const from = -Math.atan2(seen.arrows[state.pair][0][1], seen.arrows[state.pair][0][0]); // a canvas turns clockwise
    context.strokeStyle = ink;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(x, y, radius * 0.32, from, from - seen.angle * Math.PI / 180, seen.angle > 0);
    context.stroke();
    const right = x + radius + 24;
    names.forEach((name, i) => {
      context.fillStyle = [FIRST, SECOND][i];
      context.fillRect(right, 62 + 26 * i, 14, 14);
      write(context, name, right + 20, 69 + 26 * i);
    });
    write(context, "- - at position 0", right, 69 + 52);
    context.font = "bold 20px system-ui, sans-serif";
    write(context, `${grouped(seen.rotary ? seen.angle : Math.abs(seen.angle))}°`, right, 69 + 88);
    context.font = FONT;
    write(context, seen.rotary ? "from query to key" : "apart", right, 69 + 110);
  }

  // Distances from −(n − 1) to n − 1: the curve stays, and the part that this position reaches is drawn strongly.
  const axes = { left: 46, top: 30, right: 12, bottom: 38 };
  const xOfDistance = (distance, width) => axes.left + (distance + seen.n - 1) / (2 * seen.n - 2) * (width - axes.left - axes.right);

  function drawDistances(context, width, height) {
    const { left, top, right, bottom } = axes, limit = seen.limit;
    const y = (value) => top + (limit - value) / (2 * limit) * (height - top - bottom);
    const x = (distance) => xOfDistance(distance, width);
    write(context, seen.rotary ? "score" : "similarity", 0, 9);
    for (const value of [-limit, 0, limit]) {
      line(context, [[left, y(value)], [width - right, y(value)]], faint(0.25));
      write(context, fixed(value, limit === 1 ? 0 : 1), left - 6, y(value), "right");
    }
    const step = stepFor(2 * seen.n);
    for (let far = -Math.floor((seen.n - 1) / step) * step; far < seen.n; far += step) write(context, fixed(far, 0), x(far), height - bottom + 12, "center");
    write(context, `distance from ${seen.rotary ? "the query at" : "position"} ${state.position}`, (left + width - right) / 2, height - 8, "center");
    const distance = state.other - state.position;
    line(context, [[x(distance), top], [x(distance), height - bottom]], SECOND, 2, [4, 4]);
    const [first, last] = [-state.position, seen.n - 1 - state.position]; // the distances that there are
    const scale = x(1) - x(0);
    const wave = (from, to, thick) => {
      const points = Array.from({ length: Math.ceil((to - from) * scale) + 1 }, (_, i) => Math.min(from + i / scale, to));
      line(context, points.map((far) => [x(far), y(seen.ownAt(far))]), PAIR, thick);
    };
    context.globalAlpha = Math.min(1, Math.max(0.12, seen.wavelengths[state.pair] * scale / ROOM));
    wave(1 - seen.n, seen.n - 1, 1);
    wave(first, last, 2);
    context.globalAlpha = Math.min(1, 0.25 + scale / 4);
    seen.byPair.forEach((parts, j) => dotAt(context, x(j - state.position), y(parts[state.pair]), Math.min(2.5, 0.9 + scale / 5), PAIR));
    context.globalAlpha = 1;
    line(context, seen.everyDistance.map((height, i) => [x(i - seen.n + 1), y(height)]), faint(0.5), 1);
    line(context, seen.similarity.map((height, j) => [x(j - state.position), y(height)]), ink, scale < 1 ? 1.5 : 3);
    dotAt(context, x(distance), y(seen.byPair[state.other][state.pair]), 5, PAIR);
    dotAt(context, x(distance), y(seen.similarity[state.other]), 5, ink);
    context.fillStyle = PAIR;
    context.fillRect(width - right - 172, 8, 18, 2);
    dotAt(context, width - right - 163, 9, 2.5, PAIR);
    write(context, "this pair", width - right - 150, 9);
    context.fillStyle = ink;
    context.fillRect(width - right - 82, 7, 18, 4);
    write(context, "all pairs", width - right - 60, 9);
  }

  const scales = { ...axes, left: 76 };
  const xOfPair = (i, width) => scales.left + (i + 0.5) / (d / 2) * (width - scales.left - scales.right);

  function drawWavelengths(context, width, height) {
    const { left, top, right, bottom } = scales;
    const y = (positions) => height - bottom - Math.log10(positions) / 7 * (height - top - bottom); // 1 … 10 million
    const onPaper = (text, x, y) => { // the lines pass behind it
      const half = context.measureText(text).width / 2, middle = Math.min(Math.max(x, left + half), width - right - half);
      context.fillStyle = paper;
      context.fillRect(middle - half - 2, y - 8, 2 * half + 4, 16);
      write(context, text, middle, y, "center");
    };
    write(context, "wavelengths, in positions", 0, 9);
    for (const [power, name] of [[1, "10"], [3, "1,000"], [5, "100,000"], [7, "10 million"]]) {
      line(context, [[left, y(10 ** power)], [width - right, y(10 ** power)]], faint(0.2));
      write(context, name, left - 6, y(10 ** power), "right");
    }
    line(context, [[left, y(seen.n)], [width - right, y(seen.n)]], ink, 1, [5, 4]);
    // At the right, under the dashed line, there are dots only where even the slowest pair comes round in time.
    const below = y(seen.wavelengths.at(-1)) < y(seen.n) - 4;
    onPaper(`${seen.n} positions`, width, y(seen.n) + (below ? 12 : -12));
    seen.wavelengths.forEach((positions, i) => dotAt(context, xOfPair(i, width), y(positions), Math.min(4, 140 / d + 1), faint(0.6)));
    const chosen = seen.wavelengths[state.pair], x = xOfPair(state.pair, width);
    dotAt(context, x, y(chosen), 7, PAIR);
    onPaper(length(chosen), x, y(chosen) - 17);
    for (let i = 0; i < d / 2; i += stepFor(d / 2)) write(context, String(i), xOfPair(i, width), height - bottom + 12, "center");
    write(context, "pair", (left + width - right) / 2, height - 8, "center");
  }

  // ---------------------------------------------------------------- hands and keys
  /** A press, and each move until it is let go. A finger acts where it taps or moves sideways; up and down it scrolls. */
  function onDrag(view, action) {
    view.element.style.cursor = "pointer";
    view.element.addEventListener("pointerdown", (event) => {
      let from = event.pointerType === "touch" && view.place(event); // until it goes sideways, a finger may want to scroll
      const drag = (e) => {
        const [x, y] = view.place(e);
        if (from && e.type === "pointermove" && Math.abs(x - from[0]) <= Math.abs(y - from[1])) return;
        from = null;
        action([x, y], view.size);
      };
      const ending = new AbortController(); // of what is listened to while it is down; scrolling ends that, too
      for (const type of ["pointermove", "pointerup"]) view.element.addEventListener(type, drag, { signal: ending.signal });
      view.element.addEventListener("lostpointercapture", () => ending.abort(), { once: true });
      view.element.setPointerCapture(event.pointerId);
      if (!from) drag(event);
    });
  }
  onDrag(all, ([x, y], { width, height }) => {
    if (seen.rotary) {
      const { columns, w, h } = gridOf(width, height);
      return setPair(Math.floor((y - 24) / h) * columns + Math.floor(x / w));
    }
    setPosition(Math.floor((x - table.left) / columnsOf(width)));
    setPair(Math.floor((y - table.top) / rowsOf(height) / 2));
  });
  onDrag(distances, ([x], { width }) => setOther(state.position + (x - xOfDistance(0, width)) / (xOfDistance(1, width) - xOfDistance(0, width))));
  onDrag(waves, ([x], { width }) => setPair((x - xOfPair(0, width)) / (xOfPair(1, width) - xOfPair(0, width))));

  const upAndDown = { ArrowUp: () => setPair(state.pair - 1), ArrowDown: () => setPair(state.pair + 1) };
  const sideways = (move) => ({ ArrowLeft: () => move(-1), ArrowRight: () => move(1), ...upAndDown });
  const row = () => (seen.rotary ? gridOf(all.size.width, HEIGHT).columns : 1);
  onKeys(all.element, {
    ...sideways((by) => (seen.rotary ? setPair(state.pair + by) : setPosition(state.position + by))),
    ArrowUp: () => setPair(state.pair - row()),
    ArrowDown: () => setPair(state.pair + row()),
  });
  onKeys(one.element, sideways(moveBoth));
  onKeys(distances.element, sideways((by) => setOther(state.other + by)));
  onKeys(waves.element, sideways((by) => setPair(state.pair + by)));

  // ---------------------------------------------------------------- what the state changes
  function show() {
    state = get();
    seen = look(state);
    scheme.set(state.scheme);
    for (const [slider, name, ...labels] of [[position, "position", "position", "query at"], [other, "other", "other position", "key at"]]) {
      const text = labels[Number(seen.rotary)];
      slider.element.firstChild.textContent = text;
      slider.input.ariaLabel = text;
      slider.input.max = seen.n - 1;
      slider.set(state[name]);
    }
    pair.set(state.pair);
    base.set(Math.log10(state.base));
    readout.say(inWords(state, seen));
    const second = seen.rotary ? "key" : "other position", upDown = "↑ ↓ choose a pair";
    const keys = [
      seen.rotary ? ["All pairs of query and key as arrows", "arrow keys choose a pair"] : ["The encoding", `← → move the position, ${upDown}`],
      ["The chosen pair as two arrows", `← → move both ${seen.rotary ? "query and key" : "positions"}, ${upDown}`],
      [`${seen.rotary ? "Score" : "Similarity"} by distance`, `← → move the ${second}, ${upDown}`],
      ["The wavelengths of the pairs", "arrow keys choose a pair"],
    ];
    views.forEach((view, i) => {
      const [what, how] = keys[i];
      view.element.ariaLabel = `${what}: ${how}`;
      hints[i].textContent = view === one ? `Click, then ${how}` : `Click or drag, then ${how}`;
      view.redraw();
    });
  }

  const stopWatching = watch(model, STATE, show);
  fit();
  return () => { stopWatching(); resizing.disconnect(); for (const view of views) view.stop(); };
}

export default { render };
