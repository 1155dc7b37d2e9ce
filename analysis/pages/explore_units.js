// For each kind of layer: how the number of one unit comes about.
//
// A function takes (network, layer, image, at) and returns
//   terms   maps of numbers: {name, patch, places, weights, products, sum, winner}
//   rows    of a table: [what, input, weight, product]
//   sums    the parts of the last line: [label, number]
//   line    instead of sums, the equation in words
//   total   the number
//   follow  {layer, at, text}: the unit that decided
//   missing a sentence, where the page lacks the numbers

const show = (value) => {
  if (value === null || value === undefined) return "?";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e6 || size < 1e-4 ? size.toExponential(2) : String(Number(size.toPrecision(4)));
  return (value < 0 ? "−" : "") + text;
};
const bracketed = (value) => (value < 0 ? `(${show(value)})` : show(value));
const add = (numbers) => numbers.reduce((a, b) => a + b, 0);
const NOT_HERE = "The numbers that it is computed from are not on this page, which has room for a choice of maps.";

// Window by window, over the channels of the input that the page has.
function sliding(network, layer, image, at, weightOf) {
  const [map, row, column] = at;
  const input = network.layers[layer.inputs[0]];
  const [channels, outputs] = [input.shape[0], layer.shape[0]];
  const groups = layer.options.groups;
  const perGroup = channels / groups;
  const first = Math.floor(map / (outputs / groups)) * perGroup;
  const places = network.window(layer, row, column);
  const terms = [];
  for (let c = 0; c < perGroup; c++) {
    const channel = first + c;
    const stored = layer.columns ? layer.columns.indexOf(channel) : c;
    if (stored < 0 || !network.hasNumbers(input, channel)) continue;
    const patch = places.map((place) => network.value(input, image, [channel, ...place]));
    const weights = places.map((_, tap) => weightOf(stored, tap));
    if (weights[0] === null) return { missing: NOT_HERE };
    const products = patch.map((x, tap) => x * weights[tap]);
    terms.push({ channel, name: `${input.name}[${channel}]`, input, places, patch, weights, products, sum: add(products) });
  }
  if (!terms.length) return { missing: NOT_HERE };
  const value = network.value(layer, image, at);
  const bias = network.array(layer, "bias", map, ...(layer.kind === "local" ? [row, column] : []));
  const sums = [[terms.length > 1 ? `sum over ${terms.length} maps` : "sum", add(terms.map((t) => t.sum))]];
  if (terms.length < perGroup) {
    const known = sums[0][1] + (bias || 0);
    const others = perGroup - terms.length;
    sums.push([`the other ${others === 1 ? "map" : `${others} maps`}, not on this page`, value - known]);
  }
  if (bias !== null) sums.push(["bias", bias]);
  return { terms, sums, total: add(sums.map(([, number]) => number)), isPartial: terms.length < perGroup };
}

function pooled(network, layer, image, [map, row, column]) {
  const input = network.layers[layer.inputs[0]];
  const [, height, width] = input.shape;
  const inside = ([r, c]) => r >= 0 && c >= 0 && r < height && c < width;
  const places = network.window(layer, row, column);
  const patch = places.map((place) => (inside(place) ? network.value(input, image, [map, ...place]) : null));
  const present = patch.filter((x) => x !== null);
  if (!present.length) return { missing: NOT_HERE };
  return { input, places, patch, present, name: `${input.name}[${map}]` };
}

const one = (network, layer, image, at) => network.value(network.layers[layer.inputs[0]], image, at);

function pointwise(words, compute) {
  return (network, layer, image, at) => {
    const x = one(network, layer, image, at);
    if (x === null) return { missing: NOT_HERE };
    const total = compute(x);
    return { line: words(show(x), x), total };
  };
}

