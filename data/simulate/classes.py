"""The table of classes: slug → how to draw one, and the finer kinds inside each. A new class is one function and two lines here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data.simulate import cataclysmic, fast, gap, luminous, nuisance, supernovae, variables
from data.simulate.draw import Draw, PopulationName
from data.simulate.source import Source

CLASSES: dict[str, Callable[[Draw], Source]] = {
    "sn-ia": supernovae.sn_ia,
    "sn-ii": supernovae.sn_ii,
    "sn-iin": luminous.sn_iin,
    "sn-ibc": supernovae.sn_ibc,
    "slsn": luminous.slsn,
    "tde": luminous.tde,
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
TRANSITS: tuple[str, ...] = ("exoplanet-transit", "transit-anomaly")
"""Classes that light curves from space alone show (`space_curves.py`): no alert with images is of one."""
SLUGS: tuple[str, ...] = (*CLASSES, *TRANSITS)

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


MEMBERS: dict[str, tuple[str, ...]] = {
    "sn-ia": tuple(supernovae.IA),
    "sn-ii": ("IIP", "IIL", "II-87A"),
    "sn-iin": ("IIn",),
    "sn-ibc": tuple(supernovae.IBC),
    "slsn": tuple(luminous.SLSN),
    "tde": tuple(luminous.TDE),
    "kilonova": ("KN", "KN-red"),
    "afterglow": ("GRB", "orphan"),
    "microlensing": ("uLens", "uLens-binary"),
    "m-dwarf-flare": ("flare",),
    "agn": ("QSO", "Seyfert", "blazar"),
    "rr-lyrae": ("RRab", "RRc"),
    "eclipsing-binary": ("EA", "EB", "EW"),
    "cv": tuple(cataclysmic.KINDS),
    "lpv": ("Mira", "SR"),
    "yso": ("stochastic", "dipper", "burster"),
    "asteroid": ("asteroid",),
    "bogus": tuple(nuisance.BOGUS),
    "fast-blue": ("FBOT",),
    "gap": tuple(gap.GAP),
    "pulsator": ("DCEP", "T2CEP", "dSct"),
    "rotator": ("ACV",),
    "rcb": ("RCB",),
    "exoplanet-transit": ("transit",),
    "transit-anomaly": ("varying-transit", "comet-transit", "single-dip"),
    "still": ("quiet", "instrumental"),
}
"""The fine classes of each class and of each group: every function's `Source.kind` is one of these."""

GROUPS: dict[str, Callable[[Draw], Source]] = {
    "fast-blue": gap.fast_blue,
    "gap": gap.gap,
    "pulsator": variables.pulsator,
    "rotator": variables.rotator,
    "rcb": variables.rcb,
    "exoplanet-transit": variables.transit,
}
"""Fine classes that no class of the stream holds, by function; they are drawn by `draw_kind` alone."""

_CLASS_OF: dict[str, str] = {"still": "bogus"}
"""Nothing on the sky happened to a star that is quiet, or whose instrument is not."""
KINDS: dict[str, str | None] = {
    kind: _CLASS_OF.get(name, name if name in SLUGS else None) for name, members in MEMBERS.items() for kind in members
}
"""Fine class → class of the stream, None where it has none; the order is that of the network's logits."""
DRAWN: tuple[str, ...] = tuple(k for k in KINDS if k not in (*MEMBERS["transit-anomaly"], *MEMBERS["still"]))
"""Those that `draw_kind` draws; the others are light curves from space alone (`space_curves`)."""
_HOME: dict[str, str] = {kind: name for name, members in MEMBERS.items() for kind in members}


def draw(
    slug: str, rng: np.random.Generator, *, population: PopulationName = "train", deeper: float = 0.0, kind: str | None = None
) -> Source:
    """One object of a class, for a survey that sees `deeper` [mag] than ZTF; with `kind`, of that fine class alone.

    Raises
    ------
    KeyError : no such class
    ValueError : the class has no such kind
    """
    if kind is not None and kind not in MEMBERS[slug]:
        raise ValueError(f"{slug} has no kind {kind}, only {', '.join(MEMBERS[slug])}")
    return CLASSES[slug](Draw(rng, population, scope=slug, deeper=deeper, kind=kind))


def draw_kind(kind: str, rng: np.random.Generator, *, population: PopulationName = "train", deeper: float = 0.0) -> Source:
    """One object of a fine class of `KINDS`, whether the stream has a class for it or not.

    Raises
    ------
    KeyError : no such kind
    """
    name = _HOME[kind]
    function = CLASSES[name] if name in CLASSES else GROUPS[name]
    return function(Draw(rng, population, scope=name, deeper=deeper, kind=kind))
