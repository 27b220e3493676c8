// Line charts by step, drawn as SVG that the browser stretches; labels are text beside it.
import {element, svg} from "./dom.js";
import * as format from "./format.js";

const WIDTH = 1000;
const HEIGHT = 400;

// Round numbers from `low` to `high`, about `wanted` of them.
export function ticks(low, high, wanted) {
  const span = high - low || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(span / wanted));
  const step = power * ([1, 2, 5].find((factor) => span / (factor * power) <= wanted) ?? 10);
  const result = [];
  for (let tick = Math.ceil(low / step); tick * step <= high + step * 1e-9; ++tick) {
    result.push(Number((tick * step).toPrecision(12)));
  }
  return result;
}

function range(series, from) {
  const values = series.flatMap((line) => [...line.values, ...(line.low ?? []), ...(line.high ?? [])])
                     .filter((value) => value !== null && Number.isFinite(value));
  if (values.length === 0) return null;
  let low = values.reduce((a, b) => Math.min(a, b));
  let high = values.reduce((a, b) => Math.max(a, b));
  if (from !== undefined) low = Math.min(low, from);
  if (low === high) {
    low -= Math.abs(low) / 10 || 1;
    high += Math.abs(high) / 10 || 1;
  }
  const margin = (high - low) / 20;
  return [low === from ? low : low - margin, high + margin];
}

export class Chart {
  // `label(value)` writes a value of the vertical axis, which includes `from` if it is given. Its
  // ticks are round multiples of `scale(high)`.
  constructor(title, {unit = "", label = format.number, from, scale = () => 1} = {}) {
    this.title = title;
    this.label = label;
    this.from = from;
    this.scale = scale;
    this.legend = element("ul", {class: "legend"});
    this.drawing = svg("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none",
                               role: "img"});
    this.plot = element("div", {class: "plot"}, this.drawing);
    this.node = element(
        "figure", {class: "chart"},
        element("figcaption", {},
                element("h3", {}, title, unit === "" ? null : element("small", {}, ` ${unit}`)),
                this.legend),
        this.plot);
  }

  // Series have `name`, `style` ("curve", "points"), `steps`, `values` and perhaps `low` and
  // `high`, the edges of a band. Values that are null are not drawn.
  draw(series, lastStep) {
    const [low, high] = range(series, this.from) ?? [0, 1];
    const x = (step) => (WIDTH * step / Math.max(lastStep, 1)).toFixed(1);
    const y = (value) => (HEIGHT * (high - value) / (high - low)).toFixed(1);
    const shapes = [this.grid(this.valueTicks(low, high), y)];
    for (const line of series) {
      if (line.low) shapes.push(this.band(line, x, y));
      shapes.push(svg("path", {class: line.style, d: this.path(line, x, y)}));
      if (line.style === "points") shapes.push(this.dots(line, x, y));
    }
    this.drawing.replaceChildren(...shapes);
    this.drawing.setAttribute("aria-label", this.description(series));
    this.legend.replaceChildren(
        ...series.filter((line) => line.values.length > 0)
            .map((line) => element("li", {class: line.style}, line.name)));
    this.labels(low, high, lastStep);
  }

  valueTicks(low, high) {
    const scale = this.scale(high);
    return ticks(low / scale, high / scale, 5).map((tick) => tick * scale);
  }

  grid(values, y) {
    return svg("path", {class: "grid",
                        d: values.map((value) => `M0 ${y(value)}H${WIDTH}`).join("")});
  }

  // Interrupted where a value is missing; "h0" makes a dot of a point without neighbours.
  path(line, x, y) {
    let begins = true;
    let path = "";
    line.values.forEach((value, index) => {
      if (value === null) {
        begins = true;
        return;
      }
      path += `${begins ? "M" : "L"}${x(line.steps[index])} ${y(value)}${begins ? "h0" : ""}`;
      begins = false;
    });
    return path;
  }

  band(line, x, y) {
    const known = line.values.map((_, index) => index).filter((index) => line.low[index] !== null);
    const upper = known.map((index) => `${x(line.steps[index])} ${y(line.high[index])}`);
    const lower = known.map((index) => `${x(line.steps[index])} ${y(line.low[index])}`).reverse();
    return svg("path", {class: "band", d: known.length < 2 ? "" : `M${[...upper, ...lower].join("L")}Z`});
  }

  dots(line, x, y) {
    const path = line.values.map((value, index) => value === null
        ? "" : `M${x(line.steps[index])} ${y(value)}h0`);
    return svg("path", {class: "points dot", d: path.join("")});
  }

  labels(low, high, lastStep) {
    const spans = [];
    for (const value of this.valueTicks(low, high)) {
      const span = element("span", {class: "y"}, this.label(value));
      span.style.top = `${100 * (high - value) / (high - low)}%`;
      spans.push(span);
    }
    for (const step of ticks(0, Math.max(lastStep, 1), 5)) {
      if (!Number.isInteger(step)) continue;
      const span = element("span", {class: "x"}, format.count(step));
      span.style.left = `${100 * step / Math.max(lastStep, 1)}%`;
      spans.push(span);
    }
    this.plot.replaceChildren(this.drawing, ...spans, element("span", {class: "x-title"}, "step"));
  }

  description(series) {
    const parts = series.filter((line) => line.values.length > 0).map((line) => {
      const last = line.values.length - 1;
      return `${line.name} ${this.label(line.values[last])} at step ${format.count(line.steps[last])}`;
    });
    return `${this.title} by step: ${parts.join(", ") || "no values yet"}`;
  }
}
