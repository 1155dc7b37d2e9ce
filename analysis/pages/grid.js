"use strict";
// What both pages need: elements, and maps of numbers as tables.

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

// A number with a real minus sign.
const plain = (value) => (value < 0 ? "−" + String(-value) : String(value));

// A map of numbers: a table whose caption is its name in the formula.
class Grid {
  constructor(rows, columns, labels = []) {
    this.table = element("table", "grid");
    this.caption = element("span");
    this.table.createCaption().append(this.caption);
    this.cells = [];
    for (let r = 0; r < rows; r++) {
      const line = this.table.insertRow();
      if (labels.length) line.append(element("th", "", labels[r]));
      for (let c = 0; c < columns; c++) this.cells.push(line.insertCell());
    }
  }

  // classes: {name: set of cells}; a value of null is a number that is not there.
  fill(name, values, classes = {}, show = plain) {
    this.caption.textContent = name;
    values.flat(3).forEach((value, i) => {
      const cell = this.cells[i];
      cell.textContent = value === null ? "" : show(value);
      const names = Object.keys(classes).filter((key) => classes[key].has(i));
      if (value !== null && value <= 0) names.push(value < 0 ? "negative" : "zero");
      cell.className = names.join(" ");
    });
    return this;
  }

  // Colours behind the numbers, dark numbers on light ones and the other way round.
  tint(values, colourOf) {
    values.forEach((value, i) => {
      if (value === null) return;
      const [red, green, blue] = colourOf(value);
      this.cells[i].style.background = `rgb(${red}, ${green}, ${blue})`;
      this.cells[i].style.color = 0.3 * red + 0.6 * green + 0.1 * blue > 140 ? "#14171a" : "#fff";
    });
    return this;
  }
}
