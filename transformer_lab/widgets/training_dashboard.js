import { COLOURS, colour, fixed, make, makeCanvas, makeReadout, makeRoot, makeSlider, onKeys, put, themeOf, visible, watch } from "./shared.js";

const LISTS = ["curve", "held_out", "evaluations"];
const FONT = "13px system-ui, sans-serif";
const LEFT = 46, RIGHT = 12; // of the losses: for the numbers, and for half of the last one

/** What Python tells: of each list, what it holds from some place on. Done in place, so that nothing is sent back. */
function take(model, news) {
  const missed = LISTS.some((name) => news[name][0] > model.get(name).length);
  if (missed) model.send({ ask: "everything" });
  else for (const name of LISTS) model.get(name).splice(news[name][0], Infinity, ...news[name][1]);
}

/** From the moment that the page has the model: also while its view is not on the screen yet. */
function initialize({ model }) {
  model.on("msg:custom", (news) => take(model, news));
}

/** 1, 2 or 5 times a power of ten, so that at most `count` of them fill the range. */
function niceStep(range, count) {
  const power = 10 ** Math.floor(Math.log10(range / count));
  return power * [1, 2, 5, 10].find((factor) => factor * power * count >= range * 0.999);
}

const count = (x) => Math.round(x).toLocaleString("en");
const compact = new Intl.NumberFormat("en", { notation: "compact" });
const short = (x) => (x === null ? "not a finite number" : String(Number(x.toPrecision(3))).replace("-", "−"));

/** Means over `window` neighbours, as in the pictures of the series: [place of the last one, mean]. */
function runningMeans(values, window) {
  const means = [];
  for (let i = window - 1; i < values.length; i++) {
    const these = values.slice(i - window + 1, i + 1).filter((x) => x !== null);
    means.push(these.length ? these.reduce((a, b) => a + b, 0) / these.length : null);
  }
  return means;
}

