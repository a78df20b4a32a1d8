"""A table's class names → the simulated kinds they mean, and how often each of them is what is meant.

name, kinds → the kinds of that class; names, kinds → weights (k, K)

A kind is the finest class that is simulated ("Ia-91bg", "RRab"). A network may also cover nothing finer than the classes of the stream
("sn-ia"): then those are its kinds, and the same names find them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from operators.types import F64

Rule = Literal["share", "sum"]
"""How kinds count for a class: share: as likely as the class's mean kind, by how common each is; sum: their probabilities add up."""

_IA = ("Ia", "Ia-91T", "Ia-91bg", "Iax", "Ia-CSM", "Ia-03fg")
_IBC = ("IIb", "Ib", "Ic", "Ic-BL", "Ibn", "CaRT")
_TDE = ("TDE", "TDE-slow", "TDE-fast")
_ECLIPSING = ("EA", "EB", "EW")
_CV = ("Nova", "SSCyg", "SUUMa", "WZSge", "NL")

NAMES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (r"(sn )?ia[- ]?91t.*", ("Ia-91T",), "sn-ia"),
    (r"(sn )?ia[- ]?91bg.*", ("Ia-91bg",), "sn-ia"),
    (r"(sn )?iax.*", ("Iax",), "sn-ia"),
    (r"(sn )?ia[- ]?csm", ("Ia-CSM",), "sn-ia"),
    (r"sn ?ia( .*|-pec)?", _IA, "sn-ia"),
    (r"sn ?(ib/?c|i\(?b/?c\)?|ibc)", _IBC, "sn-ibc"),
    (r"sn ?iib", ("IIb",), "sn-ibc"),
    (r"sn ?ibn", ("Ibn",), "sn-ibc"),
    (r"sn ?ib", ("Ib",), "sn-ibc"),
    (r"(sn ?ic-bl|grb-?sn)", ("Ic-BL",), "sn-ibc"),
    (r"sn ?ic", ("Ic",), "sn-ibc"),
    (r"slsn-?ii", ("SLSN-II",), "slsn"),
    (r"slsn-?i", ("SLSN-I",), "slsn"),
    (r"slsn.*", ("SLSN-I", "SLSN-II"), "slsn"),
    (r"tde.*", _TDE, "tde"),
    (r"(kn|kilonova.*)", ("KN", "KN-red"), "kilonova"),
    (r"(grb |grb-)?(afterglow|grb).*", ("GRB", "orphan"), "afterglow"),
    (r"(micro)?lensing.*|ulens.*", ("uLens", "uLens-binary"), "microlensing"),
    (r"(m[- ]dwarf )?flare.*", ("flare",), "m-dwarf-flare"),
    (r"(qso|quasar).*", ("QSO",), "agn"),
    (r"(blazar|bl lac).*", ("blazar",), "agn"),
    (r"agn.*", ("QSO", "Seyfert", "blazar"), "agn"),
    (r"rr ?(lyrae|lyr)?[ -]?ab", ("RRab",), "rr-lyrae"),
    (r"rr ?(lyrae|lyr)?[ -]?c", ("RRc",), "rr-lyrae"),
    (r"rr ?(lyrae|lyr)?", ("RRab", "RRc"), "rr-lyrae"),
    (r"eclipsing contact|ew|w u(rsae|ma).*", ("EW",), "eclipsing-binary"),
    (r"eclipsing detached|ea|algol.*", ("EA",), "eclipsing-binary"),
    (r"eclipsing semi-?detached|(eb )?beta lyrae", ("EB",), "eclipsing-binary"),
    (r"(eclipsing|eb).*", _ECLIPSING, "eclipsing-binary"),
    (r"(dwarf nova).*", ("SSCyg", "SUUMa", "WZSge"), "cv"),
    (r"nova", ("Nova",), "cv"),
    (r"(cv|cataclysmic).*", _CV, "cv"),
    (r"mira.*", ("Mira",), "lpv"),
    (r"(semireg|sr).*", ("SR",), "lpv"),
    (r"lpv.*", ("Mira", "SR"), "lpv"),
    (r"(yso|t tauri|herbig).*", ("stochastic", "dipper", "burster"), "yso"),
    (r"(delta scuti|dsct|delta sct).*", ("dSct",), ""),
    (r"(alpha ?2? ?(cvn|canum).*|acv)", ("ACV",), ""),
    (r"(t2cep|type ii cepheid|w vir).*", ("T2CEP",), ""),
    (r"(classical )?(dcep|cepheid|delta cep).*", ("DCEP",), ""),
    (r"(r cor(onae)? b.*|rcb)", ("RCB",), ""),
    (r"(exoplanet )?transit.*", ("transit",), ""),
    (r"fbot.*", ("FBOT",), ""),
    (r"ilrt.*", ("ILRT",), ""),
    (r"(lrn|luminous red nova).*", ("LRN",), ""),
)  # fmt: skip
"""Pattern of a name (lower case), its kinds, its class of the stream. A kind or slug of just that name comes before all of them."""
_II: dict[str, tuple[tuple[str, ...], str]] = {
    "": (("IIP", "IIL", "II-87A"), "sn-ii"),
    "p": (("IIP",), "sn-ii"),
    "l": (("IIL",), "sn-ii"),
    "n": (("IIn",), "sn-iin"),
}

