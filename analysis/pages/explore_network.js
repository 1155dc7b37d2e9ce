// The network in the page: its activations and weights, by layer, image and place.

class Network {
  constructor(data) {
    this.layers = data.layers;
    this.images = data.images;
    this.palette = data.palette;
    this.layers.forEach((layer, number) => {
      layer.number = number;
      layer.readers = [];
      layer.cache = [];
      layer.inputs.forEach((i) => this.layers[i].readers.push(number));
      for (const array of Object.values(layer.arrays)) array.numbers = null;
    });
  }

  static floats(text) {
    return new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  }

  // [red, green, blue] of a value whose full colour is that of `largest`.
  colour(value, largest) {
    const scaled = Math.max(-1, Math.min(1, largest ? value / largest : 0));
    const at = 3 * Math.round(127 * scaled + 127);
    return this.palette.slice(at, at + 3);
  }

  // All the numbers that the page has of a layer, or null.
  numbers(layer, image) {
    if (layer.cache[image] === undefined) layer.cache[image] = this.compute(layer, image);
    return layer.cache[image];
  }

  compute(layer, image) {
    if (layer.values) return Network.floats(layer.values[image]);
    if (!["relu", "same", "flatten"].includes(layer.kind)) return null;
    const before = this.numbers(this.layers[layer.inputs[0]], image);
    return layer.kind === "relu" && before ? before.map((x) => Math.max(0, x)) : before;
  }

  // Where a map lies among those of which the page has numbers, or -1.
  rank(layer, map) {
    return layer.maps ? layer.maps.indexOf(map) : map;
  }

  hasNumbers(layer, map) {
    return this.numbers(layer, 0) !== null && this.rank(layer, map) >= 0;
  }

  // The activation at [unit], or at [map, row, column]; 0 in the padding, null if it is not there.
  value(layer, image, at) {
    const numbers = this.numbers(layer, image);
    if (!numbers) return null;
    if (at.length === 1) return numbers[at[0]];
    const [, height, width] = layer.shape;
    const [map, row, column] = at;
    if (row < 0 || column < 0 || row >= height || column >= width) return 0;
    const rank = this.rank(layer, map);
    return rank < 0 ? null : numbers[(rank * height + row) * width + column];
  }

  // A weight, bias or constant of an output's map: the first index is the map's number.
  array(layer, name, map, ...index) {
    const array = layer.arrays[name];
    if (!array) return null;
    array.numbers = array.numbers || Network.floats(array.floats);
    const chosen = layer.rows || layer.maps;
    const rank = chosen ? chosen.indexOf(map) : map;
    if (rank < 0) return null;
    let at = rank;
    index.forEach((i, axis) => { at = at * array.shape[axis + 1] + i; });
    return array.numbers[at];
  }

  // The input's units under the window of a unit, from the first to the last tap.
  window(layer, row, column) {
    const { kernel_size: size, stride, padding, dilation } = layer.options;
    const places = [];
    for (let i = 0; i < size[0]; i++) {
      for (let j = 0; j < size[1]; j++) {
        places.push([
          row * stride[0] - padding[0] + i * dilation[0],
          column * stride[1] - padding[1] + j * dilation[1],
        ]);
      }
    }
    return places;
  }

  // [top, left, bottom, right] of the pixels that a unit sees, half-open; null if unknown.
  field(layer, at) {
    if (!layer.field) return null;
    const [, row = 0, column = 0] = at;
    const { size, stride, offset } = layer.field;
    const top = offset[0] + stride[0] * row;
    const left = offset[1] + stride[1] * column;
    return [top, left, top + size[0], left + size[1]];
  }
}
