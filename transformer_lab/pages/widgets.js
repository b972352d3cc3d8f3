// The end of a page's script: each widget comes alive in its place. Before it stand shared.js and `modules`, by name.

/** In place of the model where no kernel runs: the same state, and nobody to talk to. `model.alone` tells it apart. */
async function alone({ state, binary }) {
  for (const [name, base64] of Object.entries(binary)) {
    const packed = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const bytes = await inflate(packed);
    state[name] = new DataView(bytes.buffer);
  }
  const listeners = {};
  return {
    alone: true,
    get: (name) => state[name],
    set: (name, value) => {
      if (state[name] === value) return;
      state[name] = value;
      for (const listener of [...(listeners[`change:${name}`] ?? [])]) listener();
    },
    save_changes: () => {},
    send: () => {},
    on: (event, listener) => { (listeners[event] ??= new Set()).add(listener); },
    off: (event, listener) => { listeners[event]?.delete(listener); },
  };
}

for (const place of document.querySelectorAll(".transformer-lab-widget")) {
  const [data, picture] = place.children;
  const el = make("div");
  place.append(el);
  picture.hidden = true;
  try {
    const packed = JSON.parse(data.textContent);
    await modules[packed.module].render({ model: await alone(packed), el });
    picture.remove();
  } catch (error) { // the others are shown all the same
    el.remove();
    picture.hidden = false;
    console.error(error);
  }
}
