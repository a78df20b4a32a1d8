"""What the labels of catalogues and spectra mean: the one table by which real alerts are judged.

label ("SN Ia", "LPV/AGB", "other_var/HotSubdwarf", "RSG*?") → `Meaning`: a class of ours, or what else the object is

A label may be a class of ours, name an object outside our taxonomy (a Cepheid: an alert that is called AGN there is a false call, whatever
class would have been right), or say nothing of what varies (a radio source, a catalogue entry that does not exist). Names are SIMBAD's
condensed object types (Oberto et al. 2020, ASPC 527, 13; https://simbad.cds.unistra.fr/guide/otypes.htx), GCVS's and TNS's types, and those
of `schemas.taxonomy`. docs/labels.md is made of this table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from schemas.taxonomy import slug_of

Group = Literal["star", "agn", "sn", "other", "unknown"]
"""Coarse groups; unknown: the label does not say."""
GROUPS: tuple[Group, ...] = ("star", "agn", "sn", "other")
OTHER_VARIABLE = "other_var"
"""Label of a table before the catalogue's own object type: ``other_var/HotSubdwarf``."""

GROUP_OF: dict[str, Group] = {
    **dict.fromkeys(("sn-ia", "sn-ii", "sn-iin", "sn-ibc", "slsn", "tde"), "sn"),
    **dict.fromkeys(("rr-lyrae", "eclipsing-binary", "cv", "lpv", "yso", "m-dwarf-flare", "microlensing"), "star"),
    **dict.fromkeys(("exoplanet-transit", "transit-anomaly"), "star"),
    "agn": "agn",
    **dict.fromkeys(("kilonova", "afterglow", "asteroid", "bogus", "other"), "other"),
}
"""Class → group. A tidal disruption stands with the supernovae: a single bright event in another galaxy."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a label says."""

    slug: str | None
    """Class of ours; None: none of them, or the label does not say which."""
    group: Group
    candidate: bool = False
    """The catalogue is not sure: counts in precision and recall of its class, not in the accuracy over classes."""

    @property
    def exact(self) -> bool:
        """Whether the label is one of our classes beyond doubt."""
        return self.slug is not None and not self.candidate


