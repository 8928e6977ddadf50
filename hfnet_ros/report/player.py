"""The player of the report: its frame, style sheet and script; the data is `timeline.Timeline`.

Space plays, arrows step, Home and End jump; a click on a query's mark in any chart goes there.
"""

from __future__ import annotations

PLAYER_HTML = """<figure class="player" id="player">
<div class="frame"><img id="frame-picture" alt="query image"><svg id="frame-marks" role="img"
aria-label="matches in the query image"></svg><p id="frame-note"></p></div>
<ul class="legend" id="frame-legend"><li data-kind="inliers"><i class="inliers"></i><span></span></li>
<li data-kind="outliers"><i class="outliers"></i><span></span></li>
<li data-kind="undecided"><i class="undecided"></i><span></span></li></ul>
<input id="seek" type="range" min="0" max="0" value="0" step="1" aria-label="query">
<div class="controls"><button id="back" title="previous query (left arrow)">◂</button>
<button id="play" title="play or pause (space)">▶ play</button>
<button id="forward" title="next query (right arrow)">▸</button>
<label>speed <select id="speed"><option value="0.5">½×</option><option value="1" selected>1×</option>
<option value="2">2×</option><option value="5">5×</option><option value="20">20×</option></select></label>
<output id="clock"></output></div>
<h3 id="now-name"></h3><table id="now-facts"></table>
</figure>"""

PLAYER_STYLE = """
.replay { display: grid; grid-template-columns: minmax(0, 1fr); gap: 0 16px; align-items: start; }
@media (min-width: 1000px) {
  .replay { grid-template-columns: minmax(0, 360px) minmax(0, 1fr); }
  .replay .player { position: sticky; top: 12px; }
}
.frame { position: relative; background: var(--line); border-radius: 8px; overflow: hidden; min-height: 60px; }
.frame img { display: block; width: 100%; height: auto; }
.frame img[hidden] { display: none; }
.frame.stale img { opacity: 0.3; }
.player .frame svg { position: absolute; inset: 0; width: 100%; height: 100%; min-width: 0; }
#frame-note { position: absolute; inset: auto 0 0; margin: 0; padding: 4px 10px; font-size: 12px;
  background: var(--card); color: var(--soft); opacity: 0.9; overflow-wrap: anywhere; }
#frame-note:empty { display: none; }
#frame-legend { min-height: 20px; } #frame-legend li { cursor: pointer; user-select: none; }
#frame-legend li.off { opacity: 0.4; text-decoration: line-through; } #frame-legend li[hidden] { display: none; }
#frame-legend i { border-radius: 50%; width: 9px; height: 9px; }
.inliers { color: var(--match); } .outliers { color: var(--e4); } .undecided { color: var(--e2); }
#frame-marks path { stroke: currentColor; stroke-linecap: round; }
#frame-marks .halo { color: #000000a0; }
#seek { width: 100%; margin: 6px 0 4px; accent-color: var(--accent); }
.controls { display: flex; flex-wrap: wrap; gap: 6px 8px; align-items: center; font-size: 13px; color: var(--soft); }
#clock { margin-left: auto; font-variant-numeric: tabular-nums; }
#now-name { margin: 12px 0 2px; overflow-wrap: anywhere; }
#now-facts { font-size: 13px; } #now-facts th, #now-facts td { padding: 3px 0; vertical-align: top;
  border-top: 1px solid var(--line); overflow-wrap: anywhere; }
#now-facts th { color: var(--soft); white-space: nowrap; padding-right: 14px; width: 1%; }
svg .now { pointer-events: none; }
svg .now .ellipse { fill: currentColor; fill-opacity: 0.14; stroke: currentColor; stroke-width: 1.2; }
svg .now .gaze { stroke: var(--ink); stroke-width: 2; stroke-linecap: round; }
svg .now .place { stroke: var(--accent); stroke-linecap: round; stroke-width: 6; stroke-opacity: 0.45; }
svg .now .best { fill: none; stroke: var(--accent); stroke-width: 2.2; }
svg .now .offset { stroke: currentColor; stroke-width: 1.6; }
svg .now .here { fill: currentColor; stroke: var(--card); stroke-width: 2; }
svg .now .true { fill: var(--card); stroke: var(--ink); stroke-width: 2; }
svg .cursor { stroke: var(--ink); stroke-width: 1.2; stroke-opacity: 0.55; pointer-events: none; }
.legend .gaze { color: var(--ink); height: 3px; width: 14px; } .legend .best { border: 2px solid var(--accent);
  background: none; } .legend .ellipse { border: 1px solid var(--soft); background: none; border-radius: 50%; }
"""