function render({ model, el }) {
  const root = makeRoot(el, "Training dashboard");
  const steps = model.get("steps"), stride = model.get("stride"), unit = model.get("unit"), tokens = model.get("tokens");
  const baselines = Object.entries(model.get("baselines"));
  const n = tokens.length;
  const middleOf = (i) => (i + 0.5) * stride + 0.5; // point i is about `stride` steps
  let chosen = null; // a point of the curve
  let cell = null; // a query and a key

  const evaluations = () => model.get("evaluations");
  const newest = () => evaluations().length - 1;
  const shown = () => (model.get("shown") === -1 ? newest() : model.get("shown"));
  const stepOf = (i) => evaluations()[i]?.step ?? 0;
  const show = (i) => put(model, { shown: i >= newest() ? -1 : i }); // the last place goes on following

  // ---------------------------------------------------------------- elements

  const state = make("p", { style: "margin: 0 0 4px; font-weight: 600; white-space: pre-line; overflow-wrap: anywhere" });
  const losses = makeCanvas({ label: "Losses by step: ← → choose a step, ↑ ↓ an evaluation", width: 600, height: 290, draw: drawLosses });
  const others = makeCanvas({ label: "Learning rate and gradient norm by step.", width: 600, height: 150, draw: drawOthers, focusable: false });
  const head = makeCanvas({ label: "Pattern of one head: arrow keys choose a query and a key", width: 320, height: 320, draw: drawHead });
  const evaluation = makeSlider("evaluation", { min: 0, max: 1, step: 1, value: 0, format: (i) => `step ${count(stepOf(i))}` }, show);
  evaluation.element.style.maxWidth = "100%"; // a long number narrows the slider
  evaluation.input.style.minWidth = 0;
  evaluation.element.lastChild.style.whiteSpace = "nowrap";
  const samples = make("ol", { style: "list-style: none; margin: 4px 0; padding: 0; max-height: 15em; overflow-y: auto; border: 1px solid var(--edge); border-radius: 4px" });
  const readout = makeReadout();
  const hint = "Click the losses, then ← → choose a step (with Shift 20 at a time)";
  const more = ", ↑ ↓ an evaluation. Click the pattern, then arrow keys choose a query and a key.";
  const keys = make("p", { className: "note", style: "margin: 4px 0 0" }, n ? hint + more : `${hint}.`);
  const curves = make("div", {}, losses.element, others.element);
  const panels = make("div", { className: "side-by-side" }, curves);
  root.append(state, panels);
  if (n) {
    panels.append(head.element);
    root.append(make("div", { className: "row" }, evaluation.element), samples);
  }
  root.append(keys, readout.element);

  // ---------------------------------------------------------------- curves

  /** `known`: there is something to number. Returns where a step and a value are. */
  function axes(context, box, [low, high], tick, title, known) {
    const { ink, faint } = themeOf(root);
    context.font = FONT;
    context.fillStyle = ink;
    context.textBaseline = "middle";
    context.textAlign = "left";
    context.fillText(title, box.x, box.y - 12);
    const y = (value) => box.y + box.height * (high - value) / (high - low);
    const x = (step) => box.x + box.width * step / steps;
    const digits = Math.max(0, -Math.floor(Math.log10(tick) + 1e-9));
    const name = (value) => (tick < 0.001 ? short(value) : tick >= 1000 ? compact.format(value) : fixed(value, digits));
    for (let k = Math.round(low / tick); k * tick <= high + tick / 1000; k++) {
      context.fillStyle = faint(k === Math.round(low / tick) ? 0.5 : 0.12);
      context.fillRect(box.x, Math.round(y(k * tick)), box.width, 1);
      context.fillStyle = ink;
      context.textAlign = "right";
      if (known) context.fillText(name(k * tick), box.x - 6, y(k * tick));
    }
    const room = Math.floor(box.width / (context.measureText(count(steps)).width + 20));
    const every = room < 2 ? steps : Math.max(1, niceStep(steps, room));
    for (let step = 0; step <= steps; step += every) {
      context.textAlign = step > steps - every / 4 ? "right" : "center";
      context.fillText(count(step), step > steps - every / 4 ? x(step) + RIGHT : x(step), box.y + box.height + 12);
    }
    if (chosen !== null) {
      context.fillStyle = faint(0.5);
      context.fillRect(Math.round(x(middleOf(chosen))), box.y, 1, box.height);
    }
    return { x, y };
  }

  function line(context, xs, ys, place, { colour: stroke, alpha = 1, width = 2, dots = false }) {
    context.save();
    Object.assign(context, { strokeStyle: stroke, fillStyle: stroke, globalAlpha: alpha, lineWidth: width, lineJoin: "round" });
    context.beginPath();
    ys.forEach((y, i) => {
      if (y === null) return;
      if (i === 0 || ys[i - 1] === null) context.moveTo(place.x(xs[i]), place.y(y));
      else context.lineTo(place.x(xs[i]), place.y(y));
    });
    context.stroke();
    if (dots) for (let i = 0; i < xs.length; i++) if (ys[i] !== null) context.fillRect(place.x(xs[i]) - 3, place.y(ys[i]) - 3, 6, 6);
    context.restore();
  }

  function drawLosses(context, width, height) {
    const { ink, paper, faint } = themeOf(root);
    const curve = model.get("curve"), heldOut = model.get("held_out");
    const xs = curve.map((_, i) => middleOf(i)), ys = curve.map((point) => point[0]);
    const levels = [...ys, ...heldOut.map(([, loss]) => loss), ...baselines.map(([, level]) => level)].filter((y) => y !== null);
    const [least, most] = levels.length ? [Math.min(...levels), Math.max(...levels)] : [0, 1];
    const tick = niceStep(Math.max(most - least, 0.1), 6);
    const range = [Math.floor(least / tick) * tick, Math.ceil((most + tick / 4) / tick) * tick];
    const box = { x: LEFT, y: 24, width: width - LEFT - RIGHT, height: height - 66 };
    const place = axes(context, box, range, tick, `loss, ${unit}`, levels.length);
    context.textAlign = "right";
    context.fillStyle = ink;
    context.fillText("step", box.x - 8, box.y + box.height + 12);
    // Many steps are a cloud: it is drawn pale, and dark its running mean.
    const window = ys.length > 200 ? Math.floor(ys.length / 50) : 1;
    if (window > 1) line(context, xs, ys, place, { colour: COLOURS[0], alpha: 0.3, width: 1 });
    line(context, xs.slice(window - 1), runningMeans(ys, window), place, { colour: COLOURS[0] });
    line(context, heldOut.map(([step]) => step), heldOut.map(([, loss]) => loss), place, { colour: COLOURS[1], dots: heldOut.length <= 30 });
    for (const [name, level] of baselines) {
      context.fillStyle = faint(0.6);
      for (let x = box.x; x < box.x + box.width; x += 9) context.fillRect(x, Math.round(place.y(level)), 5, 1.5);
      context.textAlign = "right";
      context.fillStyle = ink;
      context.strokeStyle = paper; // around the letters, where a curve runs behind them
      context.lineWidth = 3;
      context.strokeText(name, box.x + box.width - 3, place.y(level) - 9);
      context.fillText(name, box.x + box.width - 3, place.y(level) - 9);
    }
    const triangle = (x, y) => { // where the sample and the pattern on show are from
      context.fillStyle = ink;
      context.beginPath();
      for (const [right, down] of [[-5, -4], [5, -4], [0, 5]]) context.lineTo(x + right, y + down);
      context.fill();
    };
    const below = height - 10;
    context.textAlign = "left";
    ["training", "held out", ...(n ? ["on show"] : [])].forEach((name, i) => {
      const x = box.x + [0, 88, 176][i];
      context.fillStyle = COLOURS[i];
      if (i < 2) context.fillRect(x, below - 2, 16, 4);
      else triangle(x + 8, below);
      context.fillStyle = ink;
      context.fillText(name, x + 21, below);
    });
    if (n && stepOf(shown())) triangle(place.x(stepOf(shown())), box.y + 2);
  }

  function drawOthers(context, width, height) {
    const curve = model.get("curve"), half = width / 2;
    const xs = curve.map((_, i) => middleOf(i));
    ["learning rate", "gradient norm"].forEach((name, i) => {
      const ys = curve.map((point) => point[i + 1]);
      const most = Math.max(...ys.filter((y) => y !== null), 1e-9);
      const tick = niceStep(ys.length ? most : 1, 3), left = [62, LEFT][i];
      const box = { x: i * half + left, y: 24, width: half - left - RIGHT, height: height - 50 };
      const place = axes(context, box, [0, Math.ceil((ys.length ? most : 1) / tick) * tick], tick, name, ys.length);
      line(context, xs, ys, place, { colour: COLOURS[2 + i], width: 1.5 });
    });
  }

  function choose(i) {
    const last = model.get("curve").length - 1;
    chosen = i === null || last < 0 ? null : Math.min(Math.max(i, 0), last);
    cell = null;
    refresh();
  }

  const pointAt = (event) => choose(Math.round(((losses.place(event)[0] - LEFT) / (losses.size.width - LEFT - RIGHT) * steps - 0.5) / stride - 0.5));
  losses.element.addEventListener("pointermove", pointAt);
  losses.element.addEventListener("pointerdown", pointAt);
  losses.element.addEventListener("pointerleave", () => choose(null));
  const move = (by) => (event) => choose((chosen ?? (by > 0 ? -1 : model.get("curve").length)) + by * (event.shiftKey ? 20 : 1));
  const browse = (by) => () => { if (n) show(Math.max(shown() + by, 0)); };
  onKeys(losses.element, {
    ArrowUp: browse(-1), ArrowDown: browse(1),
    ArrowLeft: move(-1), ArrowRight: move(1), Home: () => choose(0), End: () => choose(Infinity), Escape: () => choose(null),
  });

  // ---------------------------------------------------------------- one head

  function gridOf(width) {
    const left = 74, top = 26;
    return { left, top, size: Math.max(4, Math.floor((width - left - 44) / n)) };
  }

  function drawHead(context, width, height) {
    const { ink, paper } = themeOf(root);
    const { left, top, size } = gridOf(width);
    const pattern = patternNow(), end = top + n * size;
    context.font = FONT;
    context.fillStyle = ink;
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.fillText(`layer ${model.get("head")[0]}, head ${model.get("head")[1]}, step ${count(stepOf(shown()))}`, left, 11);
    for (let query = 0; query < n; query++) {
      for (let key = 0; key < n; key++) {
        context.fillStyle = colour(pattern[query * n + key]);
        context.fillRect(left + key * size, top + query * size, size, size);
      }
    }
    const every = Math.ceil(15 / size); // labels must not run into each other
    for (let i = 0; i < n; i += every) {
      const at = (i + 0.5) * size, bold = (chosenOne) => { context.font = chosenOne ? `bold ${FONT}` : FONT; };
      context.fillStyle = ink;
      context.textAlign = "right";
      bold(cell?.[0] === i);
      context.fillText(visible(tokens[i]), left - 6, top + at, left - 8);
      bold(cell?.[1] === i);
      context.save();
      context.translate(left + at, end + 6);
      context.rotate(-Math.PI / 2);
      context.fillText(visible(tokens[i]), 0, 0, 60);
      context.restore();
    }
    context.font = FONT;
    context.textAlign = "left";
    for (let y = 0; y < n * size; y++) {
      context.fillStyle = colour(1 - y / (n * size - 1));
      context.fillRect(left + n * size + 10, top + y, 12, 1);
    }
    context.fillStyle = ink;
    context.fillText("1", left + n * size + 26, top + 6);
    context.fillText("0", left + n * size + 26, end - 6);
    if (cell) {
      context.lineWidth = 2;
      for (const [style, inset] of [[paper, 0], [ink, 2]]) {
        context.strokeStyle = style;
        context.strokeRect(left + cell[1] * size + inset, top + cell[0] * size + inset, size - 2 * inset, size - 2 * inset);
      }
    }
  }

  function patternNow() {
    const bytes = atob(evaluations()[shown()]?.pattern ?? "");
    return Array.from({ length: n * n }, (_, i) => (bytes.charCodeAt(i) || 0) / 255);
  }

  function chooseCell(query, key) {
    const inside = (i) => Math.min(Math.max(i, 0), n - 1);
    cell = [inside(query), inside(key)];
    chosen = null;
    refresh();
  }

  const cellAt = (event) => {
    const { left, top, size } = gridOf(head.size.width), [x, y] = head.place(event);
    const [query, key] = [Math.floor((y - top) / size), Math.floor((x - left) / size)];
    if (Math.min(query, key) >= 0 && Math.max(query, key) < n) chooseCell(query, key);
  };
  head.element.addEventListener("pointermove", cellAt);
  head.element.addEventListener("pointerdown", cellAt);
  head.element.addEventListener("pointerleave", () => { cell = null; refresh(); });
  const step = (down, right) => () => (cell ? chooseCell(cell[0] + down, cell[1] + right) : chooseCell(n - 1, n - 1));
  onKeys(head.element, {
    ArrowUp: step(-1, 0), ArrowDown: step(1, 0), ArrowLeft: step(0, -1), ArrowRight: step(0, 1), Escape: () => { cell = null; refresh(); },
  });

  // ---------------------------------------------------------------- words

  function words() {
    const curve = model.get("curve"), heldOut = model.get("held_out");
    if (cell) return `Step ${count(stepOf(shown()))}: “${visible(tokens[cell[0]])}” gives “${visible(tokens[cell[1]])}” the weight ${fixed(patternNow()[cell[0] * n + cell[1]])}.`;
    if (chosen !== null && chosen < curve.length) {
      const [loss, rate, norm] = curve[chosen];
      const which = stride === 1 ? `Step ${count(chosen + 1)}` : `Steps ${count(chosen * stride + 1)} to ${count((chosen + 1) * stride)}`;
      return `${which}: ${stride === 1 ? "" : "mean "}training loss ${short(loss)} ${unit}, learning rate ${short(rate)}, ${stride === 1 ? "" : "largest "}gradient norm ${short(norm)}.`;
    }
    if (!heldOut.length) return "No held-out loss has been measured yet.";
    const [at, loss] = heldOut.at(-1);
    const beaten = baselines.filter(([, level]) => loss !== null && level > loss).sort((a, b) => a[1] - b[1]);
    const rank = beaten.length ? `, below “${beaten[0][0]}”` : baselines.length ? ", above every baseline" : "";
    return `Held-out loss at step ${count(at)}: ${short(loss)} ${unit}${rank}.`;
  }

  function listSamples() {
    const all = evaluations();
    while (samples.children.length > all.length) samples.lastChild.remove();
    all.forEach(({ step: at, sample }, i) => {
      const item = samples.children[i] ?? make("li", { style: "padding: 1px 8px; cursor: pointer", onclick: () => show(i) }, make("b"), make("span"));
      if (!samples.children[i]) samples.append(item);
      item.firstChild.textContent = `step ${count(at)} `;
      item.lastChild.textContent = sample;
      item.style.background = i === shown() ? "color-mix(in srgb, var(--accent) 25%, var(--paper))" : "";
      item.ariaCurrent = String(i === shown());
    });
    const item = samples.children[shown()];
    if (!item) return;
    const top = item.offsetTop - samples.offsetTop; // only the list scrolls, never the page
    if (top < samples.scrollTop) samples.scrollTop = top;
    samples.scrollTop = Math.max(samples.scrollTop, top + item.offsetHeight - samples.clientHeight);
  }

  function refresh() {
    const last = model.get("curve").at(-1)?.[0];
    const [status, ...why] = model.get("status").split(": "); // an error says what was wrong
    const where = status.startsWith("interrupted") ? "" : `: step ${count(model.get("step"))}`;
    const loss = last === undefined ? "" : ` · training loss ${short(last)}`;
    state.textContent = `${status[0].toUpperCase()}${status.slice(1)}${where} of ${count(steps)}${loss}${why.length ? `\n${why.join(": ")}` : ""}`;
    if (chosen !== null && chosen >= model.get("curve").length) chosen = null;
    readout.say(words());
    losses.redraw();
    others.redraw();
    if (!n) return;
    evaluation.input.max = Math.max(newest(), 1);
    evaluation.input.disabled = newest() < 1;
    evaluation.set(shown());
    listSamples();
    head.redraw();
  }

  const news = (content) => { take(model, content); refresh(); };
  const fit = new ResizeObserver(() => {
    const width = Math.min(600, root.clientWidth - 12);
    if (width < 100 || width === losses.size.width) return;
    losses.resize(width, 290);
    others.resize(width, 150);
  });
  if (n) head.resize(320, gridOf(320).top + n * gridOf(320).size + 68);
  fit.observe(root);
  model.on("msg:custom", news);
  const stopWatching = watch(model, ["step", "status", "shown"], refresh);
  return () => {
    stopWatching();
    model.off("msg:custom", news);
    fit.disconnect();
    for (const canvas of [losses, others, head]) canvas.stop();
  };
}

export default { initialize, render };
