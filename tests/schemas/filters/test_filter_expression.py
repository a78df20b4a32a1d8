"""Expressions: the same answers as DuckDB's, and an answer that helps for what is not one."""

from __future__ import annotations

import time
from contextlib import suppress

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from operators.features import FEATURES
from operators.filters import MOST_OPERATIONS, matches
from schemas.filters.filter_expression import FilterError, bind, read_expression
from schemas.filters.filter_fields import FIELDS, KIND_OF, STANDARD, word_number
from schemas.taxonomy import SLUGS

N_FILTERS, N_DETECTIONS = 100, 2_000
WORDS = {"survey": ("ztf", "lsst", "tess"), "band": ("g", "r", "i"), "class": SLUGS, "top_class": SLUGS, "nearest_prototype": SLUGS,
         "object_id": ("a", "b", "c")}  # fmt: skip


def detections(n: int, seed: int) -> dict[str, list[float | str | bool | None]]:
    """Rows with a fifth of nulls, and small whole numbers among them, so that equality happens."""
    rng = np.random.default_rng(seed)
    out: dict[str, list[float | str | bool | None]] = {}
    for name in STANDARD.index:
        kind = KIND_OF.get(name, "number")
        if kind == "word":
            values: list[float | str | bool | None] = [str(rng.choice(WORDS[name])) for _ in range(n)]
        elif kind == "truth":
            values = [bool(rng.integers(2)) for _ in range(n)]
        elif name.startswith(("p_", "prior_")) or name in ("probability", "novelty", "real_bogus"):
            values = rng.random(n).tolist()
        else:
            values = np.where(rng.random(n) < 0.5, rng.integers(-3, 9, n), rng.normal(2, 4, n)).tolist()
        out[name] = [None if rng.random() < 0.2 else value for value in values]
    return out


