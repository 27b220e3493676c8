#include "engine/finetune/report/run_report_style.h"

namespace whipsnake::engine {

std::string_view RunReportStyle() {
  return R"css(
:root {
  color-scheme: light dark;
  --paper: #fbfaf8; --ink: #1d2126; --soft: #646b73; --rule: #e3e1dc; --fill: #efede8;
  --training: #23648f; --evaluation: #c4560f; --shade-1: #23648f; --shade-2: #6a9bbb;
  --shade-3: #a9c6d8; --shade-4: #d5e2ea;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #15181b; --ink: #e6e7e6; --soft: #98a0a8; --rule: #2c3136; --fill: #22272b;
    --training: #6db3de; --evaluation: #f0964e; --shade-1: #6db3de; --shade-2: #467f9f;
    --shade-3: #305a72; --shade-4: #26404f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 3rem 1.5rem 4rem; max-width: 72rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial,
  sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
h1, h2, h3, p, dl, dd, ul, figure { margin: 0; padding: 0; }
h1 {
  max-width: 30em; font-size: clamp(1.45rem, 3.4vw, 2.1rem); line-height: 1.25; font-weight: 600;
  letter-spacing: -0.015em; text-wrap: balance;
}
h2 {
  margin: 3.5rem 0 1.25rem; padding-top: 0.75rem; border-top: 1px solid var(--rule);
  font-size: 1.15rem; font-weight: 600;
}
h3 { font-size: 0.95rem; font-weight: 600; }
small, .soft, .note { color: var(--soft); font-weight: 400; font-size: 0.85rem; }
.note { margin-top: 0.5rem; }
.top { margin-bottom: 0.75rem; color: var(--soft); font-size: 0.9rem; }
.ended { margin-top: 0.9rem; color: var(--soft); text-wrap: pretty; }
.ended b { color: var(--ink); font-weight: 600; }

.figures {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: 1.25rem 1.5rem;
  margin-top: 2.25rem; padding: 1.25rem 0; border: solid var(--rule); border-width: 1px 0;
}
.figures dt { color: var(--soft); font-size: 0.85rem; }
.figures dd { font-size: 1.4rem; line-height: 1.3; font-weight: 600; letter-spacing: -0.01em; }
.figures small { display: block; letter-spacing: 0; }

.charts {
  display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 2.5rem 2.5rem;
  margin-top: 2.5rem;
}
.charts > :first-child { grid-column: 1 / -1; }
.charts > :last-child:nth-child(even) { grid-column: 1 / -1; }
.chart { display: flex; flex-direction: column; justify-content: space-between; }
.chart figcaption {
  display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1.5rem;
  margin-bottom: 0.9rem;
}
.legend { display: flex; flex-wrap: wrap; gap: 0 1.1rem; list-style: none; }
.legend li { color: var(--soft); font-size: 0.85rem; }
.legend li::before {
  content: ""; display: inline-block; width: 1.1rem; margin-right: 0.4rem; vertical-align: middle;
  border-top: 2px solid var(--training);
}
.legend .faint::before { opacity: 0.4; border-top-width: 1px; }
.legend .dashed::before { border-top: 1px dashed var(--soft); }
.legend .points::before {
  width: 7px; height: 7px; border: 0; border-radius: 50%; background: var(--evaluation);
}
.plot { position: relative; height: 12.5rem; margin: 0 0.75rem 2.6rem 3rem; font-size: 0.75rem; }
.charts > :first-child .plot { height: 18rem; }
.plot svg { position: absolute; width: 100%; height: 100%; overflow: visible; }
.plot path {
  fill: none; stroke: var(--training); stroke-width: 1.75; stroke-linecap: round;
  stroke-linejoin: round; vector-effect: non-scaling-stroke;
}
.plot .grid { stroke: var(--rule); stroke-width: 1; stroke-linecap: butt; }
.plot .faint { stroke-width: 1; opacity: 0.35; }
.plot .dashed {
  stroke: var(--soft); stroke-width: 1; stroke-dasharray: 4 3; stroke-linecap: butt;
}
.plot .points { stroke: var(--evaluation); stroke-width: 1.5; }
.plot .dot { stroke-width: 7; }
.plot span { position: absolute; color: var(--soft); white-space: nowrap; line-height: 1; }
.plot .y { right: calc(100% + 0.6rem); transform: translateY(-50%); }
.plot .x { top: calc(100% + 0.55rem); transform: translateX(-50%); }
.plot .x-title { top: calc(100% + 1.6rem); left: 50%; transform: translateX(-50%); }

.plot .edge { stroke: var(--ink); stroke-width: 1.25; stroke-linecap: butt; }
.legend .edge::before { border-top-color: var(--ink); }
.legend .area::before {
  width: 0.7rem; height: 0.7rem; border: 0; background: var(--colour);
}
.plot .area { stroke: none; fill: var(--colour); shape-rendering: crispEdges; }
.memory { margin-top: 2.5rem; }
.memory .plot { height: 18rem; }
.parameters { --colour: #b9b4a8; } .moments { --colour: #8f8a80; } .c12 { --colour: #c4560f; }
.c11 { --colour: #6a4c93; } .c10 { --colour: #9a80c2; } .c9 { --colour: #c9b6e4; }
.c8 { --colour: #a63a50; } .c7 { --colour: #e0b94f; } .c6 { --colour: #b5860b; }
.c5 { --colour: #2d7d59; } .c4 { --colour: #7bbf95; } .c3 { --colour: #174f75; }
.c2 { --colour: #3d86b3; } .c1 { --colour: #93c0dc; } .c0 { --colour: #d3a4b4; }

.layers { margin-top: 1rem; font-size: 0.75rem; line-height: 1.1rem; }
.layers th, .layers td {
  padding: 0 0.75rem 0 0; border: 0; white-space: nowrap; vertical-align: middle;
}
.layers tbody th { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
.layers .begins th, .layers .begins td { border-top: 1px solid var(--rule); }
.layers thead th {
  position: sticky; top: 0; padding-bottom: 0.3rem; background: var(--paper); font-size: 0.75rem;
}
.layers .strip { width: 100%; min-width: 10rem; padding-right: 1.5rem; }
.steps { position: relative; height: 1.1rem; }
.steps span { position: absolute; transform: translateX(-50%); }
.strip svg { display: block; width: 100%; height: 0.85rem; background: var(--fill); }
.strip path { stroke: var(--training); stroke-width: 2; shape-rendering: crispEdges; }
.a1, .b1 { opacity: 0.15; } .a2, .b2 { opacity: 0.28; } .a3, .b3 { opacity: 0.42; }
.a4, .b4 { opacity: 0.58; } .a5, .b5 { opacity: 0.78; }
.b1, .b2, .b3, .b4, .b5, .b6 { background: var(--training); }
.soft .key { margin: 0 0.25rem 0 0.5rem; }

.columns {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
  gap: 2.5rem;
}
table { width: 100%; border-collapse: collapse; font-size: 0.9rem; }
th, td {
  padding: 0.3rem 0.75rem 0.3rem 0; border-bottom: 1px solid var(--rule); text-align: left;
  font-weight: 400; vertical-align: baseline;
}
thead th { color: var(--soft); font-size: 0.85rem; }
th:last-child, td:last-child { padding-right: 0; }
.n { text-align: right; white-space: nowrap; }
.evaluations th:not(:first-child), .evaluations td:not(:first-child) {
  text-align: right; white-space: nowrap;
}
.best td { font-weight: 600; color: var(--evaluation); }
.facts { margin-top: 0.5rem; }
.facts th { color: var(--soft); width: 45%; }
.counts { margin-top: 1.5rem; }
.counts caption { padding-bottom: 0.3rem; text-align: left; font-weight: 600; }
.counts th { width: 34%; }
.counts .bar { width: 40%; vertical-align: middle; }
.bar i { display: block; height: 0.6rem; min-width: 1px; background: var(--training); }
.warning { margin-top: 0.75rem; padding-left: 0.75rem; border-left: 3px solid var(--evaluation); }
.stack { display: flex; height: 1.5rem; gap: 2px; margin-bottom: 1rem; }
.stack i { display: block; min-width: 1px; }
.s1 { background: var(--shade-1); } .s2 { background: var(--shade-2); }
.s3 { background: var(--shade-3); } .s4 { background: var(--shade-4); }
.key { display: inline-block; width: 0.7rem; height: 0.7rem; margin-right: 0.5rem; }
.settings { columns: 3 16rem; column-gap: 2.5rem; }
.settings div {
  display: flex; justify-content: space-between; gap: 1rem; padding: 0.3rem 0;
  border-bottom: 1px solid var(--rule); break-inside: avoid; font-size: 0.9rem;
}
.settings dt { color: var(--soft); }
.settings dd { text-align: right; }
.names { margin-top: 1.25rem; }
code { font: 0.85em ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }

@media (max-width: 44rem) {
  body { padding: 1.75rem 1rem 3rem; }
  .charts { grid-template-columns: minmax(0, 1fr); }
  .charts > :first-child .plot { height: 14rem; }
  .figures { grid-template-columns: repeat(2, 1fr); }
  .layers tr { display: grid; grid-template-columns: 1fr 3.5rem 3.5rem; }
  .layers tbody th { grid-column: 1 / -1; padding-top: 0.25rem; white-space: normal; }
  .layers thead th:first-child { display: none; }
  .layers .n { padding-right: 0; }
  .layers .begins td { border: 0; }
  .layers .strip { min-width: 0; }
}
@media print {
  @page { margin: 14mm; }
  html { font-size: 11px; }
  body { padding: 0; max-width: none; background: #fff; font-size: 11px;
    print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h2 { margin-top: 2.5rem; }
  .columns { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .chart, .figures, table, .settings div { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
}
)css";
}

}  // namespace whipsnake::engine
