// What is chosen, and the page that shows it: an image, a layer, a unit.

const byId = (id) => document.getElementById(id);
const network = new Network(JSON.parse(byId("data").textContent));
const state = { image: 0, layer: network.layers[0], at: [0, 0, 0], isAll: false };
const SHOWN = 8; // maps of the input, before one asks for all
const ROWS = 15; // products of a fully connected unit

const isMap = (layer) => layer.shape.length === 3;
const nameOf = (layer, at) => `${layer.name}[${at.join(", ")}]`;
const times = (shape) => shape.join(" × ");

// Numbers that fit a cell: with as many decimals as the largest of them leaves room for.
function cellText(largest) {
  const digits = largest < 0.1 ? 3 : largest < 10 ? 2 : largest < 100 ? 1 : 0;
  return (value) => {
    const text = Math.abs(value).toFixed(digits).replace(/^0\.(?=...)/, ".");
    return value === 0 ? "0" : (value < 0 && Number(text) ? "−" : "") + text;
  };
}

function button(text, action, className = "") {
  const made = element("button", className, text);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
}

// The image and what the network says of it.

function buildImages() {
  byId("images").append(...network.images.map((image, i) => {
    const choice = button("", () => chooseImage(i));
    choice.setAttribute("role", "radio");
    const picture = element("img");
    picture.src = image.picture;
    picture.alt = image.truth === null ? image.name : `${image.name}, class ${image.truth}`;
    choice.append(picture);
    choice.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      const next = (i + by + network.images.length) % network.images.length;
      chooseImage(next);
      byId("images").children[next].focus();
    });
    return choice;
  }));
}

function chooseImage(number) {
  state.image = number;
  [...byId("images").children].forEach((choice, i) => {
    choice.setAttribute("aria-checked", i === number);
    choice.tabIndex = i === number ? 0 : -1;
  });
  const { name, truth, top } = network.images[number];
  byId("answer").textContent = truth === null ? `${name}:` : `${name}, of class ${truth}:`;
  byId("top").replaceChildren(...top.map(([label, probability]) => {
    const [line, bar, track] = [element("li"), element("i"), element("span")];
    bar.style.width = `${100 * probability}%`;
    track.append(bar);
    line.append(element("span", "", label), track, element("span", "", `${(100 * probability).toFixed(1)} %`));
    return line;
  }));
  document.querySelectorAll("#layers img").forEach((picture) => {
    picture.src = network.layers[picture.dataset.layer].sprites[number].src;
  });
  showLayer();
}

// The network, layer by layer.

function buildLayers() {
  byId("layers").append(...network.layers.map((layer) => {
    const line = element("li");
    const choice = button("", () => choose(layer, null, true));
    choice.dataset.layer = layer.number;
    const title = layer.kind === "input" ? "image" : layer.op;
    choice.append(element("span", "op", title), element("span", "shape", times(layer.shape)));
    if (layer.kind !== "input") choice.append(element("span", "name", layer.name));
    const [sprite] = layer.sprites;
    if (sprite) {
      const picture = element("img");
      picture.dataset.layer = layer.number;
      picture.alt = isMap(layer) ? `${layer.drawn.length} activation maps` : `${layer.shape[0]} activations`;
      const width = sprite.columns * (sprite.width + sprite.gap) - sprite.gap;
      const scale = isMap(layer) ? Math.min(288 / width, 64 / sprite.width) : 288 / width;
      picture.width = Math.round(width * scale);
      picture.height = Math.max(6, Math.round((sprite.rows * (sprite.height + sprite.gap) - sprite.gap) * scale));
      choice.append(picture);
    }
    line.append(choice);
    return line;
  }));
}

function choose(layer, at, moveFocus = false) {
  state.layer = layer;
  state.at = at || strongest(layer);
  state.isAll = false;
  showLayer();
  if (moveFocus) byId("layer-title").focus({ preventScroll: true });
  if (moveFocus && matchMedia("(max-width: 56rem)").matches) byId("layer-title").scrollIntoView();
}

// The unit whose number is largest, of the map that was chosen before if there is one.
function strongest(layer) {
  const numbers = network.numbers(layer, state.image);
  if (!numbers) return isMap(layer) ? [0, 0, 0] : [0];
  if (!isMap(layer)) return [layer.rows ? layer.rows[0] : largest(numbers, 0, numbers.length)];
  const [, height, width] = layer.shape;
  const same = state.at.length === 3 && state.at[0] < layer.shape[0] && network.hasNumbers(layer, state.at[0]);
  const map = same ? state.at[0] : layer.maps ? layer.maps[0] : 0;
  const start = network.rank(layer, map) * height * width;
  const found = largest(numbers, start, start + height * width) - start;
  return [map, Math.floor(found / width), found % width];
}

