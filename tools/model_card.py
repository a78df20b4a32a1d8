"""``python -m tools.model_card --reports FOLDER --out docs/model-card.md``: the model card and its pictures.

in → reports of `protonova evaluate` and of `tools.studies` (JSON), a bundle
out → a page in Markdown, pictures beside it (they need the extra ``plots``)
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from errors import UserError
from evaluation.card import CardError, card, read, read_earlier
from evaluation.card_pictures import draw
from registry.bundle import load


def main(arguments: list[str] | None = None) -> int:
    """Write the card and its pictures; 0, or 2 with one line."""
    parser = argparse.ArgumentParser(prog="python -m tools.model_card", description="Reports → model card.")
    parser.add_argument("--reports", type=Path, required=True, help="folder of JSON reports")
    parser.add_argument("--bundle", type=Path, help="folder; the bundle that ships")
    parser.add_argument("--out", type=Path, default=Path("docs/model-card.md"))
    parser.add_argument("--figures", type=Path, help="folder of the pictures (default: figures beside the page)")
    options = parser.parse_args(arguments)
    folder = options.figures or options.out.parent / "figures"
    try:
        tasks, studies = read(options.reports)
        bundle = load(options.bundle)
        try:
            plots = importlib.import_module("matplotlib")
        except ImportError:
            raise CardError("the card's pictures need matplotlib: pip install 'protonova[plots]'") from None
        plots.use("Agg")
        drawn = draw(tasks, folder)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    beside = {name: Path(os.path.relpath(path, options.out.parent)).as_posix() for name, path in drawn.items()}
    options.out.write_text(card(bundle, tasks, studies=studies, pictures=beside, earlier=read_earlier(options.reports)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
