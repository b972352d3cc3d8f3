import { bytesOf, COLOURS, make, makeButton, makeCanvas, makeReadout, makeRequests, makeRoot, makeSlider, makeToggle, onKeys, put, themeOf, visible, watch } from "./shared.js";

/** `tokenizers.merge_pair`; a word without the pair comes back itself. */
export function mergePair(ids, [left, right], newId) {
  if (!ids.some((id, i) => id === left && ids[i + 1] === right)) return ids;
  const merged = [];
  for (let i = 0; i < ids.length; i++) {
    const found = ids[i] === left && ids[i + 1] === right;
    merged.push(found ? newId : ids[i]);
    if (found) i++;
  }
  return merged;
}

/** states[s][w]: the tokens of word w after s merges. */
export function replay(words, pairs) {
  const states = [words];
  pairs.forEach((pair, k) => states.push(states[k].map((word) => mergePair(word, pair, 256 + k))));
  return states;
}

/** [left, right, count], the most frequent first; of equal ones the smaller ids, as in `BPETokenizer.train`. */
export function rankPairs(words, counts) {
  const found = new Map();
  words.forEach((word, w) => {
    for (let i = 0; i + 1 < word.length; i++) {
      const key = word[i] * 4096 + word[i + 1];
      found.set(key, (found.get(key) ?? 0) + counts[w]);
    }
  });
  return [...found].map(([key, count]) => [Math.floor(key / 4096), key % 4096, count])
    .sort((a, b) => b[2] - a[2] || a[0] - b[0] || a[1] - b[1]);
}

const BEAT = 700; // milliseconds a step while it plays
const ROW = 28, HEIGHT = 238, N_PAIRS = 8; // CSS pixels; half of a row shows that there is more
const FONT = "14px system-ui, sans-serif";
const times = (n) => (n === 1 ? "once" : n === 2 ? "twice" : `${n.toLocaleString("en")} times`);