function largest(numbers, start, end) {
  let best = start;
  for (let i = start; i < end; i++) if (numbers[i] > numbers[best]) best = i;
  return best;
}

function showLayer() {
  const { layer } = state;
  document.querySelectorAll("#layers button").forEach((choice) => {
    const isCurrent = Number(choice.dataset.layer) === layer.number;
    choice.setAttribute("aria-current", isCurrent);
    if (isCurrent) scrollList(choice);
  });
  byId("layer-title").textContent = layer.kind === "input" ? "The image" : `${layer.op}, ${layer.name}`;
  const facts = [["Output", `${times(layer.shape)}${isMap(layer) ? " (maps × rows × columns)" : layer.shape.length === 1 ? " numbers" : ""}`]];
  if (layer.formula) facts.push(["Formula", layer.formula]);
  if (layer.size) facts.push(["Output rows", layer.size]);
  if (layer.kind !== "input") facts.push(["Parameters", layer.parameters]);
  if (layer.kind !== "input") facts.push(["Receptive field", fieldText(layer)]);
  byId("facts").replaceChildren(...facts.flatMap(([what, text]) => [element("dt", "", what), element("dd", "", text)]));
  for (const [what, others] of [["Reads", layer.inputs], ["Read by", layer.readers]]) {
    if (!others.length) continue;
    const links = element("dd");
    links.append(...others.map((i) => button(network.layers[i].name, () => choose(network.layers[i], null, true))));
    byId("facts").append(element("dt", "", what), links);
  }
  showMaps();
  showUnit();
}

// Bring a layer into sight in its list; the page itself stays where it is.
function scrollList(choice) {
  const [list, item] = [document.querySelector("nav"), choice.getBoundingClientRect()];
  const box = list.getBoundingClientRect();
  if (item.top < box.top || item.bottom > box.bottom) list.scrollTop += item.top - box.top - box.height / 3;
}

function fieldText({ field }) {
  if (!field) return "unknown";
  const [size, stride] = [times(field.size), field.stride[0] === field.stride[1] ? field.stride[0] : times(field.stride)];
  return stride ? `${size} pixels, ${stride} apart from unit to unit` : `${size} pixels, the same for all units`;
}

function showMaps() {
  const { layer, image } = state;
  const sprite = layer.sprites[image];
  byId("maps-section").hidden = !sprite || !isMap(layer);
  if (byId("maps-section").hidden) return;
  const left = layer.shape[0] - layer.drawn.length;
  byId("maps-title").textContent = left ? `${layer.drawn.length} of ${layer.shape[0]} maps` : `${layer.shape[0]} map${layer.shape[0] === 1 ? "" : "s"}`;
  const scale = 52 / Math.max(sprite.width, sprite.height);
  const sheet = [sprite.columns * (sprite.width + sprite.gap) - sprite.gap, sprite.rows * (sprite.height + sprite.gap) - sprite.gap];
  const chosen = layer.drawn.map((map, i) => {
    const choice = button("", () => setUnit([map, ...state.at.slice(1)]));
    const thumb = element("span", "thumb");
    const [row, column] = [Math.floor(i / sprite.columns), i % sprite.columns];
    thumb.style.width = `${sprite.width * scale}px`;
    thumb.style.height = `${sprite.height * scale}px`;
    thumb.style.backgroundImage = `url(${sprite.src})`;
    thumb.style.backgroundSize = `${sheet[0] * scale}px ${sheet[1] * scale}px`;
    thumb.style.backgroundPosition = `${-column * (sprite.width + sprite.gap) * scale}px ${-row * (sprite.height + sprite.gap) * scale}px`;
    choice.append(thumb, element("span", "label", String(map)));
    choice.dataset.map = map;
    choice.disabled = !network.hasNumbers(layer, map);
    choice.setAttribute("aria-label", `Map ${map}${choice.disabled ? ", whose numbers are not on this page" : ""}`);
    return choice;
  });
  byId("maps").replaceChildren(...chosen);
}

// One unit.

function setUnit(at) {
  const { layer } = state;
  state.at = at.map((value, axis) => Math.min(Math.max(value || 0, 0), layer.shape[axis] - 1));
  state.isAll = false;
  showUnit();
}

function showUnit() {
  const { layer, image, at } = state;
  const numbers = network.numbers(layer, image);
  const value = numbers && network.value(layer, image, at);
  const isHere = value !== null && value !== undefined;
  byId("no-unit").hidden = isHere;
  byId("no-unit").textContent = numbers ? `The numbers of map ${at[0]} are not on this page.` : "The numbers of this layer are not on this page.";
  byId("told").hidden = byId("workings").hidden = !isHere;
  byId("pick").hidden = !numbers;
  document.querySelectorAll("#maps button").forEach((choice) => {
    choice.setAttribute("aria-pressed", Number(choice.dataset.map) === at[0]);
  });
  if (!numbers) return;
  showPlace();
  if (!isHere) return;
  showPlane();
  showSeen();
  byId("told").replaceChildren(`${nameOf(layer, at)} = `, element("span", "value", show(value)));
  byId("workings").replaceChildren(...explain(units[layer.kind](network, layer, image, at)));
}

