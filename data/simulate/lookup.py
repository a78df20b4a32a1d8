"""A phrase → the descriptions it means, offline: no model, no network, the same answer every time.

"neutron star merger", "Type 1a", "kilonva" → [(name, score)], best first

Two views, each a cosine of TF-IDF vectors (Salton & Buckley 1988): groups of letters against names and synonyms, which forgives
misspellings, and words against names, synonyms and single sentences, after a small table of the field's synonyms and word stems. The score
leans on the better of the two: 1 is a name or synonym itself, below `LEAST` nothing was found. A word that no description has counts
against every one of them, as the rarest.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from data.simulate.described import Description, shipped

LEAST = 0.45
"""Scores below this are chance: no phrase about anything but the sky comes so near (a test)."""
LETTERS = 3
SHORTEST = 5
"""Letters of a name that a misspelling still resembles; three letters out of "CaRT" are in many words."""
SENTENCE = 0.8
"""A sentence of a text counts so much of what a synonym counts."""

PHRASES: tuple[tuple[str, str], ...] = (
    (r"\btypes?[ -]*1a\b|\bsne? ?1a\b|\b1a\b", "type ia"),
    (r"\btypes?[ -]*2(?=\b|[a-z])|\bsne? ?2(?=\b|[a-z])", "type ii "),
    (r"\bsne\b|\bsn\b|\bsupernovae?\b|\bsupernovas\b|\bsupernova explosions?\b", "supernova"),
    (r"\bii[- ]p\b|\biip\b", "ii plateau"),
    (r"\b(bns|nsns|ns[- ]ns)\b", "binary neutron star merge"),
    (r"\b(nsbh|bhns)\b", "neutron star black hole merge"),
    (r"\bgws?\b", "gravitational wave"),
    (r"\bgrbs?\b", "gamma ray burst"),
    (r"\b(s?mbh|supermassive bh|bh)\b", "black hole"),
    (r"\bwds?\b", "white dwarf"),
    (r"\bcvs?\b", "cataclysmic variable"),
    (r"\bagb\b", "asymptotic giant branch"),
    (r"\bpaczy[nń]ski\b", "paczynski"),
    (r"\brip(s|ped)? (apart|up)|\btorn? (apart|up)|\btear(s|ing)? (apart|up)|\bpull(s|ed|ing)? apart|\bspaghettif\w+", "disrupt"),
    (r"\bshred\w*|\bdisrupt\w*", "disrupt"),
    (r"\bmerg\w*|\bcoalesc\w*|\bcollid\w*|\bcollision\w*|\binspiral\w*", "merge"),
    (r"\bsuper[- ]?luminous\b", "superluminous"),
    (r"\bsuper[- ]?massive\b", "massive"),
    (r"\bmagnetars?\b", "magnetar"),
    (r"\bpower(s|ed)? by|\bdriven by|\bdriven\b|\bpower(s|ed)\b", "power"),
    (r"\blens(ed|es|ing)\b|\bmicrolens\w*", "lens"),
    (r"\beruption\w*|\berupt\w*", "erupt"),
    (r"\bpulsat\w*|\bpulsators?\b", "pulsat"),
    (r"\bflar(e|es|ing)\b", "flare"),
    (r"\bexplo(de|des|ded|ding|sion|sions)\b|\bdetonat\w*|\bblows? up|\bblowing up", "explode"),
    (r"\bcollaps\w*", "collapse"),
    (r"\bred supergiants?\b", "red supergiant"),
    (r"\bred dwarfs?\b|\bm[- ]dwarfs?\b", "red dwarf"),
    (r"\bcalcium\b|\bca\b(?=[ -](rich|strong|ia))", "calcium"),
    (r"\binteract(s|ing|ion)\b", "interact"),
    (r"\bgalactic (nucleus|nuclei|centre|center)\b|\bcent(er|re) of a\b", "centre"),
)
"""What the field says in several ways → one way. Patterns on lower-case text without accents, in this order."""
STOP = frozenset(
    re.findall(
        r"\w+",
        "a an the of in on at by to for from with and or is are was be as it its that this which who when then than into over near away "
        "after before while like event events transient transients object objects source kind sort some any very all",
    )
)
_ENDINGS = ("ations", "ation", "ingly", "ings", "ing", "edly", "ies", "ed", "es", "ly", "s")

Vector = dict[str, float]


def plain(text: str) -> str:
    """Lower case, no accents, the field's synonyms brought to one form."""
    folded = unicodedata.normalize("NFKD", text.lower())
    folded = "".join(c for c in folded if not unicodedata.combining(c)).replace("–", "-").replace("’", "'")
    for pattern, form in PHRASES:
        folded = re.sub(pattern, f" {form} ", folded)
    return " ".join(re.findall(r"[a-z0-9]+", folded))


