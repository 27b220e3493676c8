// The map of the layers that trained: a column for each part of the run, a row for each layer. A
// pixel of the canvas is a cell, and the browser stretches it, so a column costs one small image
// however large the map is.
import {element} from "./dom.js";
import * as format from "./format.js";

// The opacity of each shade, as in the report of a run.
const OPACITIES = [0, 0.15, 0.28, 0.42, 0.58, 0.78, 1];
const LIMITS = [3, 7, 15, 30, 60, 100];  // percent

function rgb(name) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
  return [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

export class LayerMap {
  constructor() {
    this.canvas = element("canvas", {role: "img", width: 1, height: 1});
    this.text = element("p", {class: "soft"});
    this.key = element("p", {class: "soft"});
    this.rows = element("div", {class: "map-rows", "aria-hidden": "true"}, element("span"),
                        element("span"));
    this.node = element(
        "figure", {class: "map"},
        element("figcaption", {}, element("h3", {}, "Active layers"), this.text),
        element("div", {class: "map-box"}, this.rows, this.canvas), this.key);
    this.drawn = 0;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.drawn = 0;
      if (this.last) this.draw(...this.last);
    });
  }

  // `columns` have a text of shades each; the run will have `expected` of them. Those before
  // `changed` are as they were at the last call.
  draw(columns, layers, width, expected, changed = 0) {
    this.last = [columns, layers, width, expected];
    this.node.hidden = layers === 0;
    if (layers === 0) return;
    const wide = Math.max(expected, columns.length, 1);
    if (this.canvas.width !== wide || this.canvas.height !== layers) {
      this.canvas.width = wide;  // clears it
      this.canvas.height = layers;
      this.canvas.style.height = `${Math.min(Math.max(layers * 14, 56), 360)}px`;
      this.drawn = 0;
    }
    const context = this.canvas.getContext("2d");
    const colour = rgb("--training");
    for (let i = Math.min(this.drawn, changed); i < columns.length; ++i) {
      context.putImageData(this.column(context, columns[i], layers, colour), i, 0);
    }
    this.drawn = columns.length;
    this.describe(columns, layers, width);
  }

  column(context, shades, layers, [red, green, blue]) {
    const image = context.createImageData(1, layers);
    for (let layer = 0; layer < layers; ++layer) {
      // The first layer is at the bottom, next to the input.
      const at = 4 * (layers - 1 - layer);
      const opacity = OPACITIES[Number(shades[layer] ?? "0")];
      image.data.set([red, green, blue, Math.round(255 * opacity)], at);
    }
    return image;
  }

  describe(columns, layers, width) {
    const [top, bottom] = this.rows.children;
    top.textContent = `layer ${format.count(layers)}`;
    bottom.textContent = "layer 1";
    const latest = columns.at(-1) ?? "";
    const active = [...latest].filter((shade) => shade !== "0").length;
    this.text.textContent = `${format.count(active)} of ${format.plural(layers, "layer")} ` +
        (width === 1 ? "trained in the last step" : `trained in the last ${format.count(width)} steps`);
    this.canvas.setAttribute("aria-label", `Map of active layers by step. ${this.text.textContent}.`);
    if (this.key.dataset.width === String(width)) return;
    this.key.dataset.width = String(width);
    this.key.replaceChildren(...this.explanation(width));
  }

  explanation(width) {
    if (width === 1) return ["A mark is a step in which the layer trained."];
    const keys = LIMITS.flatMap((limit, index) => [
      element("i", {class: `key a${index + 1}`, "aria-hidden": "true"}), `${limit} % `,
    ]);
    return [`A column is ${format.count(width)} steps. Its shade is the part of them in which the ` +
                "layer trained: up to ", ...keys];
  }
}