const AXES = ["map", "row", "column"];

function showPlace() {
  const { layer, at } = state;
  const inputs = [...byId("place").querySelectorAll("input")];
  if (inputs.length !== at.length || byId("place").dataset.layer !== String(layer.number)) {
    byId("place").dataset.layer = layer.number;
    byId("place").replaceChildren(...at.map((_, axis) => {
      const [label, input] = [element("label", "", at.length === 1 ? "unit" : AXES[axis]), element("input")];
      input.type = "number";
      input.min = 0;
      input.max = layer.shape[axis] - 1;
      input.addEventListener("change", () => setUnit(state.at.map((v, i) => (i === axis ? Number(input.value) : v))));
      label.append(input);
      return label;
    }));
  }
  byId("place").querySelectorAll("input").forEach((input, axis) => { input.value = at[axis]; });
}

// Rows and columns of the large picture: a map, or a vector in lines.
function planeSize(layer) {
  if (isMap(layer)) return layer.shape.slice(1);
  const columns = layer.shape[0] <= 20 ? layer.shape[0] : Math.min(64, Math.ceil(Math.sqrt(layer.shape[0])));
  return [Math.ceil(layer.shape[0] / columns), columns];
}

function showPlane() {
  const { layer, image, at } = state;
  const [rows, columns] = planeSize(layer);
  const canvas = byId("plane").querySelector("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) {
    const place = isMap(layer) ? [at[0], Math.floor(i / columns), i % columns] : [i];
    if (!isMap(layer) && i >= layer.shape[0]) continue;
    pixels.data.set([...network.colour(network.value(layer, image, place), layer.largest[image]), 255], 4 * i);
  }
  context.putImageData(pixels, 0, 0);
  const [row, column] = isMap(layer) ? at.slice(1) : [Math.floor(at[0] / columns), at[0] % columns];
  placeBox(byId("plane"), [row, column, row + 1, column + 1], [rows, columns]);
  const what = isMap(layer) ? `map ${at[0]} of ${layer.name}, ${rows} × ${columns}` : `the ${layer.shape[0]} numbers of ${layer.name}`;
  byId("plane").setAttribute("aria-label", `${what}; the arrow keys choose a unit`);
  byId("plane-caption").textContent = what[0].toUpperCase() + what.slice(1);
}

function placeBox(plane, [top, left, bottom, right], [height, width]) {
  Object.assign(plane.querySelector(".box").style, {
    top: `${(100 * top) / height}%`, left: `${(100 * left) / width}%`,
    height: `${(100 * (bottom - top)) / height}%`, width: `${(100 * (right - left)) / width}%`,
  });
}

function showSeen() {
  const { layer, image, at } = state;
  const field = network.field(layer, at);
  byId("seen").hidden = !field;
  if (!field) return;
  const { picture, size } = network.images[image];
  const frame = byId("seen").querySelector(".plane");
  frame.querySelector("img").src = picture;
  placeBox(frame, field, size);
  const [top, left, bottom, right] = field;
  const range = (from, to) => (to - from === 1 ? plain(from) : `${plain(from)} to ${plain(to - 1)}`);
  const isPadded = top < 0 || left < 0 || bottom > size[0] || right > size[1];
  byId("seen-caption").textContent = `What the unit sees of the image: row ${range(top, bottom)}, column ${range(left, right)}${isPadded ? "; what lies beyond the border is padding" : ""}`;
}

function movePlane(event) {
  const { layer, at } = state;
  const [, columns] = planeSize(layer);
  const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!by) return;
  event.preventDefault();
  if (isMap(layer)) setUnit([at[0], at[1] + by[0], at[2] + by[1]]);
  else setUnit([at[0] + by[0] * columns + by[1]]);
}

function clickPlane(event) {
  const { layer, at } = state;
  const [rows, columns] = planeSize(layer);
  const box = byId("plane").querySelector("canvas").getBoundingClientRect();
  const row = Math.floor((rows * (event.clientY - box.top)) / box.height);
  const column = Math.floor((columns * (event.clientX - box.left)) / box.width);
  setUnit(isMap(layer) ? [at[0], row, column] : [row * columns + column]);
}

// How the number comes about.

