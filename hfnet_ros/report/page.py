"""The frame of a self-contained page: style sheet, tooltips, nothing from the network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape

from hfnet_ros.evaluation.json_values import flat_texts
from hfnet_ros.report.page_style import STYLE

_THEME_SCRIPT = """
const root = document.documentElement, dark = matchMedia('(prefers-color-scheme: dark)');
const button = document.getElementById('theme');
function isDark() { return root.dataset.theme ? root.dataset.theme === 'dark' : dark.matches; }
function nameTheme() { button.textContent = isDark() ? '☀ light' : '☾ dark'; }
try { root.dataset.theme = localStorage.getItem('hfnet-theme') || ''; } catch { /* a file may have no storage */ }
button.addEventListener('click', () => {
  root.dataset.theme = isDark() ? 'light' : 'dark';
  try { localStorage.setItem('hfnet-theme', root.dataset.theme); } catch { /* then it is forgotten */ }
  nameTheme();
});
dark.addEventListener('change', nameTheme);
nameTheme();
"""

_SCRIPT = """
const facts = JSON.parse(document.getElementById('facts').textContent);
const tip = document.getElementById('tip');
let hot = [];
function show(event) {
  const mark = event.target.closest ? event.target.closest('[data-q],[data-tip]') : null;
  hot.forEach(item => item.classList.remove('hot'));
  hot = [];
  if (!mark) { tip.hidden = true; return; }
  const q = mark.dataset.q;
  if (q !== undefined) {
    hot = [...document.querySelectorAll('[data-q="' + q + '"]')];
    hot.forEach(item => item.classList.add('hot'));
  }
  tip.textContent = q !== undefined ? facts[q] : mark.dataset.tip;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const x = Math.min(event.clientX + 14, innerWidth - box.width - 8);
  const below = event.clientY + 18 + box.height < innerHeight;
  tip.style.left = Math.max(8, x) + 'px';
  tip.style.top = (below ? event.clientY + 18 : event.clientY - 12 - box.height) + 'px';
}
addEventListener('pointermove', show, { passive: true });
addEventListener('pointerdown', show, { passive: true });
addEventListener('scroll', () => { tip.hidden = true; }, { passive: true });
"""


def render_page(
    title: str, body: str, facts: Sequence[str], *, style: str = "", data: str = "", script: str = ""
) -> str:
    """Return the HTML document.

    Args:
        title: plain text of the window's title.
        body: HTML of the sections, already escaped; it holds a `theme_button`.
        facts: tooltip of each `data-q`, plain text.
        style: more style sheet.
        data: HTML of more script elements that hold data.
        script: more script, run after the tooltips.
    """
    scripts = "".join(f"<script>{{{text}}}</script>\n" for text in (_THEME_SCRIPT, _SCRIPT, script) if text)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n"
        f'<body>\n<main>\n{body}\n</main>\n<div id="tip" role="status" hidden></div>\n'
        f'<script type="application/json" id="facts">{script_json(facts)}</script>\n{data}'
        f"{scripts}</body>\n</html>\n"
    )


def theme_button() -> str:
    """Return the HTML of the button that turns the page dark or light."""
    return '<button id="theme" title="light or dark"></button>'


def warning_list(warnings: object) -> str:
    """Return the HTML of the warnings of results.json; nothing of none."""
    if not isinstance(warnings, list) or not warnings:
        return ""
    return f'<ul class="warnings">{"".join(f"<li>{escape(str(text))}</li>" for text in warnings)}</ul>'


def script_json(value: object) -> str:
    """Return JSON that may stand inside a script element, whatever the texts in it say."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def section(title: str, content: str, lead: str = "") -> str:
    """Return a section with a heading, a sentence in plain text, and its HTML."""
    introduction = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    return f"<section><h2>{escape(title)}</h2>{introduction}{content}</section>"


def figure(title: str, drawing: str | None, caption: str = "", css: str = "") -> str:
    """Return a titled drawing in a card, or the sentence that there is nothing to draw."""
    if drawing is None:
        drawing, caption = '<p class="nothing">Nothing to draw: no query gave such a value.</p>', ""
    return f'<figure class="{css}"><h3>{escape(title)}</h3>{drawing}{caption}</figure>'


def fact_table(values: Mapping[str, object]) -> str:
    """Return a two-column table of nested values, keys joined by dots."""
    rows = "".join(
        f"<tr><th>{escape(key)}</th><td>{escape(text)}</td></tr>" for key, text in flat_texts(values).items()
    )
    return f'<table class="facts">{rows}</table>'
