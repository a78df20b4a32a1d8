"""What our classes are called elsewhere.

Sources: ALeRCE's light-curve and stamp classifiers (Sánchez-Sáez et al. 2021, AJ 161, 141; Carrasco-Davis et al. 2021, AJ 162, 231); Fink's
``tag`` names (Möller et al. 2021, MNRAS 501, 3272; https://fink-broker.org) and, for catalogued objects, SIMBAD's object types; TNS object
types (https://www.wis-tns.org); ELAsTiCC's codes (https://github.com/LSSTDESC/elasticc/blob/main/taxonomy). Where a broker has no class so
narrow, the next wider one stands; None: it has none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TAXONOMY = "protonova-2"
"""Name and version; a class added or renamed makes a new one."""


@dataclass(frozen=True, slots=True)
class ClassName:
    """One class and its names."""

    slug: str
    title: str
    alerce: str | None
    fink: str | None
    tns: str | None
    elasticc: int | None


CLASSES: tuple[ClassName, ...] = (
    ClassName("sn-ia", "Type Ia supernova", "SNIa", "SN Ia", "SN Ia", 2222),
    ClassName("sn-ii", "Type II supernova", "SNII", "SN II", "SN II", 2224),
    ClassName("sn-iin", "Type IIn supernova", "SNII", "SN IIn", "SN IIn", 2224),
    ClassName("sn-ibc", "Type Ib/c supernova", "SNIbc", "SN Ibc", "SN Ib/c", 2223),
    ClassName("slsn", "Superluminous supernova", "SLSN", "SLSN", "SLSN-I", 2242),
    ClassName("tde", "Tidal disruption event", "TDE", "TDE", "TDE", 2243),
    ClassName("kilonova", "Kilonova", None, "Kilonova candidate", "Kilonova", 2232),
    ClassName("afterglow", "Gamma-ray burst afterglow", None, "Gamma-ray burst", "Afterglow", None),
    ClassName("microlensing", "Microlensing event", "Microlensing", "Microlensing candidate", None, 2235),
    ClassName("m-dwarf-flare", "Flare of an M dwarf", None, "Flare", "M dwarf", 2233),
    ClassName("agn", "Active galactic nucleus", "AGN", "AGN", "AGN", 2332),
    ClassName("rr-lyrae", "RR Lyrae star", "RRL", "RRLyrae", "Varstar", 2323),
    ClassName("eclipsing-binary", "Eclipsing binary", "E", "EB*", "Varstar", 2325),
    ClassName("cv", "Cataclysmic variable", "CV/Nova", "CataclyV*", "CV", 2234),
    ClassName("lpv", "Long-period variable", "LPV", "LPV*", "Varstar", None),
    ClassName("yso", "Young stellar object", "YSO", "YSO", "YSO", None),
    ClassName("asteroid", "Moving object", "asteroid", "Solar System MPC", None, None),
    ClassName("bogus", "Artefact of the image", "bogus", None, None, None),
    ClassName("exoplanet-transit", "Transit of an exoplanet", None, None, None, None),
    ClassName("transit-anomaly", "Anomalous dip of a star", None, None, None, None),
)
SLUGS: tuple[str, ...] = tuple(entry.slug for entry in CLASSES)
OTHER = "other"
"""What is like no class; the name of no class, and the last one of a detection's probabilities."""

_ALIASES: dict[str, str] = {
    "ia": "sn-ia", "snia": "sn-ia", "snia91t": "sn-ia", "snia91bg": "sn-ia", "snia91tlike": "sn-ia", "snia91bglike": "sn-ia",
    "earlysniacandidate": "sn-ia", "ii": "sn-ii", "snii": "sn-ii", "sniip": "sn-ii", "sniil": "sn-ii", "iip": "sn-ii", "iil": "sn-ii",
    "sniib": "sn-ibc", "iib": "sn-ibc",
    "iin": "sn-iin", "sniin": "sn-iin", "ib": "sn-ibc", "ic": "sn-ibc", "ibc": "sn-ibc", "snib": "sn-ibc",
    "snic": "sn-ibc", "snibc": "sn-ibc", "snicbl": "sn-ibc", "icbl": "sn-ibc", "slsni": "slsn", "slsnii": "slsn", "slsn": "slsn",
    "kn": "kilonova", "grb": "afterglow", "grbafterglow": "afterglow", "ulens": "microlensing", "mlens": "microlensing",
    "mdwarf": "m-dwarf-flare", "flare": "m-dwarf-flare", "dmeflare": "m-dwarf-flare", "qso": "agn", "blazar": "agn", "quasar": "agn",
    "rrl": "rr-lyrae", "rrlyr": "rr-lyrae", "rrlyrae": "rr-lyrae", "rrab": "rr-lyrae", "rrc": "rr-lyrae", "e": "eclipsing-binary",
    "eb": "eclipsing-binary", "ea": "eclipsing-binary", "ew": "eclipsing-binary", "cvnova": "cv", "nova": "cv", "dwarfnova": "cv",
    "cataclyv": "cv", "mira": "lpv", "lpv": "lpv", "sso": "asteroid", "solarsystemmpc": "asteroid", "solarsystemcandidate": "asteroid",
}  # fmt: skip


RESERVED: frozenset[str] = frozenset(
    {"private", "shadow", "anomaly", "public", "all", "any", "other", "none", "null", "unknown", "unseen", "novel", "rejected", "duplicate",
     "detections", "embeddings", "candidates", "alerts", "latest", "default", "test", "class", "classes", "true", "false", "nan"}
)  # fmt: skip
"""Names that no class may have: topics below `detections.` that belong to none, and words that mean something else elsewhere."""
LONGEST_SLUG = 64
"""A topic's name has 249 characters at most, and the name of a class is a part of several [characters]."""
_SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", re.ASCII)


def class_name_problem(name: str) -> str | None:
    """Why a class cannot have a name, in one sentence; None: it can.

    For the classes of a bundle and for those that are taught: a class's name becomes a topic, `detections.<name>`, and a word of records.
    """
    shown = "".join(c if c.isprintable() else "?" for c in name[:LONGEST_SLUG])
    if not _SLUG.fullmatch(name):
        return f"{shown!r} cannot be a class: small letters, digits and single hyphens between them, a letter first"
    if len(name) > LONGEST_SLUG:
        return f"{shown!r}… cannot be a class: it has {len(name)} characters, {LONGEST_SLUG} are the most"
    return f"{name!r} cannot be a class: the word means something else here" if name in RESERVED else None


def slug_of(label: str) -> str | None:
    """Our class of a label ("SN Ia", "SNIbc", "RRLyrae", "2222", one of our slugs); None: we know none."""
    label = label.strip()
    if label.isdecimal():
        return next((entry.slug for entry in CLASSES if entry.elasticc == int(label)), None)
    key = _plain(label)
    return _ALIASES.get(key) or _BY_NAME.get(key)


def _plain(label: str) -> str:
    return "".join(letter for letter in label.lower() if letter.isalnum())


_BY_NAME: dict[str, str] = {}
for _entry in CLASSES:
    for _name in (_entry.slug, _entry.title, _entry.alerce, _entry.fink, _entry.tns):
        if _name and _plain(_name) != "varstar":
            _BY_NAME.setdefault(_plain(_name), _entry.slug)
