import { COLOURS, fixed, isolated, make, makeButton, makeCanvas, makeReadout, makeRoot, makeSlider, onKeys, put, themeOf, watch } from "./shared.js";

export function softmax(scores, temperature, masked) {
  const open = scores.map((score, i) => (masked.includes(i) ? -Infinity : score / temperature));
  const highest = Math.max(...open);
  const powers = open.map((score) => (highest === -Infinity ? 0 : Math.exp(score - highest)));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => (sum ? power / sum : 0));
}

export const entropyInBits = (weights) => weights.reduce((bits, w) => bits - (w > 0 ? w * Math.log2(w) : 0), 0);

function render({ model, el }) {
  const root = makeRoot(el, "Softmax playground");
  const n = model.get("labels").length;
  const start = { scores: model.get("scores"), temperature: model.get("temperature"), masked: model.get("masked") };
  let chosen = 0;

  const left = 52, height = 384;
  let columnWidth = 0;
  const chart = makeCanvas({ label: "Scores above, weights below. Arrow keys choose and change a score, m masks it.", width: 400, height, draw });
  const temperature = makeSlider(
    "temperature",
    { min: Math.log(0.05), max: Math.log(10), step: Math.log(200) / 500, value: Math.log(start.temperature), format: (x) => Math.exp(Number(x)).toFixed(2) },
    (x) => put(model, { temperature: Math.min(Math.max(Math.exp(x), 0.05), 10) }),
  );
  const mask = makeButton("mask", toggleMask);
  const reset = makeButton("start again", () => put(model, start));
  const readout = makeReadout();
  // Few tokens leave room at their side; where they do not, what is to be moved comes below them.
  const side = make("div", { style: "flex: 1 1 250px" }, temperature.element, make("div", { className: "row" }, mask, reset), readout.element);
  root.append(make("div", { className: "side-by-side", style: "align-items: center" }, chart.element, side));

  // Scores in the upper part, −limit … limit; weights in the lower, 0 … 1.
  const scoreTop = 34, scoreBottom = 186, weightTop = 254, weightBottom = 344;
  const limit = () => model.get("limit");
  const yOfScore = (score) => scoreTop + (limit() - score) * (scoreBottom - scoreTop) / (2 * limit());
  const yOfWeight = (weight) => weightBottom - weight * (weightBottom - weightTop);

  function draw(context, width, height) {
    const { ink, paper, faint } = themeOf(root);
    const [scores, masked, labels] = ["scores", "masked", "labels"].map((name) => model.get(name));
    const weights = softmax(scores, model.get("temperature"), masked);
    context.font = "14px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.fillStyle = ink;
    context.textAlign = "right";
    for (const score of [-limit(), 0, limit()]) context.fillText(fixed(score, Number.isInteger(limit()) ? 0 : 1), left - 8, yOfScore(score));
    for (const weight of [0, 1]) context.fillText(String(weight), left - 8, yOfWeight(weight));
    context.textAlign = "left";
    context.fillText("score", 0, 10);
    context.fillText("weight", 0, weightTop - 24);
    context.fillStyle = faint(0.3);
    for (const y of [yOfScore(0), yOfWeight(0), yOfWeight(1)]) context.fillRect(left, Math.round(y), width - left, 1);
    context.textAlign = "center";
    for (let i = 0; i < n; i++) {
      const x = left + i * columnWidth, middle = x + columnWidth / 2, thick = Math.min(columnWidth * 0.62, 56);
      if (i === chosen) {
        context.fillStyle = faint(0.1);
        context.fillRect(x, scoreTop - 22, columnWidth, height - scoreTop + 22);
      }
      context.fillStyle = masked.includes(i) ? faint(0.3) : COLOURS[0];
      const y = yOfScore(scores[i]);
      context.fillRect(middle - thick / 2, Math.min(y, yOfScore(0)), thick, Math.abs(y - yOfScore(0)));
      context.beginPath();
      context.arc(middle, y, 8, 0, 2 * Math.PI); // the handle: round, so that nobody takes it for a bar
      context.fill();
      context.strokeStyle = paper;
      context.lineWidth = 2;
      context.stroke();
      context.fillStyle = masked.includes(i) ? faint(0.3) : COLOURS[1];
      context.fillRect(middle - thick / 2, yOfWeight(weights[i]), thick, weightBottom - yOfWeight(weights[i]));
      context.fillStyle = ink;
      context.fillText(fixed(weights[i]), middle, yOfWeight(weights[i]) - 9);
      context.fillText(fixed(scores[i], 1), middle, y + (scores[i] < 0 ? 18 : -18));
      context.fillText(labels[i], middle, height - 24, columnWidth - 2);
      if (masked.includes(i)) context.fillText("masked", middle, height - 8, columnWidth - 2);
    }
  }

  function setScore(i, score) {
    const scores = [...model.get("scores")];
    scores[i] = Math.round(10 * Math.min(Math.max(score, -limit()), limit())) / 10;
    put(model, { scores });
  }

  function toggleMask() {
    const masked = model.get("masked");
    put(model, { masked: masked.includes(chosen) ? masked.filter((i) => i !== chosen) : [...masked, chosen].sort((a, b) => a - b) });
  }

  function choose(i) {
    chosen = Math.min(Math.max(i, 0), n - 1);
    show();
  }

  function show() {
    const [scores, masked, labels] = ["scores", "masked", "labels"].map((name) => model.get(name));
    const weights = softmax(scores, model.get("temperature"), masked);
    mask.textContent = `${masked.includes(chosen) ? "unmask" : "mask"} “${isolated(labels[chosen])}”`;
    temperature.set(Math.log(model.get("temperature")));
    const bits = entropyInBits(weights);
    const all = masked.length === n ? "Everything is masked: there is nothing to weigh." : `Entropy ${fixed(bits)} bits, like ${fixed(2 ** bits, 1)} equal tokens.`;
    readout.say(`${isolated(labels[chosen])}: score ${fixed(scores[chosen], 1)}, weight ${fixed(weights[chosen], 3)}${masked.includes(chosen) ? " (masked)" : ""}. ${all}`);
    chart.redraw();
  }

  const column = (event) => Math.floor((chart.place(event)[0] - left) / columnWidth);
  const onScores = (event) => column(event) >= 0 && column(event) < n && chart.place(event)[1] <= scoreBottom + 12;
  // A finger on a score drags it; anywhere else it scrolls the page.
  chart.element.addEventListener("touchstart", (event) => { if (onScores(event.changedTouches[0])) event.preventDefault(); }, { passive: false });
  chart.element.addEventListener("pointerdown", (event) => {
    if (column(event) < 0 || column(event) >= n) return;
    choose(column(event));
    const drag = (e) => setScore(chosen, limit() - (chart.place(e)[1] - scoreTop) * (2 * limit()) / (scoreBottom - scoreTop));
    if (!onScores(event)) return; // a weight is a result: only scores can be dragged
    chart.element.setPointerCapture(event.pointerId);
    drag(event);
    chart.element.addEventListener("pointermove", drag);
    chart.element.addEventListener("lostpointercapture", () => chart.element.removeEventListener("pointermove", drag), { once: true });
  });
  onKeys(chart.element, {
    ArrowLeft: () => choose(chosen - 1),
    ArrowRight: () => choose(chosen + 1),
    ArrowUp: (event) => setScore(chosen, model.get("scores")[chosen] + (event.shiftKey ? 1 : 0.1)),
    ArrowDown: (event) => setScore(chosen, model.get("scores")[chosen] - (event.shiftKey ? 1 : 0.1)),
    m: toggleMask,
  });

  const fit = new ResizeObserver(() => {
    columnWidth = Math.max(30, Math.min(100, (Math.min(root.clientWidth - 12, 600) - left) / n));
    chart.resize(left + n * columnWidth, height);
  });
  fit.observe(root);
  const stopWatching = watch(model, ["scores", "temperature", "masked", "limit"], show);
  return () => { stopWatching(); fit.disconnect(); chart.stop(); };
}

export default { render };
