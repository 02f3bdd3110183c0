/** Colours for canvas drawing, which cannot use CSS variables. They match `style.css`. */
export const COLOURS = {
  text: "#d5dde6",
  muted: "#8d9bab",
  grid: "#18202a",
  line: "#27323f",
  up: "#2ebd85",
  down: "#f6616f",
  upFaint: "#2ebd8555",
  downFaint: "#f6616f55",
  accent: "#58a6ff",
  warn: "#f0b429",
} as const;
