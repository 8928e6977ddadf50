"""The style sheet of the report: light or dark as the reader's system or the page's button says.

Colours e0 to e4 run from blue over yellow to red, which colour-blind readers tell apart too.
"""

import re

_LIGHT = """
  --page: #f4f5f7; --card: #ffffff; --ink: #1a2230; --soft: #5b6675; --line: #e1e5ea;
  --accent: #2767b0; --bar: #7ea6d6; --dust: #9fa9b6; --key: #6d7a8b; --shade: #2767b014;
  --e0: #2474b5; --e1: #2fa6a6; --e2: #d9ac1e; --e3: #ee7f22; --e4: #d3233b;
  --none: #a3adba; --lost: #8040d8; --good: #1d7f52; --bad: #c81e36; --match: #35e08a;
  --shadow: 0 1px 2px #1a223012, 0 4px 14px #1a22300d;
"""
LIGHT_COLORS = dict(re.findall(r"--(\w+): (#\w{6});", _LIGHT))
_DARK = """
  --page: #0e1218; --card: #171d26; --ink: #e6ebf2; --soft: #93a0b1; --line: #29323f;
  --accent: #71aef2; --bar: #3f6ea6; --dust: #586579; --key: #97a6ba; --shade: #71aef21c;
  --e0: #5aa9ec; --e1: #45c4bf; --e2: #ecc94b; --e3: #f79a4c; --e4: #ff5c72;
  --none: #5d6979; --lost: #b98cff; --good: #58c795; --bad: #ff6b7f; --match: #35e08a; --shadow: none;
"""

# The reader's system decides until the button of the page does.
_THEMES = f"""
:root {{ color-scheme: light; {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ color-scheme: dark; {_DARK} }} }}
:root[data-theme=dark] {{ color-scheme: dark; {_DARK} }}
"""