const units = {
  input: (network, layer, image, at) => ({
    line: "the pixel, as the network is given it: scaled and normalised", total: network.value(layer, image, at),
  }),

  convolution(network, layer, image, at) {
    const width = layer.options.kernel_size[1];
    return sliding(network, layer, image, at, (channel, tap) =>
      network.array(layer, "weight", at[0], channel, Math.floor(tap / width), tap % width));
  },

  local(network, layer, image, at) {
    const width = layer.options.kernel_size[1];
    return sliding(network, layer, image, at, (channel, tap) =>
      network.array(layer, "weight", at[0], at[1], at[2], channel, Math.floor(tap / width), tap % width));
  },

  linear(network, layer, image, [unit]) {
    const input = network.layers[layer.inputs[0]];
    const source = input.kind === "flatten" ? network.layers[input.inputs[0]] : input;
    const [, height = 1, width = 1] = source.shape;
    const rows = [];
    for (let j = 0; j < input.shape[0]; j++) {
      const [x, w] = [network.value(input, image, [j]), network.array(layer, "weight", unit, j)];
      if (x === null || w === null) return { missing: NOT_HERE };
      const place = [Math.floor(j / (height * width)), Math.floor(j / width) % height, j % width];
      const at = source.shape.length === 3 ? place : [j];
      rows.push({ at, layer: source, what: `${source.name}[${at.join(", ")}]`, x, w, product: x * w });
    }
    const bias = network.array(layer, "bias", unit);
    const sums = [[`sum of ${rows.length} products`, add(rows.map((row) => row.product))]];
    if (bias !== null) sums.push(["bias", bias]);
    rows.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
    return { rows, sums, total: add(sums.map(([, number]) => number)) };
  },

  maximum(network, layer, image, at) {
    const found = pooled(network, layer, image, at);
    if (found.missing) return found;
    const total = Math.max(...found.present);
    const winner = found.patch.indexOf(total); // the first one, as in the layer
    const place = found.places[winner];
    return {
      terms: [{ ...found, winner }], total,
      line: `the largest of ${found.present.length} numbers, where the switch ${winner} points: row ${place[0]}, column ${place[1]} of ${found.input.name}`,
      follow: { layer: found.input, at: [at[0], ...place], text: "Follow the switch" },
    };
  },

  average(network, layer, image, at) {
    const found = pooled(network, layer, image, at);
    if (found.missing) return found;
    const { counts, divisor } = layer.options;
    const n = divisor || counts[0][at[1]] * counts[1][at[2]];
    const sum = add(found.present);
    return { terms: [found], line: `Σ / n = ${bracketed(sum)} / ${n}`, total: sum / n };
  },

  norm(network, layer, image, at) {
    const found = pooled(network, layer, image, at);
    if (found.missing) return found;
    const { p } = layer.options;
    const sum = add(found.present.map((x) => Math.abs(x) ** p));
    return { terms: [found], line: `the ${p}-norm of the window: ${show(sum)} ^ (1/${p})`, total: sum ** (1 / p) };
  },

  relu: pointwise((x) => `max(0, ${x})`, (x) => Math.max(0, x)),
  negative: pointwise((x, v) => `−${bracketed(v)}`, (x) => -x),
  tanh: pointwise((x) => `tanh(${x})`, Math.tanh),
  sigmoid: pointwise((x, v) => `1 / (1 + exp(${show(-v)}))`, (x) => 1 / (1 + Math.exp(-x))),
  same: pointwise((x) => `the input, ${x}`, (x) => x),

  flatten(network, layer, image, [unit]) {
    const input = network.layers[layer.inputs[0]];
    const [, height, width] = [...input.shape, 1, 1];
    const at = [Math.floor(unit / (height * width)), Math.floor(unit / width) % height, unit % width];
    return {
      line: `${input.name}[${at.join(", ")}], put into a row`, total: network.value(layer, image, [unit]),
      follow: network.hasNumbers(input, at[0]) ? { layer: input, at, text: "Go to that unit" } : null,
    };
  },

  padding(network, layer, image, [map, row, column]) {
    const input = network.layers[layer.inputs[0]];
    const at = [map, row + layer.options.offset[0], column + layer.options.offset[1]];
    const total = network.value(input, image, at);
    if (total === null) return { missing: NOT_HERE };
    const isInside = at[1] >= 0 && at[2] >= 0 && at[1] < input.shape[1] && at[2] < input.shape[2];
    if (!isInside) return { line: "a zero of the padding", total };
    return { line: `${input.name}[${at.join(", ")}]`, total, follow: { layer: input, at, text: "Go to that unit" } };
  },

  batch_norm(network, layer, image, at) {
    const x = one(network, layer, image, at);
    const [mean, variance] = ["mean", "variance"].map((name) => network.array(layer, name, at[0]));
    if (x === null || mean === null) return { missing: NOT_HERE };
    const [weight, bias] = ["weight", "bias"].map((name) => network.array(layer, name, at[0]));
    const scaled = (x - mean) / Math.sqrt(variance + layer.options.eps);
    const words = `(${show(x)} − ${bracketed(mean)}) / √(${show(variance)} + ${layer.options.eps})`;
    if (weight === null) return { line: words, total: scaled };
    return { line: `${show(weight)} · ${words} + ${bracketed(bias)}`, total: weight * scaled + bias };
  },

  response_norm(network, layer, image, at) {
    const input = network.layers[layer.inputs[0]];
    const { size, alpha, beta, k } = layer.options;
    const near = [];
    for (let c = at[0] - Math.floor(size / 2); c <= at[0] + Math.floor((size - 1) / 2); c++) {
      if (c >= 0 && c < input.shape[0]) near.push(network.value(input, image, [c, at[1], at[2]]));
    }
    if (near.includes(null)) return { missing: NOT_HERE };
    const [x, squares] = [one(network, layer, image, at), add(near.map((value) => value * value))];
    return {
      line: `${show(x)} / (${k} + ${show(alpha / size)} · ${show(squares)})^${beta}`,
      total: x / (k + (alpha / size) * squares) ** beta,
    };
  },

  scale(network, layer, image, at) {
    const [x, a] = [one(network, layer, image, at), network.array(layer, "constant", at[0])];
    if (x === null || a === null) return { missing: NOT_HERE };
    return { line: `${show(x)} ${layer.options.sign} ${bracketed(a)}`, total: combine(layer.options.sign, x, a) };
  },

  add(network, layer, image, at) {
    const [a, b] = layer.inputs.map((i) => network.value(network.layers[i], image, at));
    if (a === null || b === null) return { missing: NOT_HERE };
    return { line: `${show(a)} ${layer.options.sign} ${bracketed(b)}`, total: combine(layer.options.sign, a, b) };
  },

  concatenation(network, layer, image, at) {
    let map = at[0];
    for (const i of layer.inputs) {
      const input = network.layers[i];
      if (map < input.shape[0]) {
        const place = [map, ...at.slice(1)];
        return {
          line: `${input.name}[${place.join(", ")}]`, total: network.value(layer, image, at),
          follow: network.hasNumbers(input, map) ? { layer: input, at: place, text: "Go to that unit" } : null,
        };
      }
      map -= input.shape[0];
    }
    return { missing: NOT_HERE };
  },

  other: () => ({ missing: "How this function computes it is not shown here." }),
};

function combine(sign, a, b) {
  return { "+": a + b, "−": a - b, "×": a * b, "/": a / b }[sign];
}
