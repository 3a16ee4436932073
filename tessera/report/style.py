"""The page's style sheet: one column to read, light or dark as the reader's system is, and clean on paper."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1b2430; --soft: #5b6776; --faint: #687383; --line: #e2e6ec; --wash: #f5f7f9;
  --same: #0d7a70; --same-wash: #0d7a7026; --other: #c2632a; --other-wash: #c2632a33;
  --mark: #1b2430; --alert: #a93226; --alert-wash: #fbeceb; --calm: #0d7a70; --calm-wash: #e8f4f2;
  --doubt: #7a5b12; --doubt-wash: #faf3e0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12161c; --ink: #e6eaf0; --soft: #a3aebd; --faint: #798597; --line: #2a323d; --wash: #1a2028;
    --same: #3fb8a9; --same-wash: #3fb8a92e; --other: #e39158; --other-wash: #e3915838;
    --mark: #e6eaf0; --alert: #f08a7e; --alert-wash: #3a201e; --calm: #5cc7b9; --calm-wash: #16302d;
    --doubt: #e0bf6e; --doubt-wash: #332a13;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.6 Inter, "Segoe UI", system-ui, -apple-system, "Noto Sans", "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 820px; margin: 0 auto; padding: 56px 30px 72px; overflow-wrap: break-word; }
header .kind {
  margin: 0 0 6px; color: var(--same); font-size: 13px; font-weight: 600; letter-spacing: .09em;
    text-transform: uppercase;
}
h1 { margin: 0; font-size: 32px; line-height: 1.2; font-weight: 650; letter-spacing: -.015em;
  overflow-wrap: anywhere; }
h2 { margin: 60px 0 8px; font-size: 21px; line-height: 1.3; font-weight: 650; letter-spacing: -.01em; }
h3 { margin: 34px 0 6px; font-size: 16px; font-weight: 650; }
p { margin: 0 0 14px; }
.lead { color: var(--soft); max-width: 68ch; }
dl.facts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(172px, 1fr)); gap: 16px 24px;
  margin: 26px 0 0; padding: 20px 0; border-block: 1px solid var(--line);
}
dl.facts div.wide { grid-column: 1 / -1; }
dl.facts dt { color: var(--faint); font-size: 12.5px; }
dl.facts dd { margin: 1px 0 0; font-size: 15px; overflow-wrap: anywhere; }
dl.facts dd.hash { font: 12.5px/1.5 ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", monospace;
  color: var(--soft); }
.summary { margin: 34px 0 0; padding: 0; list-style: none; counter-reset: said; }
.summary li {
  counter-increment: said; position: relative; padding: 0 0 14px 42px; font-size: 18px; line-height: 1.5;
}
.summary li::before {
  content: counter(said); position: absolute; left: 0; top: 2px; width: 26px; height: 26px; border-radius: 50%;
  background: var(--calm-wash); color: var(--calm); font-size: 13.5px; font-weight: 650; line-height: 26px;
    text-align: center;
}
figure { margin: 18px 0 0; }
figcaption { margin-top: 4px; color: var(--soft); font-size: 13.5px; max-width: 74ch; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text {
  font: 12.5px Inter, "Segoe UI", system-ui, -apple-system, "Noto Sans", "Helvetica Neue", Arial, sans-serif;
}
svg .tick { fill: var(--faint); } svg .axis-title { fill: var(--soft); } svg .mark-label { fill: var(--ink); }
svg .mark-label { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .axis { fill: none; stroke: var(--faint); stroke-width: 1; }
svg .curve { fill: none; stroke: var(--same); stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round; }
svg .band { fill: var(--same-wash); }
svg .area { stroke-width: 1.5; stroke-linejoin: round; }
svg .area.mated { fill: var(--same-wash); stroke: var(--same); }
svg .area.other { fill: var(--other-wash); stroke: var(--other); }
svg .threshold { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 2 4; opacity: .6; }
svg .whisker { stroke: var(--mark); stroke-width: 1.5; }
svg .mark { fill: var(--mark); stroke: var(--paper); stroke-width: 1.5; }
svg .mark.hollow { fill: var(--paper); stroke: var(--mark); } svg .mark.out { fill: var(--alert); }
.scroll { overflow-x: auto; margin: 18px 0 0; }
table { width: 100%; border-collapse: collapse; font-size: 14.5px; line-height: 1.4; }
caption { text-align: left; color: var(--soft); font-size: 13.5px; padding: 0 0 8px; }
th, td { padding: 9px 18px 9px 0; text-align: right; vertical-align: baseline; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--faint); font-size: 12.5px; font-weight: 500; vertical-align: bottom;
  border-bottom-color: var(--faint); }
tbody th { font-weight: 550; white-space: nowrap; } tbody tr.chosen { background: var(--wash); }
tbody tr.chosen > :first-child { box-shadow: -10px 0 0 var(--wash); }
tbody tr.chosen > :last-child { box-shadow: 10px 0 0 var(--wash); }
td .within { display: block; color: var(--faint); font-size: 12.5px; white-space: nowrap; }
tr.missing th, tr.missing td { color: var(--faint); font-weight: 400; } tr.missing td { text-align: left;
  font-size: 13.5px; }
th .also { margin-left: 8px; color: var(--faint); font-size: 12.5px; font-weight: 400; }
td.name { overflow-wrap: anywhere; }
.tag { display: inline-block; margin-left: 8px; padding: 1px 8px; border-radius: 9px; font-size: 12px;
  font-weight: 550; white-space: nowrap; }
.tag.doubt { background: var(--doubt-wash); color: var(--doubt); } .tag.alert { background: var(--alert-wash);
  color: var(--alert); }
.finding { margin: 10px 0 0; padding: 11px 16px; border-radius: 8px; font-size: 15px; }
.finding.difference { background: var(--alert-wash); color: var(--alert); }
.finding.none { background: var(--calm-wash); color: var(--calm); }
.finding.doubt { background: var(--doubt-wash); color: var(--doubt); }
.big { font-size: 30px; font-weight: 650; letter-spacing: -.015em; margin: 12px 0 2px; line-height: 1.2; }
details { margin-top: 10px; color: var(--soft); font-size: 14px; } summary { cursor: pointer; }
ul.names { columns: 2; column-gap: 32px; margin: 8px 0 0; padding-left: 18px; }
ul.names li { overflow-wrap: anywhere; }
ul.limits { margin: 14px 0 0; padding: 0; list-style: none; }
ul.limits li { padding: 12px 0; border-top: 1px solid var(--line); } ul.limits strong { font-weight: 650; }
dl.words { margin: 14px 0 0; font-size: 14.5px; display: grid;
  grid-template-columns: minmax(64px, max-content) 1fr; gap: 6px 22px; }
dl.words dt { font-weight: 600; } dl.words dd { margin: 0; color: var(--soft); }
footer { margin-top: 56px; padding-top: 16px; border-top: 1px solid var(--line); color: var(--faint);
  font-size: 13px; }
@media (max-width: 620px) { main { padding: 32px 18px 48px; } h1 { font-size: 25px; }
.summary li { font-size: 16.5px; } ul.names { columns: 1; } }
@media print {
  :root {
    color-scheme: light;
    --paper: #fff; --ink: #111; --soft: #444; --faint: #6b6b6b; --line: #d5d8dc; --wash: #f3f4f6;
    --same: #0d7a70; --same-wash: #0d7a7026; --other: #c2632a; --other-wash: #c2632a33; --mark: #111;
    --alert: #a93226; --alert-wash: #fbeceb; --calm: #0b5f57; --calm-wash: #e8f4f2; --doubt: #6b4f0f;
      --doubt-wash: #faf3e0;
  }
  @page { size: A4; margin: 17mm 16mm; }
  body { font-size: 10.2pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; } h2 { margin-top: 26px; } h2, h3, .lead { break-after: avoid; }
  figure, table, tr, .finding, ul.limits li, .summary li, dl.facts { break-inside: avoid; }
  .summary li { font-size: 11.5pt; } .scroll { overflow: visible; }
}
"""