STYLE = (
    _THEMES
    + """
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main { max-width: 1200px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.015em; text-wrap: balance; }
h2 { font-size: 20px; margin: 44px 0 4px; letter-spacing: -0.01em; }
h3 { font-size: 13.5px; font-weight: 600; margin: 0 0 8px; }
.lead, header p { color: var(--soft); margin: 0 0 14px; max-width: 86ch; }
header p { overflow-wrap: anywhere; }
figure, .card, .scroll {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; box-shadow: var(--shadow);
}
figure { margin: 0 0 16px; padding: 16px 18px 12px; min-width: 0; overflow-x: auto; }
figure svg { display: block; width: 100%; min-width: 430px; height: auto; }
figure svg[viewBox^="0 0 1120"] { min-width: 760px; }
figure svg[viewBox^="0 0 780"] { min-width: 560px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 0 16px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px; }
.cards + .cards { margin-top: 12px; }
header { margin-bottom: 26px; position: relative; padding-right: 96px; }
button, select {
  font: inherit; font-size: 13px; color: var(--ink); background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; padding: 4px 11px; cursor: pointer;
}
button:hover, select:hover { border-color: var(--soft); }
:is(button, select, input):focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
#theme { position: absolute; top: 4px; right: 0; }
.warnings { list-style: none; padding: 0; margin: 0 0 16px; }
.warnings li {
  border: 1px solid var(--e3); border-left-width: 5px; border-radius: 8px; padding: 8px 14px; margin: 0 0 8px;
  background: var(--card); max-width: 100ch;
}
.card { padding: 14px 16px 12px; }
.card b {
  display: block; font-size: 27px; line-height: 1.2; font-weight: 650; letter-spacing: -0.02em;
  font-variant-numeric: tabular-nums;
}
.card span { color: var(--soft); font-size: 12.5px; display: block; }
.card .name { font-weight: 600; margin-bottom: 3px; }
.card.good b { color: var(--good); } .card.bad b { color: var(--bad); }
.nothing { color: var(--soft); padding: 28px 0; text-align: center; margin: 0; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 0; margin: 8px 0 2px; }
.legend li { display: flex; align-items: center; gap: 7px; font-size: 12.5px; color: var(--soft); }
.legend i { width: 11px; height: 11px; border-radius: 3px; background: currentColor; flex: none; }
.legend :is(.truth, .fused, .honest, .kept, .rate, .bound, [class^=run], [class^=cover]) { height: 3px; width: 18px; }
.legend .sigma, .legend .expected, .legend [class^=recall] { height: 3px; width: 18px; }
.legend .cross { background: none; position: relative; }
.legend .cross::before { content: "✕"; position: absolute; top: -6px; font: 700 13px/22px sans-serif; }
.legend .dust, .legend .keyframe { border-radius: 50%; width: 8px; height: 8px; }
.e0 { color: var(--e0); } .e1 { color: var(--e1); } .e2 { color: var(--e2); } .e3 { color: var(--e3); }
.e4, .false { color: var(--e4); } .right { color: var(--e0); }
.blind { color: var(--soft); } .lost { color: var(--lost); }
.none { color: var(--none); } .truth { color: var(--ink); } .sigma { color: var(--soft); }
.dust { color: var(--dust); } .keyframe { color: var(--key); } .expected { color: var(--e3); }
.fused { color: var(--good); } .bound { color: var(--soft); } .rate { color: var(--e4); } .kept { color: var(--e0); }
.cover1 { color: var(--e1); } .cover2 { color: var(--e0); } .cover3 { color: var(--lost); }
.run0 { color: var(--e0); } .run1 { color: var(--e3); } .run2 { color: var(--e1); } .run3 { color: var(--lost); }
.run4 { color: var(--e2); } .run5 { color: var(--e4); } .rest { color: var(--none); } .honest { color: var(--soft); }
.bar { color: var(--bar); } .band { color: var(--shade); } .mark { color: var(--e3); }
.recall0 { color: var(--e1); } .recall1 { color: var(--e0); } .recall2 { color: var(--e2); }
.stage0 { color: var(--e0); } .stage1 { color: var(--e1); } .stage2 { color: var(--e2); }
.stage3 { color: var(--e3); } .stage4 { color: var(--none); } .stage5 { color: var(--key); }
.stage6 { color: var(--accent); }
svg text { fill: var(--soft); font-size: 11.5px; font-family: inherit; font-variant-numeric: tabular-nums; }
svg text.note {
  fill: var(--ink); paint-order: stroke; stroke: var(--card); stroke-width: 5px; stroke-linejoin: round;
}
svg path { fill: none; } svg rect { fill: currentColor; }
svg .grid { stroke: var(--line); } svg .base { stroke: var(--soft); stroke-opacity: 0.6; }
svg .line { stroke: currentColor; stroke-width: 1.8; stroke-linejoin: round; }
svg .line.truth { stroke-width: 1.3; stroke-opacity: 0.55; }
svg .line.sigma { stroke-width: 1.5; } svg .line.astray { stroke-width: 1.1; stroke-opacity: 0.6; }
svg .line.fused { stroke-width: 1.5; } svg .line.bound { stroke-dasharray: 3 3; stroke-width: 1.3; }
svg .line:is(.nominal, .honest) { stroke-dasharray: 5 4; stroke-width: 1.3; stroke-opacity: 0.8; }
svg .rule { stroke: currentColor; stroke-dasharray: 4 3; stroke-width: 1.4; }
svg .dust, svg .keyframe { stroke: currentColor; stroke-linecap: round; }
svg .dust { stroke-width: 1.7; stroke-opacity: 0.65; } svg .keyframe { stroke-width: 4; }
svg .dot { fill: currentColor; stroke: transparent; stroke-width: 7; }
svg .handle { fill: transparent; stroke: transparent; stroke-width: 12; }
svg .cross { stroke: currentColor; stroke-width: 2; stroke-linecap: round; pointer-events: bounding-box; }
[data-q] { cursor: pointer; }
svg .dot.hot { stroke: var(--ink); stroke-width: 2.5; r: 6px; }
svg .cross.hot { stroke: var(--ink); stroke-width: 4; }
svg .handle:hover { fill: currentColor; } svg rect[data-tip]:hover { fill-opacity: 0.7; }
.stack { display: flex; gap: 2px; height: 34px; border-radius: 8px; overflow: hidden; margin: 6px 0 12px; }
.stack i { background: currentColor; flex-basis: 0; min-width: 2px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; }
.bars th { width: 34%; padding: 5px 10px 5px 0; } .bars td { padding: 5px 0; }
.bars td:nth-child(n+3) { text-align: right; width: 4.6em; color: var(--soft); }
.stages th, .stages td { padding: 4px 0; border-top: 1px solid var(--line); }
.stages thead th { border: 0; color: var(--soft); font-size: 12.5px; }
.stages :is(th, td):nth-child(n+2) { text-align: right; }
.stages i {
  display: inline-block; width: 11px; height: 11px; border-radius: 3px; background: currentColor;
  margin-right: 8px;
}
.stages .sum { font-weight: 650; }
.bars i { display: block; height: 14px; border-radius: 4px; background: currentColor; min-width: 1px; }
.bars .faint { opacity: 0.55; } .bars .faint i { visibility: hidden; }
.scroll { overflow-x: auto; }
.worst th, .worst td, .facts th, .facts td { border-top: 1px solid var(--line); padding: 9px 14px; }
.worst thead th { border: 0; color: var(--soft); font-size: 12.5px; white-space: nowrap; }
.worst td { vertical-align: middle; } .worst .number { text-align: right; white-space: nowrap; }
.worst img { display: block; width: 150px; border-radius: 6px; background: var(--line); }
.worst .blank { width: 150px; color: var(--soft); font-size: 12px; }
.worst small { color: var(--soft); display: block; min-width: 22ch; }
.worst tr.hot { background: var(--shade); } .worst .name { overflow-wrap: anywhere; font-weight: 600; }
.pill {
  border: 1px solid currentColor; border-radius: 20px; padding: 1px 9px; font-size: 12px; white-space: nowrap;
}
.facts tr:first-child > * { border-top: 0; }
.facts th { color: var(--soft); white-space: nowrap; width: 1%; } .facts td { overflow-wrap: anywhere; }
.facts th, .facts td { padding: 6px 14px; }
#tip {
  position: fixed; z-index: 9; pointer-events: none; white-space: pre-line; max-width: 340px;
  background: var(--ink); color: var(--page); padding: 7px 11px; border-radius: 8px; font-size: 12.5px;
  overflow-wrap: anywhere; font-variant-numeric: tabular-nums;
}
#tip[hidden] { display: none; }
#tip::first-line { font-weight: 650; }
.figures th, .figures td { padding: 6px 14px; border-top: 1px solid var(--line); white-space: nowrap; }
.figures thead th { border: 0; color: var(--soft); font-size: 12.5px; }
.figures :is(th, td):nth-child(n+2) { text-align: right; } .figures .best { font-weight: 650; }
@media (max-width: 700px) {
  main { padding: 22px 14px 48px; } h1 { font-size: 24px; } h2 { margin-top: 32px; }
  figure { padding: 12px 12px 10px; } .cards { grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 8px; }
  .card { padding: 10px 12px; } .card b { font-size: 22px; } header { padding-right: 0; }
  #theme { position: static; margin-bottom: 10px; } svg text { font-size: 14px; }
}
@media print { figure, .card { break-inside: avoid; box-shadow: none; } }
"""
)