PLAYER_SCRIPT = """
const line = JSON.parse(document.getElementById('timeline').textContent);
const part = id => document.getElementById(id);
const SVG = part('frame-marks').namespaceURI;
const drawings = [...document.querySelectorAll('.map-view svg')];
const timed = [...document.querySelectorAll('.over-time svg')];
const layers = drawings.map(svg => add(svg, 'g', { class: 'now' }));
const cursors = timed.map(svg => add(svg, 'path', { class: 'cursor' }));
const off = new Set();
let at = 0, timer = 0;

function add(parent, kind, attributes) {
  const item = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) item.setAttribute(name, value);
  parent.append(item);
  return item;
}
function points(packed) {
  if (!packed) return [];
  const bytes = Uint8Array.from(atob(packed.points), letter => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer), found = [];
  for (let i = 0; i < bytes.length; i += 4)
    found.push([view.getUint16(i, true) / 65535, view.getUint16(i + 2, true) / 65535]);
  return found;
}
function drawMatches(entry) {
  const marks = part('frame-marks');
  marks.replaceChildren();
  const [width, height] = entry.picture === undefined ? [1, 1] : line.sizes[entry.picture];
  marks.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const size = Math.hypot(width, height) / 110;
  for (const kind of ['outliers', 'undecided', 'inliers']) {
    const found = points(entry[kind]);
    const label = part('frame-legend').querySelector(`[data-kind=${kind}]`);
    label.hidden = entry[kind] === undefined;
    const word = kind === 'undecided' ? 'matches, no pose' : kind;
    const count = entry[kind] ? entry[kind].count : 0;
    const thinned = count > found.length ? ` (${found.length} drawn)` : '';
    label.querySelector('span').textContent = `${count} ${word}${thinned}`;
    label.classList.toggle('off', off.has(kind));
    if (!found.length || off.has(kind)) continue;
    const path = found.map(([x, y]) => `M${(x * width).toFixed(1)} ${(y * height).toFixed(1)}h.01`).join('');
    const scale = kind === 'outliers' ? 0.72 : 1;
    add(marks, 'path', { d: path, class: 'halo', 'stroke-width': 1.5 * scale * size });
    add(marks, 'path', { d: path, class: kind, 'stroke-width': scale * size });
  }
}
function drawPicture(entry) {
  const picture = part('frame-picture'), note = part('frame-note'), frame = picture.parentElement;
  let number = entry.picture;
  frame.classList.toggle('stale', number === undefined);
  note.textContent = '';
  if (number === undefined) {
    let before = at;
    while (before >= 0 && line.queries[before].picture === undefined) before -= 1;
    note.textContent = before < 0 ? 'no image in this report'
      : 'image of this query is not in the report; shown faintly: ' + line.queries[before].name;
    number = before < 0 ? undefined : line.queries[before].picture;
  }
  picture.hidden = number === undefined;
  if (number !== undefined) picture.src = line.pictures[number];
}
function drawPlaces(entry) {
  layers.forEach((layer, view) => {
    layer.replaceChildren();
    entry.keyframes.forEach((key, rank) => {
      const [x, y] = line.keyframes[key][view];
      if (rank) add(layer, 'path', { class: 'place', d: `M${x} ${y}h.01` });
      else add(layer, 'rect', { class: 'best', x: x - 5, y: y - 5, width: 10, height: 10, rx: 2 });
    });
    const estimate = entry.estimate && entry.estimate[view], truth = entry.truth && entry.truth[view];
    const center = estimate || truth;
    const own = add(layer, 'g', { class: entry.css });
    if (estimate) {
      const [x, y] = estimate, [major, minor, turn] = entry.ellipse[view];
      add(own, 'ellipse', { class: 'ellipse', rx: major, ry: minor,
        transform: `translate(${x} ${y}) rotate(${turn})` });
    }
    if (center && entry.gaze)
      add(own, 'path', { class: 'gaze', d: `M${center}l${entry.gaze[view]}` });
    if (estimate && truth) add(own, 'path', { class: 'offset', d: `M${estimate}L${truth}` });
    if (truth) add(own, 'circle', { class: 'true', cx: truth[0], cy: truth[1], r: 4 });
    if (estimate) add(own, 'circle', { class: 'here', cx: estimate[0], cy: estimate[1], r: 6 });
  });
}
function goTo(number) {
  at = Math.max(0, Math.min(line.queries.length - 1, number));
  const entry = line.queries[at];
  part('seek').value = at;
  part('clock').textContent = `${entry.at} · ${at + 1} of ${line.queries.length}`;
  part('now-name').textContent = entry.name;
  part('now-facts').replaceChildren(...entry.facts.map(([label, text]) => {
    const row = document.createElement('tr');
    for (const [kind, words] of [['th', label], ['td', text]]) {
      const cell = document.createElement(kind);
      cell.textContent = words;
      row.append(cell);
    }
    return row;
  }));
  drawPicture(entry);
  drawMatches(entry);
  drawPlaces(entry);
  timed.forEach((svg, number) => {
    const { height } = svg.viewBox.baseVal;
    cursors[number].setAttribute('d', `M${entry.x} 14V${height - 42}`);
  });
}
function pause() {
  clearTimeout(timer);
  timer = 0;
  part('play').textContent = '▶ play';
}
function tick() {
  if (at + 1 >= line.queries.length) { pause(); return; }
  const wait = 1000 * (line.queries[at + 1].ns - line.queries[at].ns) / part('speed').value;
  timer = setTimeout(() => { goTo(at + 1); tick(); }, Math.max(30, Math.min(1500, wait)));
}
function toggle() {
  if (timer) { pause(); return; }
  if (at + 1 >= line.queries.length) goTo(0);
  part('play').textContent = '❚❚ pause';
  tick();
}
if (line.queries.length) {
  part('seek').max = line.queries.length - 1;
  part('seek').addEventListener('input', event => { pause(); goTo(Number(event.target.value)); });
  part('play').addEventListener('click', toggle);
  part('back').addEventListener('click', () => { pause(); goTo(at - 1); });
  part('forward').addEventListener('click', () => { pause(); goTo(at + 1); });
  part('frame-legend').addEventListener('click', event => {
    const kind = event.target.closest('[data-kind]')?.dataset.kind;
    if (!kind) return;
    off.has(kind) ? off.delete(kind) : off.add(kind);
    drawMatches(line.queries[at]);
  });
  addEventListener('click', event => {
    const mark = event.target.closest('[data-q]');
    if (mark) { pause(); goTo(Number(mark.dataset.q)); }
  });
  addEventListener('keydown', event => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches('select')) return;
    const steps = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: line.queries.length - 1 };
    if (event.key === ' ' && !event.target.matches('button')) toggle();
    else if (event.key in steps) { pause(); goTo(steps[event.key]); }
    else return;
    event.preventDefault();
  });
  goTo(0);
}
"""
