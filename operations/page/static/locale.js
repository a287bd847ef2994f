// A browser on a machine without a locale may name a language ("en-US@posix") that its own Intl
// refuses, and uPlot with it.

try {
  new Intl.NumberFormat(navigator.language);
} catch {
  Object.defineProperty(navigator, "language", { value: "en" });
}
