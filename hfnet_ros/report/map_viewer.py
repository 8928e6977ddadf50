"""Style sheet and script of the map page: points in WebGL, without any library.

The camera looks at `target` from `distance` under `yaw` and `pitch`, z up. Nothing is drawn
until something changes, so an open tab costs nothing.
"""

STYLE = """
:root {
  color-scheme: light dark; --page: #f4f5f7; --ink: #1a2230; --soft: #5b6675;
  --card: #ffffffe0; --line: #d5dae1;
}
@media (prefers-color-scheme: dark) {
  :root { --page: #0b0f15; --ink: #e6ebf2; --soft: #93a0b1; --card: #171d26e0; --line: #2b3543; }
}
html, body { margin: 0; height: 100%; overflow: hidden; background: var(--page); color: var(--ink); }
body { font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
#view { width: 100vw; height: 100vh; height: 100dvh; display: block; touch-action: none; cursor: grab; }
#view:active { cursor: grabbing; } #view:focus { outline: none; }
aside {
  position: fixed; top: 14px; left: 14px; width: min(330px, calc(100vw - 28px)); box-sizing: border-box;
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 14px;
  max-height: calc(100vh - 28px); overflow: auto; backdrop-filter: blur(8px);
}
summary { font-weight: 650; font-size: 16px; cursor: pointer; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; margin-top: 6px; font-size: 13px; }
th { text-align: left; font-weight: 400; color: var(--soft); padding: 2px 12px 2px 0; vertical-align: top; }
td { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.row { display: flex; flex-wrap: wrap; gap: 6px 12px; align-items: center; }
.row { margin-top: 10px; font-size: 13px; }
button, select {
  font: inherit; font-size: 13px; color: inherit; background: transparent; border: 1px solid var(--line);
  border-radius: 7px; padding: 3px 9px; cursor: pointer;
}
button:hover { border-color: var(--soft); } select option { color: #1a2230; }
label { display: flex; gap: 6px; align-items: center; } input[type=range] { width: 84px; }
svg.moves { width: 100%; height: 46px; } p.moves { font-size: 12.5px; margin: 8px 0 2px; color: var(--soft); }
polyline { fill: none; stroke-width: 1.4; vector-effect: non-scaling-stroke; }
polyline.far { stroke: #d9531e; } b.far { color: #d9531e; }
polyline.turned { stroke: #5b7ea8; } b.turned { color: #5b7ea8; }
.curves svg text { fill: var(--soft); font-size: 17px; } .curves svg path { fill: none; }
.curves svg .grid { stroke: var(--line); } .curves svg .base { stroke: var(--soft); }
.curves svg .line { stroke: currentColor; stroke-width: 2.5; }
.run0 { color: #d9531e; } .run1 { color: #5b7ea8; } .run2 { color: #3f8f5f; } .run3 { color: #8a63b0; }
.legend { list-style: none; padding: 0; margin: 2px 0 6px; font-size: 12.5px; color: var(--soft); }
.legend i { display: inline-block; width: 18px; height: 3px; margin-right: 7px; background: currentColor; }
#hint { color: var(--soft); font-size: 12.5px; margin: 10px 0 0; }
"""