function render({ model, el }) {
  const root = makeRoot(el, "Byte-pair encoding, step by step");
  // Of the text: its different words, how often each comes, and which word stands at which place.
  let words, counts, order, states, tokenBytes, nTokens;
  let step, chips = [], tallest = 0, ranked, chosen = null; // chosen: the place of a byte in the text; its token is the one meant

  const live = !model.alone;
  const { box, fill, news } = makeRequests(model);

  const last = () => model.get("pairs").length;
  const go = (to) => put(model, { step: Math.min(Math.max(to, 0), last()) });
  const slider = makeSlider("merges", { min: 0, max: last(), step: 1, value: model.get("step"), format: (x) => `${x} of ${last()}` }, (x) => go(x));
  let timer = 0;
  const play = makeToggle("play", false, (down) => {
    if (!down) return stop();
    if (model.get("step") === last()) go(0);
    play.element.textContent = "stop";
    timer = setInterval(() => {
      go(model.get("step") + 1);
      if (model.get("step") === last()) stop();
    }, BEAT);
  });
  function stop() {
    clearInterval(timer);
    play.set(false);
    play.element.textContent = "play";
  }

  // The canvas stays in sight while the empty element behind it scrolls: a text of any length costs one canvas.
  const view = makeCanvas({ label: "The text, cut into its tokens. Arrow keys choose one.", width: 700, height: HEIGHT, draw: drawChips });
  view.element.style.cssText = "position: sticky; top: 0";
  const depth = make("div", {}, view.element);
  const scroll = make("div", { style: `overflow-y: auto; max-height: ${HEIGHT}px` }, depth);
  scroll.addEventListener("scroll", view.redraw);
  const pairs = makeCanvas({ label: "The most frequent pairs", width: 326, height: 24 + N_PAIRS * 22, draw: drawPairs, focusable: false });
  const curve = makeCanvas({ label: "Tokens against merges", width: 326, height: 24 + N_PAIRS * 22, draw: drawCurve, focusable: false });
  const vocabulary = make("p", { className: "note", style: "max-height: 6em; overflow-y: auto; margin: 4px 0" });
  const readout = makeReadout();
  if (live) root.append(make("div", { className: "row" }, box.element));
  root.append(
    make("div", { className: "row" }, slider.element, makeButton("back", () => go(step - 1)), makeButton("forward", () => go(step + 1)), play.element),
    scroll, make("div", { className: "side-by-side", style: "margin-top: 6px" }, pairs.element, curve.element), readout.element, vocabulary,
  );

  function read() {
    const chunks = model.get("chunks"), merges = model.get("pairs"), encoder = new TextEncoder();
    const different = [...new Set(chunks)], numbers = new Map(different.map((chunk, w) => [chunk, w]));
    order = chunks.map((chunk) => numbers.get(chunk));
    counts = different.map(() => 0);
    for (const w of order) counts[w] += 1;
    words = different.map((chunk) => [...encoder.encode(chunk)]);
    states = replay(words, merges);
    nTokens = states.map((state) => state.reduce((n, word, w) => n + word.length * counts[w], 0));
    tokenBytes = Array.from({ length: 256 }, (_, b) => [b]);
    for (const [left, right] of merges) tokenBytes.push([...tokenBytes[left], ...tokenBytes[right]]);
    slider.input.max = last();
    [tallest, chosen] = [0, null];
  }

  function nameOf(id) {
    try {
      return visible(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytesOf(Uint8Array.from(tokenBytes[id]))));
    } catch { // only a part of a character
      return tokenBytes[id].map((b) => b.toString(16).toUpperCase().padStart(2, "0")).join(" ");
    }
  }

  /** Where each token stands: { id, x, y, wide, first, next }; first: the place of its first byte. */
  function place() {
    const context = view.element.getContext("2d"), names = new Map();
    const merge = model.get("pairs")[step];
    let x = 0, y = 0, first = 0;
    chips = [];
    context.font = FONT;
    for (const w of order) {
      const ids = states[step][w];
      for (let i = 0; i < ids.length; i++) {
        const id = ids[i];
        if (!names.has(id)) names.set(id, nameOf(id));
        const name = names.get(id), wide = Math.max(context.measureText(name).width + 9, 22); // with its gap 24: a finger finds it
        if (x && x + wide > view.size.width) [x, y] = [0, y + ROW];
        const second = chips.at(-1)?.next === 1 && i > 0;
        const next = second ? 2 : merge && id === merge[0] && ids[i + 1] === merge[1] ? 1 : 0;
        chips.push({ id, name, x, y, wide, first, next });
        first += tokenBytes[id].length;
        x += wide + 2;
        if (tokenBytes[id].includes(10)) [x, y] = [0, y + ROW]; // after a line's end
      }
      x += x ? 4 : 0;
    }
    const deep = (chips.at(-1)?.y ?? 0) + ROW;
    depth.style.height = `${deep}px`;
    tallest = Math.max(tallest, Math.min(deep, HEIGHT)); // what stands below keeps its place while the text gets shorter
    scroll.style.minHeight = `${tallest}px`;
    view.resize(view.size.width, Math.min(deep, HEIGHT));
  }

  function drawChips(context, width, height) {
    const { ink, paper, faint } = themeOf(root);
    const tint = (id) => (id < 256 ? faint(0.07) : `color-mix(in srgb, ${COLOURS[(id - 256) % COLOURS.length]} 38%, ${paper})`);
    const at = chips[chosenChip()];
    context.font = FONT;
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const chip of chips) {
      const y = chip.y - scroll.scrollTop;
      if (y < -ROW || y > height) continue;
      context.fillStyle = tint(chip.id);
      context.fillRect(chip.x, y + 3, chip.wide, ROW - 7);
      context.fillStyle = ink;
      context.fillText(chip.name, chip.x + chip.wide / 2, y + ROW / 2);
      if (chip.id === at?.id) context.fillRect(chip.x, y + ROW - 6, chip.wide, 2); // all tokens like the chosen one
      if (chip.next) {
        context.fillStyle = COLOURS[1];
        context.fillRect(chip.x, y, chip.wide + (chip.next === 1 ? 2 : 0), 3);
      }
      if (chip === at) {
        context.strokeStyle = ink;
        context.lineWidth = 2;
        context.strokeRect(chip.x + 1, y + 4, chip.wide - 2, ROW - 9);
      }
    }
  }

  function drawPairs(context, width) {
    const { ink, faint } = themeOf(root);
    const left = 118;
    context.font = FONT;
    context.textBaseline = "middle";
    context.fillStyle = ink;
    context.textAlign = "left";
    context.fillText(ranked.length ? "most frequent pairs" : "no pairs are left", 0, 10);
    ranked.slice(0, N_PAIRS).forEach(([one, other, count], row) => {
      const y = 24 + row * 22;
      context.fillStyle = row === 0 && step < last() ? COLOURS[1] : faint(0.35);
      context.fillRect(left, y + 3, Math.max((width - left - 50) * count / ranked[0][2], 2), 16);
      context.fillStyle = ink;
      context.textAlign = "right";
      context.fillText(`${nameOf(one)} + ${nameOf(other)}`, left - 8, y + 11, left - 10);
      context.textAlign = "left";
      context.fillText(count.toLocaleString("en"), left + (width - left - 50) * count / ranked[0][2] + 6, y + 11);
    });
  }

  const curveLeft = 52, curveTop = 48; // the numbers beside the curve stand clear of the heading
  function drawCurve(context, width, height) {
    const { ink, faint } = themeOf(root);
    const bottom = height - 22, right = width - 48; // the number stands right of the curve's end
    const xOf = (s) => curveLeft + (right - curveLeft) * s / Math.max(last(), 1);
    const yOf = (n) => bottom - (bottom - curveTop) * n / nTokens[0];
    context.font = FONT;
    context.textBaseline = "middle";
    context.fillStyle = faint(0.3);
    for (const n of [0, nTokens[0]]) context.fillRect(curveLeft, Math.round(yOf(n)), right - curveLeft, 1);
    context.fillStyle = ink;
    context.textAlign = "left";
    context.fillText("tokens of the text", 0, 10);
    context.textAlign = "right";
    for (const n of [0, nTokens[0]]) context.fillText(n.toLocaleString("en"), curveLeft - 6, yOf(n));
    context.fillText(`${last()} merges`, right, height - 9);
    context.strokeStyle = COLOURS[0];
    context.lineWidth = 2;
    context.beginPath();
    nTokens.forEach((n, s) => context.lineTo(xOf(s), yOf(n)));
    context.stroke();
    context.fillStyle = COLOURS[1];
    context.beginPath();
    context.arc(xOf(step), yOf(nTokens[step]), 5, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = ink;
    context.textAlign = "left"; // above the curve, which falls, there is room; at its start the axis has the number
    if (step > 0) context.fillText(nTokens[step].toLocaleString("en"), xOf(step) + 5, yOf(nTokens[step]) - 14);
  }

  const chosenChip = () => (chosen === null ? -1 : chips.findLastIndex((chip) => chip.first <= chosen));

  function choose(index) {
    const chip = chips[Math.min(Math.max(index, 0), chips.length - 1)];
    if (!chip) return;
    chosen = chip.first;
    if (chip.y < scroll.scrollTop) scroll.scrollTop = chip.y;
    if (chip.y + ROW > scroll.scrollTop + HEIGHT) scroll.scrollTop = chip.y + ROW - HEIGHT;
    show();
  }

  /** The token above (−1) or below (1) the chosen one. */
  function chooseRow(by) {
    const at = chips[Math.max(chosenChip(), 0)];
    const rows = [...new Set(chips.map((chip) => chip.y))];
    const y = rows[rows.indexOf(at.y) + by];
    if (y !== undefined) choose(chips.findLastIndex((chip) => chip.y === y && (chip.x <= at.x || chip.x === 0)));
  }

  function say() {
    const merges = model.get("pairs"), id = chips[chosenChip()]?.id;
    const pair = ([left, right]) => `${nameOf(left)} + ${nameOf(right)}`;
    const quoted = (token) => `“${nameOf(token)}”`;
    const lines = [`${nTokens[0].toLocaleString("en")} bytes are ${nTokens[step].toLocaleString("en")} tokens after ${step} of ${last()} merges.`];
    if (step > 0) lines[0] += ` The last one made ${quoted(255 + step)} of ${pair(merges[step - 1])}.`;
    if (step < last()) {
      lines.push(`Next: ${pair(ranked[0])}, ${times(ranked[0][2])}${ranked[1]?.[2] === ranked[0][2] ? "; another pair is as frequent, and the smaller ids go first" : ""}.`);
    } else lines.push(ranked.length ? "No more merges were learnt." : "Every word is one token: no pairs are left.");
    if (id !== undefined) {
      const origin = id < 256 ? "a byte" : `made in merge ${id - 255} of ${pair(merges[id - 256])}`;
      lines.push(`Chosen: ${quoted(id)}, id ${id}, ${origin}; it stands here ${times(chips.filter((chip) => chip.id === id).length)}.`);
    }
    lines.push(news("The new text is being read …"));
    readout.say(lines.join("\n").trim());
  }

  function show() {
    step = Math.min(model.get("step"), last());
    ranked = rankPairs(states[step], counts);
    slider.set(step);
    fill();
    place();
    const made = Array.from({ length: step }, (_, k) => nameOf(256 + k));
    vocabulary.textContent = `Vocabulary: ${256 + step} tokens, the 256 bytes${step ? " and " : ""}${made.join(" · ")}`;
    const leading = ranked.slice(0, N_PAIRS).map(([left, right, n]) => `${nameOf(left)} + ${nameOf(right)} ${n}`);
    pairs.element.setAttribute("aria-label", `The most frequent pairs: ${leading.join(", ")}`);
    say();
    for (const canvas of [view, pairs, curve]) canvas.redraw();
  }

  view.element.addEventListener("click", (event) => {
    const [x, y] = view.place(event);
    const index = chips.findIndex((chip) => x >= chip.x && x <= chip.x + chip.wide + 2 && Math.floor((y + scroll.scrollTop) / ROW) * ROW === chip.y);
    if (index >= 0) choose(index);
  });
  onKeys(view.element, {
    ArrowLeft: () => choose(chosenChip() - 1),
    ArrowRight: () => choose(chosenChip() + 1),
    ArrowUp: () => chooseRow(-1),
    ArrowDown: () => chooseRow(1),
    Home: () => choose(0),
    End: () => choose(chips.length - 1),
  });

  const stopReading = watch(model, ["chunks", "pairs"], () => { read(); show(); });
  const stopWatching = watch(model, ["step", "text", "request", "answered", "error"], show);
  const sizes = new ResizeObserver(() => {
    const width = Math.max(scroll.clientWidth, 200);
    if (view.size.width === width) return;
    [view.size.width, tallest] = [width, 0];
    show();
  });
  sizes.observe(root);
  return () => {
    stopReading();
    stopWatching();
    sizes.disconnect();
    stop();
    box.stop();
    for (const canvas of [view, pairs, curve]) canvas.stop();
  };
}

export default { render };
