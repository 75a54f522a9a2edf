const data = JSON.parse(document.getElementById("data").textContent);
const MOST_SHADED = 12;  // rows; shades of more hide one another
const TAIL = 0.01;  // share of values at either end that may lie outside the first view
const BUTTONS = ["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "autoScale2d", "resetScale2d"];
const LOGARITHMIC = 30;  // ratio of the values from which an axis is logarithmic
const charts = [...document.querySelectorAll(".chart")];
const boxes = [...document.querySelectorAll(".legend input")];
const control = (name) => document.getElementById(name);

function hexToShade(color) {
  const [red, green, blue] = [1, 3, 5].map((place) => parseInt(color.slice(place, place + 2), 16));
  return `rgba(${red},${green},${blue},0.16)`;
}

// Traces of a line: the edges of its shade, then the line itself.
function traces(line, axis, shaded) {
  const row = data.rows[line.row], x = data.grids[line.grid][axis];
  if (!x) return [];
  const common = {x, mode: "lines", meta: line.row, visible: boxes[line.row].checked, showlegend: false};
  const drawn = [];
  if (shaded && line.deviation) {
    const edge = {...common, hoverinfo: "skip", line: {width: 0, color: row.color}};
    drawn.push({...edge, y: line.y.map((value, n) => value - line.deviation[n])});
    drawn.push({...edge, y: line.y.map((value, n) => value + line.deviation[n]), fill: "tonexty", fillcolor: hexToShade(row.color)});
  }
  const look = {color: row.color, width: line.completed ? 2 : 1.2, dash: line.completed ? row.dash : "dot"};
  const few = x.length <= 20;
  drawn.push({...common, y: line.y, mode: few ? "lines+markers" : "lines", line: look,
    marker: {size: 5}, name: escaped(row.label + (line.note ? ` (${line.note})` : "")), hovertemplate: "%{fullData.name}<br>" + axis + " %{x}<br>%{y:.5g}<extra></extra>"});
  if (!line.completed) {
    drawn.push({...common, x: x.slice(-1), y: line.y.slice(-1), mode: "markers", marker: {symbol: "x", size: 8, color: row.color}, hoverinfo: "skip"});
  }
  return drawn;
}

// plotly reads tags in names
function escaped(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

// The first view: without tails that are far off.
function vertical(chart, choice) {
  const edges = (line) => line.deviation ? [-1, 1].flatMap((side) => line.y.map((y, n) => y + side * line.deviation[n])) : line.y;
  const values = chart.lines.flatMap(edges).sort((one, other) => one - other);
  const at = (share) => values[Math.round(share * (values.length - 1))];
  let low = at(TAIL), high = at(1 - TAIL);
  if (at(1) - at(0) < 2 * (high - low)) [low, high] = [at(0), at(1)];
  const type = choice || (low > 0 && high / low > LOGARITHMIC ? "log" : "linear");
  if (type === "log") {
    const positive = values.filter((value) => value > 0);
    if (!positive.length) return {type: "log"};
    [low, high] = [Math.max(low, positive[0]), Math.max(high, positive[0])].map(Math.log10);
  }
  const room = 0.05 * (high - low) || Math.abs(high) * 0.05 || 1;
  return {type, range: [low - room, high + room]};
}

function draw() {
  const axis = control("x").value, shaded = control("shade").checked;
  data.charts.forEach((chart, number) => {
    Plotly.react(charts[number], chart.lines.flatMap((line) => traces(line, axis, shaded)), {
      title: {text: escaped(chart.tag), font: {size: 14}, x: 0.02},
      margin: {l: 60, r: 12, t: 36, b: 40}, hovermode: "closest", uirevision: axis + control("y").value,
      xaxis: {title: {text: axis, standoff: 6}, rangemode: "tozero", gridcolor: "#eee"},
      yaxis: {...vertical(chart, control("y").value), gridcolor: "#e6e6e6", exponentformat: "power"},
      font: {size: 11}, plot_bgcolor: "#fff",
    }, {responsive: true, displaylogo: false, modeBarButtons: [BUTTONS]});
  });
}

function choose(checked) {
  boxes.forEach((box) => { box.checked = checked; });
  draw();
}

control("shade").checked = data.rows.length <= MOST_SHADED;
[control("x"), control("y"), control("shade"), ...boxes].forEach((each) => each.addEventListener("change", draw));
control("all").addEventListener("click", () => choose(true));
control("none").addEventListener("click", () => choose(false));
draw();