def columns(rows: dict[str, list[float | str | bool | None]]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    def number(value: float | str | bool | None) -> float:
        return float("nan") if value is None else word_number(value) if isinstance(value, str) else float(value)

    return np.array([[number(value) for value in rows[name]] for name in STANDARD.index])


def drawn(rng: np.random.Generator) -> str:
    """An expression, nested as people do."""
    numbers = [name for name in STANDARD.index if KIND_OF.get(name, "number") == "number"]

    def name() -> str:
        return str(rng.choice(numbers))

    def value(depth: int) -> str:
        if depth == 0 or rng.random() < 0.5:
            return name() if rng.random() < 0.7 else f"{rng.normal(1, 3):.2f}"
        chosen = int(rng.integers(5))
        if chosen == 4:
            return f"abs({value(depth - 1)})"
        return f"({value(depth - 1)} {'+-*/'[chosen]} {value(depth - 1)})"

    def condition(depth: int) -> str:
        if depth > 0 and rng.random() < 0.7:
            chosen = int(rng.integers(4))
            if chosen == 0:
                return f"NOT ({condition(depth - 1)})"
            if chosen == 1:
                return f"({condition(depth - 1)}) IS {rng.choice(['NULL', 'NOT NULL', 'TRUE', 'FALSE', 'NOT TRUE'])}"
            return f"({condition(depth - 1)} {'AND' if chosen == 2 else 'OR'} {condition(depth - 1)})"
        word = str(rng.choice(list(WORDS)))
        kinds = (
            lambda: f"{value(2)} {rng.choice(['<', '<=', '>', '>=', '=', '<>', '!='])} {value(2)}",
            lambda: f"{name()} {rng.choice(['BETWEEN', 'NOT BETWEEN'])} {value(1)} AND {value(1)}",
            lambda: f"{name()} IS {rng.choice(['NULL', 'NOT NULL'])}",
            lambda: f"{word} {rng.choice(['=', '<>'])} '{rng.choice(WORDS[word])}'",
            lambda: f"{word} {rng.choice(['IN', 'NOT IN'])} ('{rng.choice(WORDS[word])}', 'none', '{rng.choice(WORDS[word])}')",
            lambda: f"{name()} IN (1, 2, -3)",
            lambda: str(rng.choice(["published", "real", "NOT real", "published = true", "real <> published", "true", "false"])),
            lambda: "class = top_class",
        )
        return kinds[int(rng.integers(len(kinds)))]()

    while True:
        text = condition(3)
        try:
            read_expression(text)
        except FilterError as error:
            refused = str(error)
        else:
            return text
        assert "at most" in refused, text  # too long; nothing else that SQL allows here is refused


def test_duckdb_gives_the_same_answers() -> None:
    rng = np.random.default_rng(3)
    texts = [drawn(rng) for _ in range(N_FILTERS)]
    rows = detections(N_DETECTIONS, 4)
    db = duckdb.connect()
    for option in ("ieee_floating_point_ops", "error_on_division_by_zero"):  # x/0 is null; the second is of later releases
        with suppress(duckdb.CatalogException):
            db.execute(f"SET {option} = false")
    types = {"number": pa.float64(), "word": pa.string(), "truth": pa.bool_()}
    table = pa.table({name: pa.array(values, types[KIND_OF.get(name, "number")]) for name, values in rows.items()})
    db.register("detections", table)
    programs, layout = bind([read_expression(text) for text in texts])
    assert layout == STANDARD
    found = matches(programs, columns(rows))
    shares = found.mean(axis=1)
    assert (shares > 0).sum() > 70
    assert ((shares > 0.01) & (shares < 0.99)).sum() > 50
    asked = ", ".join(f"({text}) AS c{i}" for i, text in enumerate(texts))
    theirs = db.execute(f"SELECT {asked} FROM detections").fetchnumpy()
    for i, (text, ours) in enumerate(zip(texts, found, strict=True)):
        np.testing.assert_array_equal(np.ma.filled(theirs[f"c{i}"], False), ours, err_msg=text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("__import__('os').system('id') = 0", "column 1: Dot is not part"),
        ("1=1; DROP TABLE detections", "column 6: 'DROP' is not expected"),
        ("ra > (SELECT max(ra) FROM detections)", "a query is not part"),
        ("(" * 400 + "published" + ")" * 400, "column 33: a filter has 32 parentheses at most"),
        ("NOT " * 450 + "published", "64 signs and NOTs"),
        ("-" * 1 + "- " * 300 + "1 > 0", "64 signs and NOTs"),
        ("ra > " + "9" * 1900, "column 6: this is not a number that 64 bits hold"),
        ("ra > 1e999", "column 6: this is not a number"),
        (" AND ".join(["ra > 1"] * 100), "64 operations at most"),
        ("ra > 1 OR " * 900 + "true", "2,000 characters at most"),
        ("nvelty > 0.9", "column 1: there is no field nvelty; the nearest is novelty"),
        ("novelty > 0.5 AND p_sn_ja > 0.5", "column 19: there is no field p_sn_ja; the nearest is p_sn_ia"),
        ("detections.ra > 1", "column 1: a field has no dots"),
        ("ra > '5'", "a number is not compared with a word"),
        ("class > 'a'", "compared by = and <> alone"),
        ('class = "kilonova"', "column 9: words stand in single quotes"),
        ("ra", "column 1: true or false is meant here, not a number"),
        ("ra AND dec", "true or false is meant here"),
        ("ra::int > 1", "Cast is not part"),
        ("class LIKE '%%%%%a'", "Like is not part"),
        ("regexp_matches(class, '(a+)+$')", "is not part"),
        ("pg_sleep(10) > 1", "the function pg_sleep is not part"),
        ("CASE WHEN ra > 1 THEN true END", "Case is not part"),
        ("ra = NULL", "nothing equals null"),
        ("1 > 2 > 3", "not compared once more"),
        ("novelty > 0.5 AND (ra", "column"),
        ("novelty > 'a", "not closed"),
        ("ra > \x00 1", "not text"),
        ("", "empty"),
    ],
)
def test_what_is_not_a_filter_is_answered_at_once_and_says_where(text: str, says: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(FilterError) as caught:
        read_expression(text)
    assert time.perf_counter() - begun < 1.0
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_noise_is_an_expression_or_a_filter_error() -> None:
    rng = np.random.default_rng(5)
    pieces = ["ra", "dec", "class", "'g'", "(", ")", "and", "or", "not", "<", "=", "/", "-", "1", ".5", "in", "is", "null", "between", ",",
              "published", "abs", "--", "/*", ";", "select", "*", "::", "[", "{", "@", "%", "||", "case", "when"]  # fmt: skip
    for _ in range(1500):
        text = " ".join(rng.choice(pieces, int(rng.integers(1, 14))))
        try:
            found = read_expression(text)
        except FilterError:
            continue
        bind([found])


def test_the_bound_on_operations_is_the_machines() -> None:
    fits = " OR ".join(["ra > dec"] * (MOST_OPERATIONS // 4))
    assert len(read_expression(fits).steps) == MOST_OPERATIONS - 1
    with pytest.raises(FilterError, match="operations"):
        read_expression(fits + " OR published")


def test_a_taught_class_may_be_named_where_it_is_taught() -> None:
    with pytest.raises(FilterError, match="p_luminous_fast_cooler"):
        read_expression("p_luminous_fast_cooler > 0.5")
    for taught in (["luminous-fast-cooler"], None):
        found = read_expression("p_luminous_fast_cooler > 0.5 AND prior_sn_ia < 0.1", taught=taught)
        assert found.classes == {"luminous-fast-cooler"}
        programs, layout = bind([found])
        table = np.full((len(layout), 2), np.nan)
        table[layout.index["p_luminous_fast_cooler"]] = 0.9
        table[layout.index["prior_sn_ia"]] = [0.05, 0.5]
        assert matches(programs, table).tolist() == [[True, False]]


def test_every_field_can_be_asked_for() -> None:
    for entry in FIELDS:
        read_expression(f"{entry.name} IS NULL")
    for name in FEATURES:
        read_expression(f"{name} > 0")