OBJECT_TYPES: dict[str, tuple[str | None, Group, str]] = {
    # type: (class of ours, group, what it is)
    "AGB*": ("lpv", "star", "star on the asymptotic giant branch"),
    "Mi*": ("lpv", "star", "Mira"),
    "LP*": ("lpv", "star", "long-period variable"),
    "OH*": ("lpv", "star", "OH/IR star"),
    "CV*": ("cv", "star", "cataclysmic variable"),
    "No*": ("cv", "star", "nova"),
    "TTau*": ("yso", "star", "T Tauri star"),
    "TT*": ("yso", "star", "T Tauri star"),
    "Ae*": ("yso", "star", "Herbig Ae/Be star"),
    "Or*": ("yso", "star", "variable of Orion type"),
    "Y*O": ("yso", "star", "young stellar object"),
    "FU*": ("yso", "star", "FU Orionis star"),
    "RR*": ("rr-lyrae", "star", "RR Lyrae star"),
    "EB*": ("eclipsing-binary", "star", "eclipsing binary"),
    "Ecl": ("eclipsing-binary", "star", "eclipsing binary"),
    "Seyfert": ("agn", "agn", "Seyfert galaxy"),
    "Seyfert_1": ("agn", "agn", "Seyfert 1 galaxy"),
    "Seyfert_2": ("agn", "agn", "Seyfert 2 galaxy"),
    "BLLac": ("agn", "agn", "BL Lacertae object"),
    "LINER": ("agn", "agn", "low-ionisation nucleus"),
    "SN*": (None, "sn", "supernova of unstated type"),
    "*": (None, "star", "star"),
    "V*": (None, "star", "variable star"),
    "**": (None, "star", "double or multiple star"),
    "SB*": (None, "star", "spectroscopic binary"),
    "El*": (None, "star", "ellipsoidal variable"),
    "EllipVar": (None, "star", "ellipsoidal variable"),
    "RotV*": (None, "star", "rotating variable"),
    "BYDra": (None, "star", "BY Draconis variable"),
    "RSCVn": (None, "star", "RS Canum Venaticorum variable"),
    "Varstar": (None, "star", "variable star (TNS)"),
    "star": (None, "star", "star"),
    "T Tauri": ("yso", "star", "T Tauri star"),
    "Herbig": ("yso", "star", "Herbig Ae/Be star"),
    "M": ("lpv", "star", "Mira (GCVS)"),
    "SR": ("lpv", "star", "semi-regular variable (GCVS)"),
    "SRA": ("lpv", "star", "semi-regular variable (GCVS)"),
    "SRB": ("lpv", "star", "semi-regular variable (GCVS)"),
    "SRC": ("lpv", "star", "semi-regular variable (GCVS)"),
    "SRD": ("lpv", "star", "semi-regular variable (GCVS)"),
    "L": ("lpv", "star", "slow irregular variable (GCVS)"),
    "LB": ("lpv", "star", "slow irregular variable (GCVS)"),
    "UG": ("cv", "star", "dwarf nova (GCVS)"),
    "UGSS": ("cv", "star", "dwarf nova (GCVS)"),
    "UGSU": ("cv", "star", "dwarf nova (GCVS)"),
    "UGZ": ("cv", "star", "dwarf nova (GCVS)"),
    "AM": ("cv", "star", "AM Herculis system (GCVS)"),
    "Algol": ("eclipsing-binary", "star", "eclipsing binary of Algol type"),
    "CEP": (None, "star", "Cepheid (GCVS)"),
    "DCEP": (None, "star", "classical Cepheid (GCVS)"),
    "DSCT": (None, "star", "delta Scuti star (GCVS)"),
    "ROT": (None, "star", "rotating variable (GCVS)"),
    "BY": (None, "star", "BY Draconis variable (GCVS)"),
    "RS": (None, "star", "RS Canum Venaticorum variable (GCVS)"),
    "RCB": (None, "star", "R Coronae Borealis star (GCVS)"),
    "LBV": (None, "star", "luminous blue variable"),
    "LRN": (None, "other", "luminous red nova"),
    "ILRT": (None, "other", "intermediate-luminosity red transient"),
    "FBOT": (None, "other", "fast blue optical transient"),
    "SN": (None, "sn", "supernova of unstated type"),
    "SN I": (None, "sn", "supernova of type I, not further typed"),
    "BL Lac": ("agn", "agn", "BL Lacertae object"),
    "Seyfert1": ("agn", "agn", "Seyfert 1 galaxy"),
    "Seyfert2": ("agn", "agn", "Seyfert 2 galaxy"),
    "PulsV*": (None, "star", "pulsating variable (delta Scuti, beta Cephei, W Virginis…)"),
    "Cepheid": (None, "star", "Cepheid"),
    "Ce*": (None, "star", "Cepheid"),
    "gammaDor": (None, "star", "gamma Doradus star"),
    "Irregular_V*": (None, "star", "irregular variable"),
    "Eruptive*": (None, "star", "eruptive variable"),
    "Symbiotic": (None, "star", "symbiotic star"),
    "Sy*": (None, "star", "symbiotic star"),
    "WD*": (None, "star", "white dwarf"),
    "HotSubdwarf": (None, "star", "hot subdwarf"),
    "Hsd": (None, "star", "hot subdwarf"),
    "HB*": (None, "star", "star on the horizontal branch"),
    "post-AGB*": (None, "star", "post-AGB star"),
    "C*": (None, "star", "carbon star"),
    "S*": (None, "star", "S star"),
    "RedSG*": (None, "star", "red supergiant"),
    "RSG*": (None, "star", "red supergiant"),
    "YellowSG*": (None, "star", "yellow supergiant"),
    "BlueSG*": (None, "star", "blue supergiant"),
    "BSG*": (None, "star", "blue supergiant"),
    "WR*": (None, "star", "Wolf-Rayet star"),
    "Be*": (None, "star", "Be star"),
    "Em*": (None, "star", "emission-line star"),
    "Pec*": (None, "star", "peculiar star"),
    "PM*": (None, "star", "star of high proper motion"),
    "low-mass*": (None, "star", "low-mass star or brown dwarf"),
    "HMXB": (None, "star", "high-mass X-ray binary"),
    "LMXB": (None, "star", "low-mass X-ray binary"),
    "CWB": (None, "star", "colliding-wind binary"),
    "Pulsar": (None, "star", "pulsar"),
    "PN": (None, "other", "planetary nebula"),
    "HII": (None, "other", "H II region"),
    "Cl*": (None, "other", "star cluster"),
    "GlCl": (None, "other", "globular cluster"),
    "Planet": (None, "other", "planet's host"),
    "Galaxy": (None, "unknown", "galaxy: a nucleus or a supernova may be what varies"),
    "GinPair": (None, "unknown", "galaxy in a pair"),
    "EmG": (None, "unknown", "emission-line galaxy"),
    "EmObj": (None, "unknown", "object with emission lines"),
    "Radio": (None, "unknown", "radio source"),
    "Radio(cm)": (None, "unknown", "radio source"),
    "IR": (None, "unknown", "infrared source"),
    "NIR": (None, "unknown", "near-infrared source"),
    "UV": (None, "unknown", "ultraviolet source"),
    "X": (None, "unknown", "X-ray source"),
    "Blue": (None, "unknown", "blue object"),
    "Transient": (None, "unknown", "transient of unstated type"),
    "Inexistent": (None, "unknown", "catalogue entry that does not exist"),
    "Unknown": (None, "unknown", "object of unknown type"),
}
"""SIMBAD's object types that are not names of our classes. A type with more behind its asterisk (PulsV*delSct) means its beginning."""

