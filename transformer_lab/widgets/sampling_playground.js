import { COLOURS, fixed, floats, make, makeButton, makeCanvas, makeReadout, makeRequests, makeRoot, makeSlider, onKeys, put, themeOf, visible, watch } from "./shared.js";

/**
 * `generation.next_token_probabilities` for logits that are sorted, the largest first: temperature, then top-k (0: off),
 * then top-p (1: off) of what top-k left. Also how many tokens each of the two leaves.
 */
export function nextTokenProbabilities(logits, temperature, topK, topP) {
  if (temperature === 0) return { probabilities: Float64Array.from(logits, (_, i) => (i === 0 ? 1 : 0)), afterK: 1, afterP: 1 };
  const probabilities = Float64Array.from(logits, (logit) => Math.exp((logit - logits[0]) / temperature));
  const sumToOne = () => {
    const sum = probabilities.reduce((a, b) => a + b, 0);
    probabilities.forEach((p, i) => { probabilities[i] = p / sum; });
  };
  sumToOne();
  const afterK = Math.min(topK || logits.length, logits.length);
  let afterP = afterK;
  if (topK) {
    probabilities.fill(0, afterK);
    sumToOne();
  }
  if (topP < 1) {
    let sum = 0;
    afterP = probabilities.findIndex((p) => (sum += p) - p >= topP); // the likelier ones reach p without it
    afterP = afterP === -1 ? afterK : Math.min(afterP, afterK);
    probabilities.fill(0, afterP);
  }
  sumToOne();
  return { probabilities, afterK, afterP };
}

const percent = (p) => (p > 0 && p < 0.0005 ? "<0.1%" : `${fixed(100 * p, 1)}%`);
const count = (n) => n.toLocaleString("en");

const ROW = 24, TOP = 46, MARKS = 100; // CSS pixels; at most so many drawn tokens are marked one by one

