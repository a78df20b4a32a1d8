"""Real alerts that are wrong → a page to look at, each with its picture: ``python -m tools.docs.wrong_page --out FOLDER``.

labelled packets, a bundle → FOLDER/wrong-alerts.html, one file that needs no other

By reason and class: the light curve, what the network sees of the three cut-outs, the context, the nearest prototypes and simulated
examples with their distances, the probabilities. It shows real data, so it is written where it is asked for and never committed;
docs/real-alerts.md says what was learnt from it.
"""

from __future__ import annotations

import argparse
import math
import sys
from html import escape
from pathlib import Path

from console.progress import progress
from errors import UserError
from evaluation.wrong_alerts import STAMPS, Gallery, WrongAlert, gallery
from gpu.choose import choose
from registry.bundle import Bundle, load
from settings.model import Settings
from tools.docs.alert_pictures import bars, distances, legend, light_curve, stamp

PAGE = "wrong-alerts.html"
STYLE = Path(__file__).with_name("wrong_page.css")
CLASSES = 6
"""Probabilities shown."""
UNITS = {
    "source_distance": '"', "source_flux": "µJy", "reference_distance": '"', "reference_flux": "µJy", "solar_system_distance": '"',
    "solar_system_flux": "µJy", "history": "d", "galactic_latitude": "°", "ecliptic_latitude": "°", "fwhm": '"', "flux": "µJy",
}  # fmt: skip


def page(found: Gallery, bundle: Bundle) -> str:
    """The page as HTML."""
    reasons: dict[str, list[WrongAlert]] = {}
    for wrong in found.shown:
        reasons.setdefault(wrong.reason, []).append(wrong)
    rows, sections = "", ""
    for reason, by in found.counts.items():
        pairs = ", ".join(f"{pair} {n}" for pair, n in by.items())
        rows += f"<tr><td>{_link(reason, reasons)}</td><td>{sum(by.values())}</td><td>{escape(pairs)}</td></tr>"
    for reason, part in reasons.items():
        of = f"{len(part)} of {sum(found.counts[reason].values())} objects"
        sections += f'<section id="{_anchor(reason)}"><h2>{escape(reason)} <small>{of}</small></h2>'
        sections += "".join(map(card, part)) + "</section>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Wrong real alerts</title><style>{STYLE.read_text(encoding='utf-8')}</style></head><body><main>"
        f"<h1>{len(found.shown)} real alerts that are wrong</h1>"
        f"<p>Of {found.objects:,} objects whose published class is wrong by label or catalogue; bundle <code>{bundle.sha256[:12]}</code>, "
        "each by its latest wrong alert. A label outside our classes (docs/labels.md) is wrong where the groups differ. "
        "<b class='right'>Green</b> is what the label says.</p>"
        "<div class='wide' tabindex='0' role='region' aria-label='How many of each reason'><table>"
        "<thead><tr><th>reason</th><th>objects</th><th>label → published</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{sections}</main></body></html>"
    )


def _anchor(reason: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in reason)


def _link(reason: str, shown: dict[str, list[WrongAlert]]) -> str:
    return f'<a href="#{_anchor(reason)}">{escape(reason)}</a>' if reason in shown else escape(reason)


def card(wrong: WrongAlert) -> str:
    """One alert."""
    detection, truth, called = wrong.detection, wrong.truth, wrong.alert.decision
    right = (str(wrong.alert.meaning.slug),) if wrong.alert.meaning.slug else ()
    by_prior = sorted(detection.classes, key=lambda c: -c.prior_probability)[:CLASSES]
    under_prior = bars(((c.name, c.prior_probability, _percent(c.prior_probability)) for c in by_prior), right=right)
    balanced = bars(((c.name, c.probability, _percent(c.probability)) for c in detection.classes[:CLASSES]), right=right)
    many = "" if wrong.alert.detections == 1 else "s"
    who = (
        detection.object_id, f"candid {detection.candid}", f"{wrong.alert.detections} detection{many}",
        f"label “{wrong.alert.label}”" if wrong.alert.label else "no label", f"novelty {detection.novelty:.2f}",
        f"set of 90 %: {', '.join(detection.conformal_set)}",
    )  # fmt: skip
    signs = "".join(f"<li>{escape(sign)}</li>" for sign in wrong.signs)
    return (
        f"<article><h3><b class='right'>{escape(truth)}</b> called {escape(called)}</h3>"
        f"<p class='who'>{escape(' · '.join(who))}</p>"
        f"{f'<ul class=signs>{signs}</ul>' if signs else ''}"
        "<div class='columns'><div class='curve'>"
        f"{light_curve(wrong.curve, title=f'light curve: {truth} called {called}')}<p class='legend'>{legend(wrong.curve)}</p>"
        f"<div class='stamps'>{_images(wrong) or 'no cut-outs'}</div></div>"
        f"<div class='why'><h4>published: under the stream's prior</h4>{under_prior}"
        f"<h4>if all classes were equally frequent</h4>{balanced}"
        f"<h4>nearest classes (cosine distance)</h4>{distances(wrong.prototypes, right=right)}"
        f"<h4>nearest simulated examples</h4>{distances(wrong.examples, right=right)}</div>"
        f"<details open><summary>context</summary><table class='context'>{_context(wrong)}</table></details></div></article>"
    )


def _images(wrong: WrongAlert) -> str:
    out = ""
    for name, image in zip(STAMPS, wrong.stamps, strict=True):
        source = stamp(image)
        if source:
            out += f'<figure><img alt="{name} image" src="{source}" width="32" height="32"><figcaption>{name}</figcaption></figure>'
    return out


def _context(wrong: WrongAlert) -> str:
    out = ""
    for name, value in wrong.context.items():
        unit = f" {UNITS[name]}" if name in UNITS and math.isfinite(value) else ""
        out += f"<tr><th>{escape(name.replace('_', ' '))}</th><td>{_number(value)}{unit}</td></tr>"
    return out


def _number(value: float) -> str:
    return "–" if not math.isfinite(value) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _percent(share: float) -> str:
    return "< 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def main(arguments: list[str] | None = None) -> int:
    """Write the page; 0, or 2 with one line."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs.wrong_page", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="outside the repository: the page shows real data")
    parser.add_argument("--packets", type=Path, metavar="DIR", help="packets and their LABELS.csv (default: the shared ones)")
    parser.add_argument("--bundle", type=Path, help="folder; the bundle that ships")
    parser.add_argument("--number", type=int, default=20, help="alerts shown")
    options = parser.parse_args(arguments)
    try:
        folder = options.packets or Settings().shared.absolute() / "data" / "real" / "ztf_alerts"
        bundle = load(options.bundle)
        session, _ = choose(bundle.encoder, "auto")
        with progress("real packets", "packets") as bar:
            found = gallery(folder, bundle, session=session, number=options.number, progress=bar.advance)
        path = options.out / PAGE
        try:
            options.out.mkdir(parents=True, exist_ok=True)
            path.write_text(page(found, bundle), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(found.shown)} of {found.objects:,} wrong objects → {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
