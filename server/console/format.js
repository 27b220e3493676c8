// Numbers as people read them, with units.

export function count(value) {
  return Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");
}

// Three significant digits, without an exponent where that is short.
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) {
    return value.toExponential(2).replace(/\.?0*e\+?/, "e");
  }
  if (size >= 1000) return count(value);
  return String(Number(value.toPrecision(size >= 100 ? 3 : 4)));
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let rest = value;
  while (rest >= 1024 && unit + 1 < units.length) {
    rest /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || rest >= 100 ? 0 : 1;
  return `${rest.toFixed(digits)} ${units[unit]}`;
}

// The unit of `bytes` for a value: a power of 1024.
export function byteUnit(value) {
  return 1024 ** Math.floor(Math.log(Math.max(value, 1)) / Math.log(1024));
}

export function parameters(value) {
  for (const [size, unit] of [[1e9, "B"], [1e6, "M"], [1e3, "K"]]) {
    if (value >= size) return `${Number((value / size).toPrecision(3))} ${unit}`;
  }
  return String(value);
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (seconds < 1) return `${Math.max(0, Math.round(1000 * seconds))} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function percent(fraction) {
  return `${(100 * fraction).toFixed(fraction < 0.1 && fraction > 0 ? 1 : 0)} %`;
}

// A time of day, with the date unless it is today. `seconds` since 1970.
export function time(seconds) {
  const date = new Date(1000 * seconds);
  const clock = date.toLocaleTimeString("en-GB");
  const today = date.toDateString() === new Date().toDateString();
  return today ? clock : `${date.toLocaleDateString("en-CA")} ${clock}`;
}

export function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}
