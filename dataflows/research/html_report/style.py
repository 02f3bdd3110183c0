"""The style sheet of a report: for a wide screen, a phone of 390 px, and paper."""

STYLE = """
:root { --ink: #1b1f24; --faint: #59636e; --rule: #d7dce1; --blue: #0b62c4; --orange: #b8590a; --green: #1a7f37;
  --red: #c0262d; --violet: #7a3fc4; --gray: #8c959f; }
* { box-sizing: border-box; }
body { font: 14px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 76rem; color: var(--ink); }
h1 { font-size: 1.5rem; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
p { margin: .4rem 0; max-width: 60rem; } small, .note { color: var(--faint); font-weight: normal; font-size: .85rem; }
code { font-size: .85rem; overflow-wrap: anywhere; }
nav { font-size: .85rem; } nav a { margin-right: .8rem; color: var(--blue); white-space: nowrap; }
.warnings { background: #fff8e6; border: 1px solid #d9a520; border-radius: 4px; padding: .4rem .8rem; }
.warnings ul { margin: .2rem 0; padding-left: 1.2rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); gap: .5rem; margin: 1rem 0; }
.card { border: 1px solid var(--rule); border-radius: 4px; padding: .4rem .7rem; }
.card b { display: block; font-size: 1.15rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0 1.5rem; align-items: start; }
.scroll { overflow-x: auto; margin: .3rem 0 .8rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #eceff2; }
th { font-weight: 600; } th:first-child, td:first-child, .text { text-align: left; }
td.wrap { white-space: normal; text-align: left; min-width: 12rem; overflow-wrap: anywhere; }
.trades td.wrap { min-width: 22rem; }
td.bars { width: 9rem; min-width: 5rem; text-align: left; } td.bars i { display: block; height: .8rem; min-width: 1px; }
i.gain { background: var(--green); } i.loss { background: var(--red); }
i.amount { background: #9dbfe4; } td small { margin-left: .3rem; }
figure { margin: .8rem 0 1.2rem; min-width: 0; } figcaption { font-weight: 600; margin-bottom: .3rem; }
.plot { position: relative; margin: 0 .5rem 1.6rem 4.2rem; border: 1px solid var(--rule); background: #fbfcfd; }
.plot svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.plot span { position: absolute; font-size: 12px; color: var(--faint); white-space: nowrap; line-height: 1; }
.y { right: 100%; transform: translateY(-50%); padding-right: .4rem; }
.x { top: 100%; transform: translateX(-50%); padding-top: .4rem; }
.x.first { transform: none; } .x.last { transform: translateX(-100%); }
svg path { vector-effect: non-scaling-stroke; fill: none; }
.grid { stroke: #e6eaee; } .line { stroke: currentColor; stroke-width: 1.5; stroke-linejoin: round; }
svg .area { fill: currentColor; fill-opacity: .15; stroke: none; } svg .bar { fill: #9dbfe4; stroke: #fff; }
svg .cell { fill: var(--blue); stroke: #fff; } svg .chosen { stroke: var(--red); stroke-width: 3; }
.level { stroke: currentColor; stroke-width: 1.5; stroke-dasharray: 5 3; }
.mark { stroke: currentColor; stroke-width: 6; stroke-linecap: round; stroke-opacity: .75; }
.line-1 { color: var(--blue); } .line-2 { color: var(--orange); } .line-3 { color: var(--green); }
.line-4 { color: var(--violet); } .line-5 { color: var(--red); } .line-6 { color: var(--gray); }
.gain-mark { color: var(--green); } .loss-mark { color: var(--red); }
.key { font-size: .85rem; font-weight: normal; color: var(--ink); margin-left: .9rem; display: inline-block; }
.key::before { content: ""; display: inline-block; width: .8rem; height: .2rem; margin-right: .3rem;
  vertical-align: middle; background: currentColor; }
.key.line-1::before { background: var(--blue); } .key.line-2::before { background: var(--orange); }
.key.line-3::before { background: var(--green); } .key.line-4::before { background: var(--violet); }
.key.line-5::before, .key.loss-mark::before { background: var(--red); }
.key.line-6::before { background: var(--gray); } .key.gain-mark::before { background: var(--green); }
.switch { margin: .2rem .2rem .2rem 0; } .switch ~ .logarithmic { display: none; }
.switch.log:checked ~ .logarithmic { display: block; } .switch.log:checked ~ .linear { display: none; }
details { margin: .6rem 0; } summary { cursor: pointer; font-weight: 600; }
pre { font-size: 12px; line-height: 1.4; overflow-x: auto; background: #f6f8fa; padding: .6rem; }
@media (max-width: 1100px) { .pair .x.rare { display: none; } }
@media (max-width: 700px) {
  body { padding: .6rem; } .pair { grid-template-columns: minmax(0, 1fr); } .x.rare { display: none; }
  .plot { margin-left: 3.6rem; margin-right: 0; } .cards { grid-template-columns: 1fr 1fr; }
  th, td { padding: .15rem .4rem; } td.bars { width: 5rem; min-width: 3rem; }
}
@media print {
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { max-width: none; padding: 0; font-size: 11px; } nav, .switch, .switch + label { display: none; }
  figure, tr, .card, .warnings { break-inside: avoid; } h2, h3 { break-after: avoid; }
  th, td { padding: .1rem .25rem; white-space: normal; } td.wrap, .trades td.wrap { min-width: 0; }
  td.bars { width: 4rem; min-width: 2rem; } .pair .x.rare { display: none; } .plot span { font-size: 10px; }
  .scroll { overflow: visible; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
}
"""