SHARE: dict[str, float] = {
    "Ia": 0.77, "Ia-91T": 0.12, "Ia-91bg": 0.06, "Iax": 0.03, "Ia-CSM": 0.01, "Ia-03fg": 0.01,
    "IIP": 0.75, "IIL": 0.22, "II-87A": 0.03, "IIb": 0.34, "Ib": 0.22, "Ic": 0.28, "Ic-BL": 0.10, "Ibn": 0.03, "CaRT": 0.03,
    "SLSN-I": 0.8, "SLSN-II": 0.2, "TDE": 0.7, "TDE-slow": 0.2, "TDE-fast": 0.1, "GRB": 0.85, "orphan": 0.15, "KN": 0.7, "KN-red": 0.3,
    "uLens": 0.9, "uLens-binary": 0.1,
}  # fmt: skip
"""How common a kind is within its class in a magnitude-limited sample: supernovae after Li et al. 2011 (MNRAS 412, 1441), the others by
order of magnitude. Kinds that are not here are equally common."""


def kinds_of(name: str, kinds: Sequence[str]) -> tuple[str, ...]:
    """The kinds that a table's name means, of those given; none where it is not simulated."""
    plain = " ".join(name.lower().split())
    exact = [k for k in kinds if k.lower() in (plain, re.sub(r"^sn ", "", plain), re.sub(r"[^a-z0-9]+", "-", plain).strip("-"))]
    if exact and plain not in _AMBIGUOUS:
        return (exact[0],)
    found = _meant(plain)
    if found is None:
        return ()
    fine = tuple(k for k in found[0] if k in kinds)
    return fine or ((found[1],) if found[1] in kinds else ())


_AMBIGUOUS = frozenset({"sn ia", "sn-ia", "tde", "eb"})
"""Names of a class that are also the name of its commonest kind."""


def _meant(plain: str) -> tuple[tuple[str, ...], str] | None:
    second = re.fullmatch(r"sn[ -]?ii ?([pln]?)( .*)?", plain)
    if second:
        return _II[second.group(1)]
    plain = plain.replace("sn-", "sn ")
    for pattern, kinds, slug in NAMES:
        if re.fullmatch(pattern, plain):
            return kinds, slug
    return None


def share(kinds: Sequence[str]) -> F64:
    """(m,) how common each of a class's kinds is; sums to 1."""
    weight = np.array([SHARE.get(k, np.nan) for k in kinds])
    weight = np.where(np.isfinite(weight), weight, np.nanmean(weight) if np.isfinite(weight).any() else 1.0)
    return np.asarray(weight / weight.sum())


def weights(names: Sequence[str], kinds: Sequence[str], *, rule: Rule) -> F64:
    """How much each kind's probability counts for each class, (k, K); a row of zeros: the class is not simulated.

    ``share``: with equally many examples of every kind in training, p(class | x) ∝ Σ share · p(kind | x): a parent of three kinds is as
    likely as their mean. ``sum``: Σ p(kind | x), where classes that have a kind in common share it evenly.
    """
    out = np.zeros((len(names), len(kinds)))
    for j, name in enumerate(names):
        own = kinds_of(name, kinds)
        if own:
            out[j, [list(kinds).index(k) for k in own]] = share(own) if rule == "share" else 1.0
    if rule == "sum":
        out /= np.maximum((out > 0).sum(axis=0), 1)
    return out