def _stem(word: str) -> str:
    if any(c.isdigit() for c in word):
        return word
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            word = word[: -len(ending)]
            break
    return word[:-1] if word.endswith("e") and len(word) > 4 else word


def words(text: str) -> list[str]:
    """Stems of a text's words, without those that say nothing."""
    return [_stem(w) for w in plain(text).split() if w not in STOP]


def letters(text: str) -> list[str]:
    """Groups of `LETTERS` letters of each word that says something, its ends marked."""
    out = []
    for word in (w for w in plain(text).split() if w not in STOP):
        padded = f"^{word}$"
        out += [padded[i : i + LETTERS] for i in range(len(padded) - LETTERS + 1)]
    return out


@dataclass(frozen=True, slots=True)
class _View:
    """TF-IDF of some texts, each of which belongs to a description."""

    owner: tuple[str, ...]
    weight: tuple[float, ...]
    vectors: tuple[Vector, ...]
    rarity: Mapping[str, float]
    unknown: float
    """Rarity of what no description says."""

    @classmethod
    def of(cls, texts: Sequence[tuple[str, float, list[str]]]) -> _View:
        """texts: (description, weight, terms). Rarity counts descriptions, not texts: a class with many synonyms is still one."""
        owners: dict[str, set[str]] = {}
        for name, _, terms in texts:
            for term in terms:
                owners.setdefault(term, set()).add(name)
        n = len({name for name, _, _ in texts})
        rarity = {term: math.log((1 + n) / (1 + len(names))) + 0.3 for term, names in owners.items()}
        unknown = math.log(1 + n) + 0.3
        vectors = tuple(_vector(terms, rarity, unknown=unknown) for _, _, terms in texts)
        return cls(tuple(t[0] for t in texts), tuple(t[1] for t in texts), vectors, rarity, unknown)

    def scores(self, terms: list[str]) -> dict[str, float]:
        """The best cosine of each description."""
        query = _vector(terms, self.rarity, unknown=self.unknown)
        best: dict[str, float] = {}
        for name, weight, vector in zip(self.owner, self.weight, self.vectors, strict=True):
            score = weight * sum(value * vector.get(term, 0.0) for term, value in query.items())
            best[name] = max(best.get(name, 0.0), score)
        return best


def _vector(terms: Iterable[str], rarity: Mapping[str, float], *, unknown: float) -> Vector:
    raw = {term: (1 + math.log(n)) * rarity.get(term, unknown) for term, n in Counter(terms).items()}
    length = math.sqrt(sum(v * v for v in raw.values())) or 1.0
    return {term: v / length for term, v in raw.items()}


class Lookup:
    """An index of descriptions.

    Parameters
    ----------
    descriptions : iterable of Description
        Those to be found; default: the ones that ship.
    """

    def __init__(self, descriptions: Iterable[Description] | None = None) -> None:
        held = list(shipped().values() if descriptions is None else descriptions)
        self.names = tuple(d.name for d in held)
        called = [(d.name, 1.0, (d.name.replace("-", " "), *d.synonyms)) for d in held]
        sentences = [(d.name, SENTENCE, tuple(re.split(r"(?<=[.:;])\s+", d.text))) for d in held]
        self._exact = {plain(text): name for name, _, texts in called for text in texts}
        self._letters = _View.of(
            [(name, w, letters(text)) for name, w, texts in called for text in texts if sum(map(str.isalnum, text)) >= SHORTEST]
        )
        self._words = _View.of([(name, w, words(text)) for name, w, texts in called + sentences for text in texts])

    def find(self, text: str, least: float = LEAST) -> list[tuple[str, float]]:
        """Which descriptions a phrase means.

        Parameters
        ----------
        text : str
            A name, a synonym, a few words; up to 500 characters are read.
        least : float
            Scores below are left out.

        Returns
        -------
        list of (name, score)
            Best first, score 0 … 1. Empty: nothing means that.
        """
        text = text[:500]
        exact = self._exact.get(plain(text))
        if not words(text) and exact is None:
            return []
        by_letters, by_words = self._letters.scores(letters(text)), self._words.scores(words(text))
        pairs = {n: (by_letters.get(n, 0.0), by_words.get(n, 0.0)) for n in self.names}
        # A word more in common counts between descriptions that are equally near in letters.
        score = {n: 0.9 * max(pair) + 0.1 * min(pair) for n, pair in pairs.items()}
        if exact is not None:
            score[exact] = 1.0
        found = [(n, round(min(s, 1.0), 4)) for n, s in score.items() if s >= least]
        return sorted(found, key=lambda item: (-item[1], item[0]))


def find(text: str, least: float = LEAST) -> list[tuple[str, float]]:
    """`Lookup.find` over the descriptions that ship."""
    return Lookup().find(text, least)
