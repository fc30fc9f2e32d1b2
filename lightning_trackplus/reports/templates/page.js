"use strict";
/* Names, captions and texts are data: they go into the page as text, and into plotly escaped. */
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const COLOURS = ["#3b6fd4", "#e0803a", "#2a9d78", "#c4508c", "#8464cf", "#b3922c", "#2f9fb8", "#cf5555", "#7d8a99", "#6d9b3a"];
  const MANY_POINTS = 40, HOUR = 3600, MINUTE = 60, SMALL = 128;
  const state = { axis: "step", hidden: new Set() };
  const drawn = { charts: [], media: [] };
  let library = "";

  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const colourOf = (number) => COLOURS[number % COLOURS.length];
  const faint = (colour) => colour + "30";
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

  const unpacked = new WeakMap();
  const unpack = (packed) => {
    if (!unpacked.has(packed)) {
      const { buffer } = bytesOf(packed.bdata);
      unpacked.set(packed, packed.dtype === "i4" ? new Int32Array(buffer) : new Float64Array(buffer));
    }
    return unpacked.get(packed);
  };

  /* Where steps are on another axis: between two steps that are known, on the straight line. */
  const interpolated = (steps, [knots, places]) => {
    let at = 0;
    return Array.from(steps, (step) => {
      if (at && knots[at - 1] > step) at = 0;
      while (at < knots.length && knots[at] < step) at += 1;
      if (at === 0) return places[0];
      if (at === knots.length) return places[at - 1];
      const part = (step - knots[at - 1]) / (knots[at] - knots[at - 1]);
      return places[at - 1] + part * (places[at] - places[at - 1]);
    });
  };
  const longest = Math.max(0, ...data.lines.map(({ times }) => unpack(times[1]).at(-1) ?? 0));
  const [unit, seconds] = longest > 2 * HOUR ? ["hours", HOUR] : longest > 2 * MINUTE ? ["minutes", MINUTE] : ["seconds", 1];
  const axisOf = (chart) => (chart.ofBatches ? "step" : state.axis);
  const placesOf = (chart, { run, x }) => {
    const axis = axisOf(chart), steps = unpack(x);
    if (axis === "step") return steps;
    const clock = data.lines[run][axis === "epoch" ? "epochs" : "times"].map(unpack);
    if (!clock[0].length) return null;
    const places = interpolated(steps, clock);
    return axis === "time" ? places.map((place) => place / seconds) : places;
  };
  const AXES = {
    step: { title: "step", hoverformat: ",~r" },
    epoch: { title: "epochs", hoverformat: ".3~f" },
    time: { title: unit, hoverformat: ".3~f" },
  };

  const layout = (changes) => ({
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: css("--muted") },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 48, r: 8, t: 8, b: 38 }, hovermode: "x unified", showlegend: false,
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    hoverlabel: { bgcolor: css("--panel"), bordercolor: css("--line"), font: { color: css("--ink") }, namelength: -1 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--muted"), activecolor: css("--ink") },
    ...changes,
  });
  const axisLayout = (changes) => ({ gridcolor: css("--grid"), linecolor: css("--line"), zeroline: false, automargin: true, ...changes });
  const OPTIONS = {
    displaylogo: false, responsive: true,
    modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]],
  };

  /* Calls back when an element comes near the screen or the page is printed, once; so that a page of hundreds of charts is there at once. */
  const unseen = new Map();
  const whenSeen = (place, callback) => {
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) unseen.get(place)?.();
    }, { rootMargin: "400px" });
    unseen.set(place, () => { unseen.delete(place); observer.disconnect(); callback(); });
    observer.observe(place);
  };
  const showAll = () => unseen.forEach((show, place) => { if (place.getClientRects().length) show(); });
  addEventListener("beforeprint", showAll);

  /* The colours of one run tell its lines apart, and those of several the runs. */
  const tracesOf = (chart) => {
    const isOne = data.lines.length === 1;
    const colour = ({ run, label }) => colourOf(isOne ? Math.max(chart.labels.indexOf(label), 0) : run);
    const nameOf = ({ run, label }) => escaped(!isOne ? data.lines[run].name : chart.labels.length + chart.bands.length > 1 ? label : chart.title);
    const isShown = ({ run }) => !state.hidden.has(run);
    const shared = { type: "scatter", mode: "lines" };
    const bandTraces = ({ run, x, low, high, label }) => {
      const places = placesOf(chart, { run, x });
      if (!places) return [];
      const edge = { ...shared, x: places, hoverinfo: "skip", line: { width: 0 }, showlegend: false };
      const fill = { fill: "tonexty", fillcolor: faint(colourOf(run)), name: escaped(label), showlegend: isOne };
      return [{ ...edge, y: unpack(low) }, { ...edge, y: unpack(high), ...fill }];
    };
    const lineTraces = (line) => {
      const x = placesOf(chart, line), y = unpack(line.y), color = colour(line);
      if (!x) return [];
      const mode = y.length === 1 ? "markers" : y.length < MANY_POINTS ? "lines+markers" : "lines";
      return [{ ...shared, mode, x, y, name: nameOf(line), line: { color, width: 1.7 }, marker: { size: 4, color }, hovertemplate: "%{y:.5~g}", showlegend: isOne }];
    };
    const deviations = chart.lines.filter(({ band }) => band?.x).map(({ run, band }) => ({ run, label: "", ...band }));
    return [...[...chart.bands, ...deviations].filter(isShown).flatMap(bandTraces), ...chart.lines.filter(isShown).flatMap(lineTraces)];
  };

  const addChart = (grid, chart) => {
    const plot = element("div", { className: "plot" });
    const log = element("button", { type: "button", textContent: "log", title: "logarithmic y axis" });
    log.setAttribute("aria-pressed", "false");
    grid.append(element("div", { className: "card" }, element("div", { className: "head" }, element("h3", { textContent: chart.title }), log), plot));
    const draw = () => {
      const axis = axisOf(chart), isLog = log.getAttribute("aria-pressed") === "true";
      const { title, hoverformat } = AXES[axis];
      Plotly.react(plot, tracesOf(chart), layout({
        xaxis: axisLayout({ title: { text: title, standoff: 6 }, hoverformat, unifiedhovertitle: { text: `${title} %{x}` }, uirevision: axis }),
        yaxis: axisLayout({ type: isLog ? "log" : "linear", uirevision: isLog }),
        showlegend: data.lines.length === 1 && chart.labels.length + chart.bands.length > 1,
        legend: { orientation: "h", x: 0, y: -0.26, yanchor: "top", font: { size: 11 } },
      }), OPTIONS);
    };
    whenSeen(plot, () => { draw(); drawn.charts.push(draw); });
    log.addEventListener("click", () => {
      log.setAttribute("aria-pressed", String(log.getAttribute("aria-pressed") !== "true"));
      draw();
    });
  };

  const addCharts = () => {
    for (const section of new Set(data.charts.map((chart) => chart.section))) {
      const grid = element("div", { className: "grid" });
      const heading = element("summary", {}, element("h2", { textContent: section || "Charts" }));
      document.getElementById("charts").append(element("details", { open: true, className: "section" }, heading, grid));
      data.charts.filter((chart) => chart.section === section).forEach((chart) => addChart(grid, chart));
    }
  };

  const address = ({ mime, data: base64 }) => `data:${mime};base64,${base64}`;
  const tableOf = ({ columns, rows, more }) => {
    const short = (cell) => (/^-?\d+\.\d{6,}$/.test(cell) ? String(Number(Number(cell).toPrecision(6))) : cell);
    const row = (tag, cells) => element("tr", {}, ...cells.map((cell) => element(tag, { textContent: short(cell), title: cell })));
    const table = element("table", {}, element("thead", {}, row("th", columns)), element("tbody", {}, ...rows.map((cells) => row("td", cells))));
    const place = element("div", {}, element("div", { className: "scroll tall" }, table));
    if (more) place.append(element("p", { className: "muted", textContent: `${more} more rows are in the file.` }));
    return place;
  };
  const SHOWN = {
    image: (item) => {
      const picture = element("img", { src: address(item), alt: item.caption ?? "" });
      picture.addEventListener("load", () => picture.classList.toggle("small", picture.naturalWidth < SMALL));
      return picture;
    },
    audio: (item) => element("audio", { controls: true, preload: "metadata", src: address(item) }),
    video: (item) => element("video", { controls: true, preload: "metadata", src: address(item) }),
    text: (item) => element("div", { className: "markdown", innerHTML: item.html }),
    table: tableOf,
    frame: (item) => {
      /* Plotly's pages load its script from the net; here they get the one of this page. */
      const script = /<script\b[^>]*\bsrc="https:\/\/cdn\.plot\.ly\/plotly[^"]*"[^>]*>\s*<\/script>/g;
      const frame = element("iframe", { title: item.caption ?? "" });
      frame.setAttribute("sandbox", "allow-scripts");
      frame.srcdoc = item.page.replace(script, () => `<script>${library}<\/script>`);
      return frame;
    },
    histogram: (item) => {
      const plot = element("div", { className: "plot" });
      const edges = Array.from(unpack(item.edges)), color = colourOf(data.lineOfRun[item.run]);
      const trace = {
        type: "bar", marker: { color, line: { width: 0 } }, hovertemplate: "%{x:.4~g}: %{y:.5~g}<extra></extra>",
        x: edges.slice(1).map((edge, bin) => (edge + edges[bin]) / 2), width: edges.slice(1).map((edge, bin) => edge - edges[bin]), y: unpack(item.counts),
      };
      whenSeen(plot, () => Plotly.react(plot, [trace], layout({ hovermode: "closest", bargap: 0, xaxis: axisLayout({}), yaxis: axisLayout({ rangemode: "tozero" }) }), OPTIONS));
      return plot;
    },
    file: (item) => element("a", { href: `data:application/octet-stream;base64,${item.data}`, download: item.file, textContent: item.file }),
  };
  const WIDE = new Set(["frame", "table", "text", "histogram"]);

  const figureOf = (item) => {
    const figure = element("figure", { className: WIDE.has(item.show) ? "wide" : "" }, SHOWN[item.show](item));
    if (item.caption !== null || item.score !== null) {
      const caption = element("figcaption", { textContent: item.caption ?? "" });
      if (item.score !== null) caption.append(element("small", { textContent: `score ${item.score}` }));
      figure.append(caption);
    }
    return figure;
  };

  const addMedia = (card) => {
    const steps = [...new Set(card.items.map((item) => item.step))].sort((one, other) => one - other);
    const head = element("div", { className: "head" }, element("h3", { textContent: card.name }));
    const body = element("div");
    const slider = element("input", { type: "range", min: 0, max: steps.length - 1, value: steps.length - 1 });
    slider.setAttribute("aria-label", "step");
    const label = element("span");
    head.append(element("label", { className: "slider" }, ...(steps.length > 1 ? [slider] : []), label));
    const draw = () => {
      const chosen = steps[slider.value];
      label.textContent = steps.length ? `step ${chosen.toLocaleString("en")}` : "";
      const isNarrow = card.items.every(({ show }) => show !== "image" && show !== "video");
      body.className = isNarrow && data.runs.length > 1 ? "columns" : "";
      body.replaceChildren();
      data.runs.forEach((name, run) => {
        const earlier = card.items.filter((item) => item.run === run && item.step <= chosen);
        const newest = Math.max(...earlier.map((item) => item.step));
        const line = data.lineOfRun[run];
        if (!earlier.length || state.hidden.has(line)) return;
        const place = element("div");
        if (data.runs.length > 1) {
          const dot = element("i", { className: "dot" });
          dot.style.background = colourOf(line);
          place.append(element("p", { className: "of-run" }, dot, newest === chosen ? name : `${name}, step ${newest.toLocaleString("en")}`));
        }
        place.append(element("div", { className: "items" }, ...earlier.filter((item) => item.step === newest).map(figureOf)));
        body.append(place);
      });
      if (card.leftOut) body.append(element("p", { className: "muted", textContent: `${card.leftOut} more files are not in this report.` }));
    };
    document.querySelector("#media .cards").append(element("div", { className: "card medium" }, head, body));
    slider.addEventListener(card.items.some((item) => item.show === "frame") ? "change" : "input", draw);
    whenSeen(body, () => { draw(); drawn.media.push(draw); });
  };

  const redraw = (...kinds) => kinds.flatMap((kind) => drawn[kind]).forEach((draw) => draw());
  const listen = () => {
    document.querySelectorAll("#axis input").forEach((input) => {
      input.disabled = input.value !== "step" && !data.lines.some((line) => unpack(line[`${input.value}s`][0]).length);
      input.addEventListener("change", () => { state.axis = input.value; redraw("charts"); });
    });
    document.querySelectorAll("#runs input").forEach((input) => input.addEventListener("change", () => {
      const line = Number(input.dataset.line);
      state.hidden[input.checked ? "delete" : "add"](line);
      document.querySelectorAll("main [data-line]").forEach((place) => { place.hidden = state.hidden.has(Number(place.dataset.line)); });
      redraw("charts", "media");
    }));
    document.querySelector("#summary select")?.addEventListener("change", (event) => {
      document.querySelector("#summary table").dataset.which = event.target.value;
    });
    matchMedia("screen and (prefers-color-scheme: dark)").addEventListener("change", () => {
      redraw("charts", "media");
      if (matchMedia("print").matches) showAll();
    });
    document.querySelectorAll(".dot[data-line]").forEach((dot) => { dot.style.background = colourOf(Number(dot.dataset.line)); });
  };

  const start = async () => {
    const packed = new Blob([bytesOf(document.getElementById("library").textContent)]);
    library = await new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).text();
    document.head.append(element("script", { textContent: library }));
    listen();
    addCharts();
    data.media.forEach(addMedia);
    document.documentElement.dataset.ready = "true";
  };
  start();
})();