SUBTYPES: tuple[tuple[str, str], ...] = (
    (r"(sn )?ia\b.*|sn ?iax.*|iax\b.*", "sn-ia"),
    (r"sn ?(ibc|ib/c|i(b|c)([ -].*)?|ibn|icn|iib).*|(ibn|icn|iib)\b.*", "sn-ibc"),
    (r"sn ?iin.*", "sn-iin"),
    (r"sn ?ii[pl]?\b.*", "sn-ii"),
    (r"slsn\b.*", "slsn"),
    (r"tde\b.*", "tde"),
)
"""Spectral subtypes of TNS (SN Ia-pec, SN Ibn, TDE-H-He, SLSN-I.5) → class. IIb lies with Ib and Ic: a stripped envelope, as simulated."""
_TYPES = {name.casefold(): row for name, row in OBJECT_TYPES.items()}


def meaning_of(label: str) -> Meaning:
    """What a label says; one that is not in the table is unknown.

    ``LPV/AGB`` is a class where catalogues cannot distinguish two; a question mark, ``Candidate_…`` and ``…_Candidate`` mark a candidate.
    """
    first, stroke, second = label.strip().partition("/")
    name = second if first == OTHER_VARIABLE else label.strip()
    plain = name.removeprefix("Candidate_").removesuffix("_Candidate").rstrip("?")
    candidate = plain != name
    slug = slug_of(plain) or next((slug for pattern, slug in SUBTYPES if re.fullmatch(pattern, plain.casefold())), None)
    if slug is None and stroke and first != OTHER_VARIABLE:
        slug = slug_of(first)
    if slug is not None:
        return Meaning(slug, GROUP_OF.get(slug, "other"), candidate)
    begins = plain[: plain.find("*") + 1]
    row = _TYPES.get(plain.casefold()) or (_TYPES.get(begins.casefold()) if begins else None)
    return Meaning(None, "unknown", candidate) if row is None else Meaning(row[0], row[1], candidate)