function explain(how) {
  if (how.missing) return [element("p", "note", how.missing)];
  const parts = [];
  if (how.terms) parts.push(...explainTerms(how));
  if (how.rows) parts.push(...explainRows(how.rows));
  const equation = element("p", "equation");
  const [before, after] = how.sums
    ? [how.sums.map(([label, number], i) => `${label} ${i ? bracketed(number) : show(number)}`).join(" + "), " = "]
    : [how.line, " = "];
  const total = element("span", "value total", show(how.total));
  equation.append(before, after, total);
  parts.push(equation);
  const links = element("p", "links");
  for (const reader of state.layer.readers.map((i) => network.layers[i])) {
    if (reader.kind !== "relu") continue;
    links.append(
      element("span", "equation", `ReLU: max(0, ${show(how.total)}) = ${show(Math.max(0, how.total))} `),
      button(`Go to ${reader.name}`, () => choose(reader, state.at, true)),
    );
  }
  const { follow } = how;
  if (follow) links.append(button(`${follow.text}: ${nameOf(follow.layer, follow.at)}`, () => choose(follow.layer, follow.at, true), "follow"));
  if (links.childElementCount) parts.push(links);
  return parts;
}

function explainTerms({ terms }) {
  const box = element("div", "terms");
  const isLong = terms.length > SHOWN && !state.isAll;
  const bySize = [...terms].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
  const drawn = isLong ? bySize.slice(0, SHOWN) : terms;
  const size = (numbers) => Math.max(...numbers.map(Math.abs));
  const scale = { weights: size(terms.flatMap((t) => t.weights || 0)), products: size(terms.flatMap((t) => t.products || 0)) };
  const shape = state.layer.options.kernel_size;
  box.append(...drawn.map((term) => drawTerm(term, shape, scale)));
  if (!isLong) return [box];
  const more = button(`Show all ${terms.length} maps of the input`, () => {
    state.isAll = true;
    showUnit();
    byId("workings").querySelector(".term").scrollIntoView({ block: "nearest" });
  });
  return [element("p", "note", `The ${SHOWN} maps of the input that contribute most:`), box, more];
}

function drawTerm({ name, input, patch, places, weights, products, sum, winner, channel }, shape, scale) {
  const term = element("div", "term");
  const [, height, width] = input.shape;
  const outside = new Set(places.flatMap(([r, c], i) => (r < 0 || c < 0 || r >= height || c >= width ? [i] : [])));
  const inside = (values) => values.map((value, i) => (outside.has(i) ? null : value));
  const draw = (title, values, largest, classes) =>
    new Grid(...shape).fill(title, values, classes, cellText(largest)).tint(inside(values), (v) => network.colour(v, largest));
  const seen = draw(name, patch, input.largest[state.image], { filler: outside, winner: new Set([winner]) });
  const map = channel === undefined ? state.at[0] : channel;
  seen.cells.forEach((cell, i) => {
    if (outside.has(i)) return;
    cell.classList.add("link");
    cell.title = `Go to ${nameOf(input, [map, ...places[i]])}`;
    cell.addEventListener("click", () => choose(input, [map, ...places[i]], true));
  });
  term.append(seen.table);
  if (weights) {
    const prefix = `w[${state.at[0]}, ${channel}]`;
    term.append(
      element("span", "sign", "×"), draw(prefix, weights, scale.weights, {}).table,
      element("span", "sign", "="), draw("products", products, scale.products, { filler: outside }).table,
      element("span", "sum", `Σ = ${show(sum)}`),
    );
  }
  const region = element("div", "scroll");
  region.append(term);
  return region;
}

function explainRows(rows) {
  const isLong = rows.length > ROWS && !state.isAll;
  const drawn = isLong ? rows.slice(0, ROWS) : rows;
  const table = element("table", "products");
  const head = table.createTHead().insertRow();
  head.append(...["input", "x", "w", "x · w"].map((text) => Object.assign(element("th", "", text), { scope: "col" })));
  const body = table.createTBody();
  for (const { what, x, w, product, layer, at } of drawn) {
    const line = body.insertRow();
    line.insertCell().append(button(what, () => choose(layer, at, true)));
    for (const number of [x, w, product]) line.insertCell().textContent = show(number);
  }
  if (isLong) {
    const line = body.insertRow();
    line.insertCell().textContent = `the other ${rows.length - ROWS}, together`;
    for (const text of ["", "", show(add(rows.slice(ROWS).map((row) => row.product)))]) line.insertCell().textContent = text;
  }
  const region = element("div", "scroll");
  region.append(table);
  const parts = [element("p", "note", "Largest products first:"), region];
  if (isLong) parts.push(button(`Show all ${rows.length} products`, () => { state.isAll = true; showUnit(); }));
  return parts;
}

buildImages();
buildLayers();
byId("plane").addEventListener("keydown", movePlane);
byId("plane").addEventListener("click", clickPlane);
const first = network.layers.find((layer) => layer.kind === "convolution") || network.layers[0];
state.layer = first;
state.at = strongest(first);
chooseImage(0);