function render({ model, el }) {
  const root = makeRoot(el, "Sampling playground");
  const writes = model.get("writes") && !model.alone;
  const settings = () => ({ temperature: model.get("temperature"), top_k: model.get("top_k"), top_p: model.get("top_p") });
  const start = settings();
  let chosen = 0, own, now, logits, labels, cuts, edges;

  const vocabulary = floats(model.get("logits")).length;
  const nBars = model.get("labels").length;
  const keys = writes ? ", Enter takes it, d draws, Backspace takes the last one away" : "";
  const chart = makeCanvas({ label: `Bars: the likeliest next tokens. Arrow keys choose one${keys}.`, width: 760, height: TOP + nBars * ROW, draw });

  // The slider's places: every k up to 20, then steps of a tenth, and no cut at the end.
  const placeOf = (k) => (k <= 20 ? k : 20 + Math.log(k / 20) / Math.log(1.1));
  const last = Math.ceil(placeOf(vocabulary));
  const kAt = (x) => (x >= last ? 0 : Math.round(x <= 20 ? x : 20 * 1.1 ** (x - 20)));
  const sliders = {
    temperature: makeSlider("temperature", { min: 0, max: 5, step: 0.05, value: start.temperature, format: (x) => Number(x).toFixed(2) }, (x) => put(model, { temperature: x })),
    top_k: makeSlider("top-k", { min: 1, max: last, step: 1, value: last, format: (x) => kAt(Number(x)) || "off" }, (x) => put(model, { top_k: kAt(x) })),
    top_p: makeSlider("top-p", { min: 0.01, max: 1, step: 0.01, value: start.top_p, format: (x) => (Number(x) === 1 ? "off" : Number(x).toFixed(2)) }, (x) => put(model, { top_p: x })),
  };
  const reset = makeButton("start again", () => {
    put(model, start);
    if (writes) undo(model.get("drawn").length);
  });

  // While Python has not answered, nothing more is drawn or taken.
  const { ask, waiting, box, fill, news } = makeRequests(model);
  const drawTokens = (n) => { if (!waiting()) ask({ draw: n }); };
  const take = () => { if (!waiting() && chosen < nBars) ask({ take: model.get("ids")[chosen] }); };
  const undo = (n) => { if (!waiting() && model.get("drawn").length && n) ask({ undo: n }); };

  const written = make("p", { dir: "auto", style: "white-space: pre-wrap; overflow-wrap: anywhere; max-height: 9em; overflow-y: auto; margin: 6px 0" });
  const readout = makeReadout();
  const takeIt = makeButton("take", take);
  if (writes) root.append(make("div", { className: "row" }, box.element));
  root.append(written);
  if (writes) {
    root.append(make("div", { className: "row" },
      makeButton("draw a token", () => drawTokens(1)), makeButton("draw 10", () => drawTokens(10)), takeIt, makeButton("undo", () => undo(1))));
  }
  root.append(make("div", { className: "row" }, ...Object.values(sliders).map((slider) => slider.element), reset), chart.element);
  root.append(readout.element);

  function draw(context, width) {
    const { ink, paper, faint } = themeOf(root);
    const left = width < 480 ? 98 : 140, right = 64; // room for the tokens and for the percents
    const nRows = edges.length - 1;
    const xOf = (p) => left + p * (width - left - right);
    const yOf = (row) => TOP + row * ROW;
    context.font = "14px system-ui, sans-serif";
    context.textBaseline = "middle";

    context.textAlign = "left";
    const legend = (x, words, paint) => {
      paint(x);
      context.fillStyle = ink;
      context.fillText(words, x + 20, 10);
      return x + 34 + context.measureText(words).width;
    };
    context.lineWidth = 1.5;
    context.strokeStyle = ink;
    const next = legend(0, "the model's own", (x) => context.strokeRect(x + 1, 4, 13, 12));
    legend(next, "what is drawn from", (x) => { context.fillStyle = COLOURS[0]; context.fillRect(x, 4, 14, 13); });

    context.textAlign = "center";
    for (const p of [0, 0.5, 1]) {
      context.fillStyle = ink;
      context.fillText(`${100 * p}%`, xOf(p), 32);
      context.fillStyle = faint(0.2);
      context.fillRect(Math.round(xOf(p)), TOP - 4, 1, nRows * ROW + 4);
    }

    context.globalAlpha = waiting() ? 0.45 : 1; // these are the bars of the text before
    for (let row = 0; row < nRows; row++) {
      const y = yOf(row), p = share(now.probabilities, row), before = share(own, row);
      if (row === chosen) {
        context.fillStyle = faint(0.12);
        context.fillRect(0, y, width, ROW);
      }
      context.fillStyle = row < nBars ? COLOURS[0] : faint(0.45);
      context.fillRect(xOf(0), y + 3, xOf(p) - xOf(0), ROW - 6);
      context.strokeRect(xOf(0), y + 3, Math.max(xOf(before) - xOf(0), 1), ROW - 6);
      context.fillStyle = p > 0 ? ink : faint(0.6);
      context.textAlign = "right";
      context.fillText(nameOf(row), left - 8, y + ROW / 2 + 1, left - 10);
      context.textAlign = "left";
      context.fillText(p > 0 ? percent(p) : "–", xOf(Math.max(p, before)) + 6, y + ROW / 2 + 1);
    }
    context.globalAlpha = 1;

    for (const [n, names] of cuts) {
      const words = names.join(" and ") + (names.length === 1 ? " cuts here" : width < 480 ? "" : " cut here");
      const y = yOf(edges.indexOf(n)), wide = context.measureText(words).width;
      context.strokeStyle = COLOURS[1];
      context.lineWidth = 2;
      context.setLineDash([6, 4]);
      context.beginPath();
      context.moveTo(0, y);
      context.lineTo(width, y);
      context.stroke();
      context.setLineDash([]);
      context.fillStyle = paper;
      context.fillRect(width - wide - 8, y + 3, wide + 8, ROW - 6); // no bar is filled below a cut
      context.fillStyle = ink;
      context.textAlign = "right";
      context.fillText(words, width - 4, y + ROW / 2 + 1);
    }
  }

  const share = (probabilities, row) => probabilities.subarray(edges[row], edges[row + 1]).reduce((a, b) => a + b, 0);
  const howMany = (row) => edges[row + 1] - edges[row];
  const nameOf = (row) => (row < nBars ? visible(labels[row]) : `${count(howMany(row))} ${howMany(row) === 1 ? "other" : "others"}`);

  /** `cuts`: how many tokens are left above a cut → what cuts there. `edges`: where the rows begin and end among the ranked tokens. */
  function findRows({ temperature, top_k: k, top_p: p }) {
    cuts = new Map();
    const cut = (name, n, before) => { if (temperature > 0 && n < before) cuts.set(n, [...(cuts.get(n) ?? []), name]); };
    cut(`top-k ${k}`, now.afterK, vocabulary);
    cut(`top-p ${p.toFixed(2)}`, now.afterP, now.afterK);
    // A row for each of the likeliest, then one for the others, or two or three where they are cut.
    edges = [...new Set([...Array(nBars + 1).keys(), ...cuts.keys(), vocabulary])].sort((a, b) => a - b);
    const nRows = Math.max(edges.length - 1, Math.min(nBars + 2, vocabulary)); // one cut among the others does not change the height
    if (chart.size.height !== TOP + nRows * ROW) chart.resize(chart.size.width, TOP + nRows * ROW);
    chosen = Math.min(chosen, edges.length - 2);
  }

  function choose(row) {
    chosen = Math.min(Math.max(row, 0), edges.length - 2);
    show();
  }

  function show() {
    const { temperature, top_k: k, top_p: p } = settings();
    labels = model.get("labels");
    now = nextTokenProbabilities(logits, temperature, k, p);
    findRows(settings());
    sliders.temperature.set(temperature);
    sliders.top_k.set(k === 0 || k >= vocabulary ? last : placeOf(k));
    sliders.top_p.set(p);
    takeIt.textContent = chosen < nBars ? `take “${nameOf(chosen)}”` : "take: choose a token";
    showText();

    const [before, after] = [share(own, chosen), share(now.probabilities, chosen)];
    const token = `${nameOf(chosen)}: the model gives ${howMany(chosen) === 1 ? "it" : "them"} ${percent(before)}, now ${after > 0 ? percent(after) : "nothing"}.`;
    const left = temperature === 0 ? "Temperature 0 is greedy: the likeliest token always comes." : `${count(now.afterP)} of ${count(vocabulary)} tokens ${now.afterP === 1 ? "is" : "are"} left.`;
    readout.say(`${token} ${left}\n${news("The model is reading …")}`.trim());
    chart.redraw();
  }

  function showText() {
    fill();
    const pieces = model.get("pieces");
    const early = pieces.slice(0, -MARKS).join("");
    const marks = [...(early ? [early] : []), ...pieces.slice(-MARKS)].map((piece) => make("mark", {
      style: `color: inherit; margin-right: 1px; background: color-mix(in srgb, ${COLOURS[5]} 35%, var(--paper)); border-bottom: 2px solid ${COLOURS[0]}`,
    }, piece));
    written.replaceChildren(model.get("text"), ...marks);
    written.scrollTop = written.scrollHeight;
  }

  chart.element.addEventListener("click", (event) => choose(Math.floor((chart.place(event)[1] - TOP) / ROW)));
  onKeys(chart.element, {
    ArrowUp: () => choose(chosen - 1),
    ArrowDown: () => choose(chosen + 1),
    Home: () => choose(0),
    End: () => choose(edges.length - 2),
    ...(writes && { Enter: take, d: () => drawTokens(1), Backspace: () => undo(1) }),
  });

  const sizes = new ResizeObserver(() => chart.resize(Math.min(Math.max(root.clientWidth - 12, 280), 760), chart.size.height));
  sizes.observe(root);
  const stopReading = watch(model, ["logits"], () => {
    logits = floats(model.get("logits"));
    own = nextTokenProbabilities(logits, 1, 0, 1).probabilities;
  });
  const stopWatching = watch(model, ["text", "pieces", "drawn", "temperature", "top_k", "top_p", "logits", "labels", "request", "answered", "error"], show);
  return () => { stopReading(); stopWatching(); sizes.disconnect(); box.stop(); chart.stop(); };
}

export default { render };
