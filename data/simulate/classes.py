"""The table of classes: slug → how to draw one. A new class is one function and one line here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data.simulate import cataclysmic, fast, nuisance, supernovae, variables
from data.simulate.draw import Draw, PopulationName
from data.simulate.source import Source

CLASSES: dict[str, Callable[[Draw], Source]] = {
    "sn-ia": supernovae.sn_ia,
    "sn-ii": supernovae.sn_ii,
    "sn-iin": supernovae.sn_iin,
    "sn-ibc": supernovae.sn_ibc,
    "slsn": supernovae.slsn,
    "tde": supernovae.tde,
    "kilonova": fast.kilonova,
    "afterglow": fast.afterglow,
    "microlensing": fast.microlensing,
    "m-dwarf-flare": fast.m_dwarf_flare,
    "agn": variables.agn,
    "rr-lyrae": variables.rr_lyrae,
    "eclipsing-binary": variables.eclipsing_binary,
    "cv": cataclysmic.cv,
    "lpv": variables.lpv,
    "yso": variables.yso,
    "asteroid": nuisance.asteroid,
    "bogus": nuisance.bogus,
}
SLUGS: tuple[str, ...] = tuple(CLASSES)

STREAM_MIX: dict[str, float] = {
    "bogus": 0.22,
    "asteroid": 0.2,
    "agn": 0.06,
    "rr-lyrae": 0.06,
    "eclipsing-binary": 0.06,
    "lpv": 0.05,
    "yso": 0.04,
    "cv": 0.04,
    "microlensing": 0.02,
    "m-dwarf-flare": 0.02,
    "sn-ia": 0.06,
    "sn-ii": 0.04,
    "sn-ibc": 0.03,
    "sn-iin": 0.025,
    "slsn": 0.02,
    "tde": 0.02,
    "kilonova": 0.015,
    "afterglow": 0.02,
}
"""A night's alerts by class: 73 % artefacts, moving objects and variables, as a filtered stream has them; the rare kinds are made a
hundred to ten thousand times too common, so that a thousand packets are enough to score each."""


def draw(slug: str, rng: np.random.Generator, population: PopulationName = "train", deeper: float = 0.0) -> Source:
    """One object of a class, for a survey that sees `deeper` [mag] than ZTF.

    Raises
    ------
    KeyError : no such class
    """
    return CLASSES[slug](Draw(rng, population, slug, deeper))
