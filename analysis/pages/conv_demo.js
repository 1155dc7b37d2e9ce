// Displays the numbers of conv_demo.py, which are in the page; nothing is computed here.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const bracketed = (value) => (value < 0 ? `(${plain(value)})` : plain(value));
  const index = (at) => `[${at.join(", ")}]`;

  // One walk: its terms, the equation and the results, redrawn at every step.
  class Scene {
    constructor(container) {
      this.key = container.dataset.scene;
      this.container = container;
      this.numbers = data[this.key];
      this.steps = this.numbers.steps;
      this.at = 0;
      this.filler = new Set(this.numbers.filler);
      const [height, width] = [this.numbers.sources[0].length, this.numbers.sources[0][0].length];
      const operand = this.operandOf(this.steps[0], 0);
      const product = this.isUnpool ? null : operand || this.window();
      this.terms = this.steps[0].sources.map(() => ({
        source: new Grid(height, width),
        operand: operand && new Grid(operand.length, operand[0].length),
        product: product && new Grid(product.length, product[0].length),
        sum: element("output", "sum"),
      }));
      const columns = width + (operand ? operand[0].length : 0) + (product ? product[0].length : 0);
      container.style.setProperty("--columns", columns);
      this.results = this.maps();
      this.switches = this.key === "pool" ? this.maps() : [];
      this.build();
      if (this.key === "forward") this.matrices = new Matrices(this);
    }

    get isUnpool() { return this.key === "unpool"; }

    window() {
      const side = this.numbers.kernel;
      return Array.from({ length: side }, () => Array(side).fill(0));
    }

    // The numbers that meet those of the source: a filter, a gradient, or the switches.
    operandOf(step, term) {
      if (this.isUnpool) return this.numbers.switches[step.sources[term]];
      if (!step.operands) return null;
      return step.operands[term].reduce((inner, i) => inner[i], this.numbers.operands);
    }

    maps() {
      const shape = this.numbers.shape;
      const [rows, columns] = shape.slice(-2);
      const count = shape.slice(0, -2).reduce((a, b) => a * b, 1);
      return Array.from({ length: count }, () => new Grid(rows, columns));
    }

    build() {
      const stage = element("div", "stage");
      const terms = element("div", "terms");
      for (const { source, operand, product, sum } of this.terms) {
        const term = element("div", "term");
        term.append(source.table);
        if (operand) term.append(element("span", "sign", this.isUnpool ? "→" : "×"), operand.table);
        if (product) term.append(element("span", "sign", operand ? "=" : "→"), product.table);
        if (product) term.append(element("span", "sign", operand ? "Σ" : "max"), sum);
        const region = element("div", "scroll");
        region.append(term);
        terms.append(region);
      }
      const results = element("div", "results");
      results.append(element("h3", "", this.key === "pool" ? "Output, switches" : "Result"));
      results.append(...this.results.map((grid) => grid.table));
      results.append(...this.switches.map((grid) => grid.table));
      this.results.forEach((grid, map) => {
        grid.cells.forEach((cell, i) => cell.addEventListener("click", () => this.find(map, i)));
      });
      stage.append(terms, results);
      this.container.append(stage);
      this.stage = stage;
    }

    // Of a result's cell: its number among all results' cells.
    flat(step) {
      return step.at.reduce((sum, i, axis) => sum * this.numbers.shape[axis] + i, 0);
    }

    find(map, cell) {
      const wanted = map * this.results[0].cells.length + cell;
      const found = this.steps.findIndex((step) => this.flat(step) === wanted);
      if (found >= 0) player.go(found);
    }

    draw() {
      const step = this.steps[this.at];
      const window = new Set(step.window);
      const chosen = step.winner === undefined ? new Set() : new Set([step.winner]);
      step.sources.forEach((map, t) => {
        const { source, operand, product, sum } = this.terms[t];
        const won = step.winner === undefined || this.isUnpool ? -1 : step.window[step.winner];
        source.fill(
          `${this.numbers.source}[${map}]`, this.numbers.sources[map],
          { filler: this.filler, window, winner: new Set([won]) },
        );
        if (operand) {
          const name = this.isUnpool ? `switch[${map}]` : `${this.numbers.operand}${index(step.operands[t])}`;
          operand.fill(name, this.operandOf(step, t), this.isUnpool ? { window } : {});
        }
        if (!product) return;
        product.fill(operand ? "products" : "window", step.winner === undefined ? step.products[t] : step.products, { winner: chosen });
        sum.textContent = `= ${plain(step.winner === undefined ? step.sums[t] : step.value)}`;
      });
      this.drawResults(step);
      if (this.matrices) this.matrices.draw(step);
    }

    // "y[0, 0, 1] = 3 + (−2) + bias 1 = 2"
    told(step) {
      const name = `${this.numbers.result}${index(step.at)}`;
      if (this.key === "pool") return [`${name} = the largest of ${step.products[0].map(plain).join(", ")} = `, `; the switch is ${step.winner}`];
      if (this.isUnpool) return [`${name} = ${step.sums.map(plain).join(" + ")} = `, `; the switch is ${step.winner}`];
      if (step.sums.length === 1 && step.bias === undefined) return [`${name} = the sum of ${step.window.length} products = `, ""];
      const bias = step.bias === undefined ? "" : ` + bias ${bracketed(step.bias)}`;
      return [`${name} = ${step.sums.map(bracketed).join(" + ")}${bias} = `, ""];
    }

    drawResults(step) {
      const size = this.results[0].cells.length;
      const values = Array(this.results.length * size).fill(this.isUnpool ? 0 : null);
      const switches = Array(values.length).fill(null);
      this.steps.slice(0, this.at + 1).forEach((done) => {
        values[this.flat(done)] = done.value;
        if (this.switches.length) switches[this.flat(done)] = done.winner;
      });
      const at = this.flat(step);
      const leading = this.numbers.shape.slice(0, -2);
      const draw = (grids, letter, numbers) => grids.forEach((grid, map) => {
        const current = new Set(Math.floor(at / size) === map ? [at % size] : []);
        const seen = new Set(Math.floor(at / size) === map && step.seen ? step.seen : []);
        const place = leading.length > 1 ? [Math.floor(map / leading[1]), map % leading[1]] : [map];
        grid.fill(`${letter}${index(place)}`, numbers.slice(map * size, (map + 1) * size), { window: seen, current });
      });
      draw(this.results, this.numbers.result, values);
      draw(this.switches, "switch", switches);
    }
  }

  // The same convolution as one product of two matrices, beside the forward pass.
  class Matrices {
    constructor(scene) {
      const { x_col: columns, w_row: filters, y, rows } = data.matrices;
      this.scene = scene;
      this.filters = filters[0].map((_, k) => filters.map((row) => row[k]));
      this.w = new Grid(rows.length, filters.length, rows);
      this.x = new Grid(rows.length, columns[0].length);
      this.y = new Grid(y.length, y[0].length);
      this.y.table.classList.add("y");
      const box = element("div", "matrices");
      const product = element("div", "product");
      product.append(this.w.table, this.x.table, this.y.table);
      this.region = element("div", "scroll");
      this.region.tabIndex = 0;
      this.region.setAttribute("role", "region");
      this.region.setAttribute("aria-label", "The convolution as a product of matrices");
      this.region.append(product);
      box.append(
        element("h3", "", "As one matrix product"),
        element("p", "note", "im2col stretches every window out into a column of X_col. On its left every filter is a column, too: W_row, transposed. The product of a filter’s column and a window’s column is one output, before its bias."),
        this.region,
      );
      scene.stage.append(box);
    }

    draw(step) {
      const { x_col: columns, y } = data.matrices;
      const [filter, row, column] = step.at;
      const [wide, filters] = [columns[0].length, y.length];
      const at = row * data.forward.shape[2] + column;
      const whole = (count, stride, offset) => new Set(Array.from({ length: count }, (_, i) => i * stride + offset));
      this.w.fill("W_rowᵀ", this.filters, { row: whole(this.filters.length, filters, filter) });
      this.x.fill("X_col", columns, { row: whole(columns.length, wide, at) });
      const done = filter * wide + at;
      this.y.fill("Y = W_row X_col", y.flat().map((value, i) => (i <= done ? value : null)), { current: new Set([done]) });
      const cell = this.x.cells[at];
      const [left, right] = [cell.offsetLeft, cell.offsetLeft + cell.offsetWidth];
      const offset = this.x.table.offsetLeft;
      if (left + offset < this.region.scrollLeft || right + offset > this.region.scrollLeft + this.region.clientWidth) {
        this.region.scrollLeft = left + offset - this.region.clientWidth / 2;
      }
    }
  }

  const player = {
    timer: null,
    show(scene) {
      this.pause();
      this.scene = scene;
      byId("slider").max = scene.steps.length - 1;
      this.draw();
    },
    draw() {
      const { scene } = this;
      const step = scene.steps[scene.at];
      scene.draw();
      const [before, after] = scene.told(step);
      const counter = `Step ${scene.at + 1} of ${scene.steps.length}`;
      byId("counter").textContent = counter;
      byId("slider").value = scene.at;
      byId("slider").setAttribute("aria-valuetext", counter);
      byId("told").replaceChildren(before, element("span", "value", plain(step.value)), after);
      const [first, last] = [scene.at === 0, scene.at === scene.steps.length - 1];
      for (const [id, isOff] of [["first", first], ["back", first], ["forward", last], ["last", last]]) {
        byId(id).setAttribute("aria-disabled", isOff);
      }
    },
    go(at) {
      this.scene.at = Math.min(Math.max(at, 0), this.scene.steps.length - 1);
      this.draw();
    },
    step(by) {
      this.pause();
      this.go(this.scene.at + by);
    },
    pause() {
      clearInterval(this.timer);
      this.timer = null;
      this.label();
    },
    play() {
      if (this.scene.at === this.scene.steps.length - 1) this.go(0);
      this.timer = setInterval(() => {
        this.go(this.scene.at + 1);
        if (this.scene.at === this.scene.steps.length - 1) this.pause();
      }, Number(byId("speed").value));
      this.label();
    },
    toggle() {
      if (this.timer) this.pause();
      else this.play();
    },
    label() {
      byId("play").textContent = this.timer ? "Pause" : "Play";
      byId("told").setAttribute("aria-live", this.timer ? "off" : "polite");
    },
  };

  const scenes = {};
  for (const container of document.querySelectorAll(".scene")) {
    scenes[container.dataset.scene] = new Scene(container);
  }

  const tabs = [...document.querySelectorAll("[role=tab]")];
  function select(tab) {
    for (const each of tabs) {
      const isOn = each === tab;
      each.setAttribute("aria-selected", isOn);
      each.tabIndex = isOn ? 0 : -1;
      byId(each.getAttribute("aria-controls")).hidden = !isOn;
    }
    const chosen = byId(tab.getAttribute("aria-controls")).querySelector(".scene:not([hidden])");
    player.show(scenes[chosen.dataset.scene]);
  }
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => select(tab));
    tab.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      const next = tabs[(i + by + tabs.length) % tabs.length];
      next.focus();
      select(next);
    });
  });
  for (const radio of document.querySelectorAll("input[type=radio]")) {
    radio.addEventListener("change", () => {
      for (const container of radio.closest("section").querySelectorAll(".scene")) {
        container.hidden = container.dataset.scene !== radio.value;
      }
      player.show(scenes[radio.value]);
    });
  }

  byId("first").addEventListener("click", () => player.step(-Infinity));
  byId("back").addEventListener("click", () => player.step(-1));
  byId("play").addEventListener("click", () => player.toggle());
  byId("forward").addEventListener("click", () => player.step(1));
  byId("last").addEventListener("click", () => player.step(Infinity));
  byId("slider").addEventListener("input", (event) => {
    player.pause();
    player.go(Number(event.target.value));
  });
  byId("speed").addEventListener("change", () => {
    if (!player.timer) return;
    player.pause();
    player.play();
  });
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.matches("input, select, [role=tab], .scroll")) return;
    const keys = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
    if (event.key in keys) player.step(keys[event.key]);
    else if (event.key === " " && !event.target.matches("button")) player.toggle();
    else return;
    event.preventDefault();
  });

  player.show(scenes.forward);
})();