SCRIPT = """
const data = JSON.parse(document.getElementById('data').textContent);
const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
const floats = text => new Float32Array(bytes(text).buffer);
const element = id => document.getElementById(id);
const canvas = element('view');
const gl = canvas.getContext('webgl', { antialias: true, alpha: true });
if (!gl) element('hint').textContent = 'This browser shows no WebGL, so the points cannot be drawn.';
else start();

function start() {
  const { low, high } = data, points = floats(data.points), path = floats(data.path);
  const size = low.map((value, axis) => high[axis] - value), radius = Math.hypot(...size) / 2;
  const home = { target: low.map((value, axis) => value + size[axis] / 2), distance: 2.05 * radius,
    yaw: -2.2, pitch: 0.62 };
  const camera = { ...home, target: [...home.target] };
  const program = compile(gl, `
    attribute vec3 position; attribute vec3 color; uniform mat4 projection; uniform vec2 heights;
    uniform float size; uniform float byHeight; uniform vec3 plain; uniform float usePlain;
    varying vec3 shade;
    vec3 ramp(float t) {
      return clamp(vec3(0.26 + 0.15 * t + 0.6 * t * t, 0.22 + 0.75 * t - 0.12 * t * t,
        0.58 + 0.35 * t - 0.85 * t * t), 0.0, 1.0);
    }
    void main() {
      gl_Position = projection * vec4(position, 1.0);
      gl_PointSize = size;
      float t = clamp((position.z - heights.x) / (heights.y - heights.x), 0.0, 1.0);
      shade = usePlain > 0.5 ? plain : byHeight > 0.5 ? ramp(t) : color;
    }`, `
    precision mediump float; varying vec3 shade; uniform float round;
    void main() {
      if (round > 0.5 && length(gl_PointCoord - 0.5) > 0.5) discard;
      gl_FragColor = vec4(shade, 1.0);
    }`);
  const place = name => gl.getUniformLocation(program, name);
  const uniforms = Object.fromEntries(['projection', 'heights', 'size', 'byHeight', 'plain', 'usePlain',
    'round'].map(name => [name, place(name)]));
  const buffers = { points: fill(gl, points), path: fill(gl, segments(path)), stops: fill(gl, stops(path)),
    grid: fill(gl, grid(low, high)), colors: data.colors ? fill(gl, bytes(data.colors)) : null };
  gl.useProgram(program);
  gl.enable(gl.DEPTH_TEST);
  const dark = matchMedia('(prefers-color-scheme: dark)');

  let isQueued = false;
  function redraw() {
    if (!isQueued) requestAnimationFrame(draw);
    isQueued = true;
  }
  function draw() {
    isQueued = false;
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.max(1, canvas.clientWidth * ratio);
    canvas.height = Math.max(1, canvas.clientHeight * ratio);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniformMatrix4fv(uniforms.projection, false, projection(camera, canvas.width / canvas.height, radius));
    gl.uniform2f(uniforms.heights, low[2], high[2]);
    const isByHeight = !data.colors || element('mode').value === '1';
    gl.uniform1f(uniforms.byHeight, isByHeight ? 1 : 0);
    const line = dark.matches ? [0.17, 0.2, 0.26] : [0.84, 0.86, 0.89];
    mark(buffers.grid, gl.LINES, line, 1);
    mark(buffers.points, gl.POINTS, null, element('size').value * ratio, buffers.colors);
    if (element('keyframes').checked) {
      const orange = dark.matches ? [1.0, 0.6, 0.26] : [0.85, 0.33, 0.12];
      mark(buffers.path, gl.LINES, orange, 1);
      mark(buffers.stops, gl.POINTS, orange, 6 * ratio);
    }
  }
  function mark(buffer, kind, plain, pointSize, colors = null) {
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer.handle);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 0, 0);
    gl.disableVertexAttribArray(1);
    if (colors) {
      gl.bindBuffer(gl.ARRAY_BUFFER, colors.handle);
      gl.enableVertexAttribArray(1);
      gl.vertexAttribPointer(1, 3, gl.UNSIGNED_BYTE, true, 0, 0);
    }
    gl.uniform1f(uniforms.usePlain, plain ? 1 : 0);
    gl.uniform3fv(uniforms.plain, plain || [0, 0, 0]);
    gl.uniform1f(uniforms.size, pointSize);
    gl.uniform1f(uniforms.round, kind === gl.POINTS ? 1 : 0);
    gl.drawArrays(kind, 0, buffer.length / 3);
  }
  listen(camera, home, size, redraw);
  dark.addEventListener('change', redraw);
  redraw();
}

function compile(gl, vertex, fragment) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.bindAttribLocation(program, 0, 'position');
  gl.bindAttribLocation(program, 1, 'color');
  gl.linkProgram(program);
  return program;
}
function fill(gl, values) {
  const handle = gl.createBuffer();
  gl.bindBuffer(gl.ARRAY_BUFFER, handle);
  gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
  return { handle, length: values.length };
}
function stops(path) {
  return path.filter(value => !Number.isNaN(value));
}
function segments(path) {
  const ends = [];
  for (let at = 3; at < path.length; at += 3)
    if (!Number.isNaN(path[at]) && !Number.isNaN(path[at - 3])) ends.push(...path.slice(at - 3, at + 3));
  return new Float32Array(ends);
}
function grid(low, high) {
  const span = Math.max(high[0] - low[0], high[1] - low[1]);
  const power = 10 ** Math.floor(Math.log10(span / 8));
  const step = [1, 2, 5, 10].map(nice => nice * power).find(value => span / value <= 16);
  const [x0, y0] = [0, 1].map(axis => Math.floor(low[axis] / step) * step);
  const [x1, y1] = [0, 1].map(axis => Math.ceil(high[axis] / step) * step);
  const ends = [], z = low[2];
  for (let x = x0; x < x1 + step / 2; x += step) ends.push(x, y0, z, x, y1, z);
  for (let y = y0; y < y1 + step / 2; y += step) ends.push(x0, y, z, x1, y, z);
  element('hint').append(` Grid ${Number(step.toPrecision(2))} m.`);
  return new Float32Array(ends);
}
function axes({ yaw, pitch }) {
  const back = [Math.cos(pitch) * Math.cos(yaw), Math.cos(pitch) * Math.sin(yaw), Math.sin(pitch)];
  const right = [-Math.sin(yaw), Math.cos(yaw), 0];
  const up = [-Math.sin(pitch) * Math.cos(yaw), -Math.sin(pitch) * Math.sin(yaw), Math.cos(pitch)];
  return { back, right, up };
}
function projection(camera, aspect, radius) {
  const { back, right, up } = axes(camera);
  const eye = camera.target.map((value, axis) => value + camera.distance * back[axis]);
  const dot = axis => axis[0] * eye[0] + axis[1] * eye[1] + axis[2] * eye[2];
  const near = Math.max(camera.distance / 200, 1e-3), far = camera.distance + 40 * radius;
  const focal = 1.9 * Math.min(1, aspect), a = (far + near) / (near - far), b = 2 * far * near / (near - far);
  const columns = [];
  for (let axis = 0; axis < 3; axis += 1)
    columns.push(focal / aspect * right[axis], focal * up[axis], a * back[axis], -back[axis]);
  columns.push(-focal / aspect * dot(right), -focal * dot(up), -a * dot(back) + b, dot(back));
  return new Float32Array(columns);
}
function listen(camera, home, size, redraw) {
  const fingers = new Map();
  const turn = (x, y) => {
    camera.yaw -= 0.006 * x;
    camera.pitch = Math.max(-1.5707, Math.min(1.5707, camera.pitch + 0.006 * y));
  };
  const move = (x, y) => {
    const { right, up } = axes(camera), scale = camera.distance / (0.95 * canvas.clientHeight);
    camera.target = camera.target.map((value, axis) => value + scale * (y * up[axis] - x * right[axis]));
  };
  const zoom = factor => {
    camera.distance = Math.max(0.02, Math.min(50 * home.distance, camera.distance * factor));
  };
  const spread = () => {
    const [one, two] = [...fingers.values()];
    return Math.hypot(one.x - two.x, one.y - two.y);
  };
  canvas.addEventListener('pointerdown', event => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  canvas.addEventListener('pointermove', event => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    const x = event.clientX - last.x, y = event.clientY - last.y;
    const before = fingers.size === 2 ? spread() : 0;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (fingers.size === 2) {
      move(x / 2, y / 2);
      zoom(before / Math.max(1, spread()));
    } else if (event.buttons > 1 || event.shiftKey || event.ctrlKey) move(x, y);
    else turn(x, y);
    redraw();
  });
  for (const name of ['pointerup', 'pointercancel'])
    canvas.addEventListener(name, event => fingers.delete(event.pointerId));
  canvas.addEventListener('contextmenu', event => event.preventDefault());
  canvas.addEventListener('wheel', event => {
    event.preventDefault();
    zoom(Math.exp((event.deltaMode === 1 ? 0.04 : 0.0013) * event.deltaY));
    redraw();
  }, { passive: false });
  const look = (yaw, pitch) => {
    Object.assign(camera, { ...home, target: [...home.target], yaw, pitch });
    redraw();
  };
  // The longer horizontal side lies across the screen.
  const yaw = size[0] >= size[1] ? -Math.PI / 2 : 0;
  element('above').onclick = () => look(yaw, 1.5707);
  element('side').onclick = () => look(yaw, 0);
  element('reset').onclick = () => look(home.yaw, home.pitch);
  canvas.addEventListener('dblclick', () => look(home.yaw, home.pitch));
  for (const id of ['size', 'keyframes', 'mode'])
    if (element(id)) element(id).addEventListener('input', redraw);
  addEventListener('resize', redraw);
}
"""
