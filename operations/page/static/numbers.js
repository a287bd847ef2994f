// Integer units as decimal text. Nothing here passes through a floating-point number, so what is
// shown is what the chain holds; digits may be left out at the end, and are then marked.

export const WAD = 18;
const NONE = 2n ** 256n - 1n; // what the contracts say for "no price does that"

/** Sign, grouped whole part and fraction (no zeros at its end) of an integer with `decimals`. */
function parts(value, decimals) {
  const number = BigInt(value);
  const digits = (number < 0n ? -number : number).toString().padStart(decimals + 1, "0");
  const cut = digits.length - decimals;
  return {
    sign: number < 0n ? "−" : "",
    whole: digits.slice(0, cut).replace(/\B(?=(\d{3})+$)/g, ","),
    fraction: digits.slice(cut).replace(/0+$/, ""),
  };
}

/** The exact decimal text. */
export function exact(value, decimals) {
  const { sign, whole, fraction } = parts(value, decimals);
  return sign + whole + (fraction && `.${fraction}`);
}

/** How many digits after the point make about six that matter. */
export function reading(value, decimals) {
  const { whole, fraction } = parts(value, decimals);
  if (whole !== "0") return Math.max(2, 6 - whole.replaceAll(",", "").length);
  return Math.min(6, 4 + fraction.search(/[1-9]|$/));
}

/**
 * An element that holds the exact text. All but `shown` digits after the point are in its tail,
 * which the style hides behind a mark unless all digits are asked for.
 */
export function number(value, decimals, { shown = reading(value, decimals), unit = "" } = {}) {
  const element = document.createElement("data");
  element.value = String(value);
  if (BigInt(value) === NONE) {
    element.textContent = "none";
    return element;
  }
  const { sign, whole, fraction } = parts(value, decimals);
  const head = fraction.slice(0, shown).padEnd(Math.min(shown, decimals), "0");
  const tail = fraction.slice(shown);
  element.append(sign + whole + (head && `.${head}`));
  if (tail) {
    const hidden = document.createElement("span");
    hidden.className = "tail";
    hidden.textContent = (head ? "" : ".") + tail;
    element.append(hidden);
    element.className = "cut";
    element.title = exact(value, decimals) + unit;
  }
  if (unit) {
    const written = document.createElement("span");
    written.className = "unit";
    written.textContent = unit;
    element.append(written);
  }
  return element;
}

/** A fraction in WAD as per cent. */
export const percent = (value, shown = 2) => number(value, WAD - 2, { shown, unit: " %" });

/** For the height of a bar or the point of a line only: never shown. */
export const roughly = (value, decimals) => Number(BigInt(value)) / 10 ** decimals;

/** The share of `value` in `whole`, from 0 to 1, for the length of a bar. */
export function share(value, whole) {
  const [part, all] = [BigInt(value), BigInt(whole)];
  return all > 0n ? Number((part * 1_000_000n) / all) / 1_000_000 : 0;
}

/** Seconds as people say them. */
export function seconds(count) {
  if (count < 120) return `${count} s`;
  if (count < 7_200) return `${Math.floor(count / 60)} min ${count % 60} s`;
  return `${Math.floor(count / 3_600)} h ${Math.floor((count % 3_600) / 60)} min`;
}

/** A chain time in UTC: the day only where it is asked for. */
export function clock(timestamp, withDay = false) {
  const text = new Date(timestamp * 1_000).toISOString();
  return withDay ? `${text.slice(0, 10)} ${text.slice(11, 19)} UTC` : text.slice(11, 19);
}
