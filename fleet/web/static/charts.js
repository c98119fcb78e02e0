// Draws the curves of a page with uPlot; the same numbers stand in the table under each.
"use strict";
(() => {
  const plots = new Map();
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // A day's step is told by its date, a shorter one by the time: the person's, as everywhere on the page.
  const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
  const minute = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });
  const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", hour12: false });
  const second = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hour12: false });
  const fitting = (step) => step >= 86400 ? day : step >= 60 ? minute : second;
  const clock = (seconds, step) => fitting(step).format(new Date(seconds * 1000));

  const options = (spec, width) => {
    const grid = { stroke: style("--line"), width: 1 };
    const axis = { stroke: style("--soft"), grid, ticks: grid, font: "12px system-ui, sans-serif" };
    const times = { ...axis, space: 70, values: (_, splits, __, ___, step) => splits.map((s) => clock(s, step)) };
    const series = [{ label: "at", value: (_, at) => at === null ? "–" : whole.format(new Date(at * 1000)) }];
    const bands = [];
    spec.lines.forEach((line, index) => {
      const stroke = style(`--c${line.colour}`);
      series.push({
        label: line.name, class: line.band ? "band" : undefined, stroke, width: line.band ? 0 : 2, points: { show: spec.columns[0].length < 3 },
        value: (_, value) => value === null ? "–" : `${value} ${spec.unit}`,
      });
      if (line.band && spec.lines[index - 1]?.band) {
        bands.push({ series: [index + 1, index], fill: `color-mix(in srgb, ${stroke} 18%, transparent)` });
      }
    });
    return { width, height: 180, series, bands, axes: [times, { ...axis, size: 52 }], legend: { live: true } };
  };

  const draw = (element) => {
    const text = element.dataset.chart;
    const spec = JSON.parse(text);
    const shape = JSON.stringify(spec.lines);
    const old = plots.get(element);
    if (old && old.text === text) return;
    if (old && old.shape === shape) {
      old.plot.setData(spec.columns);
      old.text = text;
      return;
    }
    if (old) old.plot.destroy();
    const plot = new uPlot(options(spec, element.clientWidth), spec.columns, element);
    plots.set(element, { plot, text, shape });
  };

  const drawAll = () => {
    for (const element of plots.keys()) {
      if (!element.isConnected) { plots.get(element).plot.destroy(); plots.delete(element); }
    }
    document.querySelectorAll(".plot[data-chart]").forEach(draw);
  };
  const again = () => {
    for (const { plot } of plots.values()) plot.destroy();
    plots.clear();
    drawAll();
  };
  drawAll();
  document.addEventListener("page:fresh", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; again(); } });
})();
