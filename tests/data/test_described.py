"""Descriptions: what is wrong is one line, what is right becomes objects as described, and phrases find them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.simulate import arrays
from data.simulate.cadence import PROGRAMMES
from data.simulate.described import (
    Colour,
    Decline,
    Description,
    DescriptionError,
    Peak,
    Period,
    Plateau,
    SecondPeak,
    parse,
    read,
    shipped,
)
from data.simulate.described_source import FAINTEST, source
from data.simulate.draw import Draw
from data.simulate.lookup import LEAST, Lookup, find
from data.simulate.observe import choose, observe
from data.simulate.sample import NeverSeenError, sample, summary
from data.simulate.sky import modulus
from data.simulate.source import PIVOT, Source
from data.simulate.survey_packets import packet
from schemas.surveys.decode import Decoder

pytestmark = pytest.mark.filterwarnings("error")

GOOD = """
name: test-event
synonyms: [an odd thing]
text: Something.
sky: extragalactic
environment: in-disc
rise: 10
decline: {rate: 0.1}
duration: 100
colour: {temperature: 10000}
peak: {absolute: -18}
"""
STAR = (
    GOOD.replace("sky: extragalactic", "sky: disc")
    .replace("environment: in-disc", "environment: star")
    .replace("absolute: -18", "amplitude: 3")
)
NAMES = tuple(sorted(p.stem for p in (Path(__file__).parents[2] / "data/simulate/descriptions").glob("*.yaml")))


def drawn(description: Description, k: int = 0, deeper: float = 0.0) -> Source:
    return source(description, Draw(np.random.default_rng(k), "train", scope=description.name, deeper=deeper))


def curve(source: Source, t: np.ndarray, wavelength: float = PIVOT) -> np.ndarray:
    """Flux at times and a wavelength of the rest frame after first light."""
    stretch = 1 + (source.redshift if np.isfinite(source.redshift) else 0.0)
    return source.flux(t * stretch, np.full_like(t, wavelength * stretch))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("rise: 10", "rise: 5000"), "rise: must be between 0.0001 and 3000 d, not 5000"),
        (("rise: 10", "rise: soon"), "rise: must be a number d"),
        (("rise: 10", "rise: .nan"), "rise: must be a number d"),
        (("rise: 10", "rise: true"), "rise: must be a number d"),
        (("rise: 10", "rise: [9, 3]"), "rise: a range begins with its lower end"),
        (("rise: 10", "rise: [1, 2, 3]"), "rise: a range has two numbers"),
        (("rise: 10", "rise: {median: 3}"), "rise: must have the keys median and spread"),
        (("rise: 10", "rise: {median: 3, spread: 9}"), "rise: must be between 0 and 2 e-folds"),
        (("rise: 10\n", ""), "rise [d] is missing"),
        (("decline: {rate: 0.1}\n", ""), "decline is missing"),
        (("colour: {temperature: 10000}\n", ""), "colour is missing"),
        (("text: Something.\n", ""), "text is missing"),
        (("rate: 0.1", "rate: 0.1, index: 2"), "decline: give exactly one of rate"),
        (("rate: 0.1", "rate: 0.1, scale: 2"), "decline: scale belongs to a power law"),
        (("rate: 0.1", "rate: 0.1, late: {after: 3, index: 2}"), "decline: late takes index where"),
        (("temperature: 10000", "temperature: 10000, g_r: 0.2"), "colour: give one of temperature"),
        (("temperature: 10000", "temperature: 10000, later: 5000"), "colour: later [K] and cooling [d] go together"),
        (("temperature: 10000", "temperature: 300"), "colour.temperature: must be between 1000 and 60000 K"),
        (("absolute: -18", "absolute: 18"), "peak.absolute: must be between -28 and -5 mag"),
        (("absolute: -18", "amplitude: 3"), "needs peak.absolute"),
        (("sky: extragalactic", "sky: disc"), "needs peak.amplitude"),
        (("sky: extragalactic", "sky: heaven"), "sky: must be 'extragalactic'"),
        (("environment: in-disc", "environment: star"), "exclude each other"),
        (("name: test-event", "name: Test Event"), "name: must be lower-case letters"),
        (("name: test-event", "name: bogus"), "choose another"),
        (("duration: 100", "duration: '100'"), "duration: must be a valid number"),
        (("duration: 100", "duration: 100\nredshift: [2, 1]"), "redshift must be two numbers"),
        (("duration: 100", "duration: 100\nperiod: {days: 3}"), "belong to stars"),
        (("duration: 100", "duration: 100\nmass: 3"), "mass is not a field of a description"),
        (("duration: 100", "duration: 100\nduration: 3"), "line 10 duration is given twice"),
        (("text: Something.", "text: &a Something.\nsources: [*a]"), "references (*name) are not read"),
        (("text: Something.", "text: !!python/object/apply:os.system [ls]"), "could not determine a constructor"),
        (("text: Something.", "text: [unclosed"), "expected"),
        (("text: Something.", "? [a, b]\n: c"), "a field's name must be a word"),
        (("text: Something.", "text: " + "[" * 3000), "not YAML that can be read"),
        (("text: Something.", "text: \x00"), "not YAML that can be read"),
        ((GOOD, "- a\n- b"), "is not a description"),
        ((GOOD, ""), "is not a description"),
    ],
)
def test_what_is_wrong_is_one_line(change: tuple[str, str], words: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(DescriptionError) as caught:
        parse(GOOD.replace(*change), "x.yaml")
    message = str(caught.value)
    assert message.startswith("x.yaml")
    assert words in message
    assert "\n" not in message
    assert len(message) < 250


def test_files_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    large, binary = tmp_path / "large.yaml", tmp_path / "binary.yaml"
    large.write_text("#" * 200_000)
    binary.write_bytes(b"\xff\xfe\x00\x01")
    for path, words in ((tmp_path / "none.yaml", "No such file"), (large, "larger than"), (binary, "not text"), (tmp_path, "directory")):
        with pytest.raises(DescriptionError, match=words):
            read(path)


def test_numbers_are_fixed_ranged_or_spread() -> None:
    text = GOOD.replace("rise: 10", "rise: {median: 10, spread: 0.3}").replace("rate: 0.1", "rate: [5e-2, 2e-1]")
    found = parse(text)
    assert found.rise is not None
    assert found.decline is not None
    assert found.decline.rate is not None
    d = Draw(np.random.default_rng(0), "train", scope="x")
    rise = np.log([found.rise.draw(d, "rise") for _ in range(2000)])
    assert np.exp(np.median(rise)) == pytest.approx(10, rel=0.03)
    assert rise.std() == pytest.approx(0.3, rel=0.06)
    rate = np.array([found.decline.rate.draw(d, "rate") for _ in range(2000)])
    assert 0.05 <= rate.min() < 0.053
    assert 0.195 < rate.max() <= 0.2
    assert rate.mean() == pytest.approx(0.125, rel=0.03)


def test_the_light_curve_is_the_one_described() -> None:
    source = drawn(parse(GOOD))
    t = np.arange(0.01, 100, 0.01)
    g, r = curve(source, t), curve(source, t, 6200.0)
    assert t[np.argmax(g)] == pytest.approx(10, abs=0.05)
    assert -2.5 * np.log10(g[7000] / g[5000]) == pytest.approx(2.0, abs=0.02)  # 20 d at 0.1 mag/d
    assert 23.9 - 2.5 * np.log10(g.max()) - modulus(source.redshift) == pytest.approx(-18, abs=0.02)
    colour = 2.5 * np.log10(r / g)
    assert np.ptp(colour) < 1e-9  # a constant temperature
    assert -0.1 < colour[0] < 0.0  # of 10,000 K in AB
    assert source.flux(np.array([-1.0]), np.array([PIVOT]))[0] == 0


def test_declines_plateaux_and_second_peaks() -> None:
    t = np.arange(0.01, 100, 0.01)

    def light(change: str) -> np.ndarray:
        g = curve(drawn(parse(GOOD.replace("decline: {rate: 0.1}", change))), t)
        return np.asarray(-2.5 * np.log10(np.maximum(g, 1e-30) / g.max()))

    folding = light("decline: {e_folding: 20}")
    assert folding[6000] - folding[4000] == pytest.approx(1.0857, abs=0.02)
    power = light("decline: {index: 1.67, scale: 30}")
    assert power[6999] == pytest.approx(2.5 * 1.67 * np.log10(1 + 60 / 30), abs=0.02)
    late = light("decline: {rate: 0.1, late: {after: 20, rate: 0.01}}")
    assert late[6000] - late[4000] == pytest.approx(0.2, abs=0.01)
    flat = light("decline: {rate: 0.05}\nplateau: {days: 40, drop: 2}")
    assert flat[4000] == pytest.approx(0, abs=0.02)
    assert flat[6000] > 2
    second = light("decline: {rate: 0.2}\nsecond_peak: {after: 40, height: 0.6, width: 5}")
    assert second[4999] == pytest.approx(-2.5 * np.log10(0.6), abs=0.02)
    assert second[3500] > second[4999] + 0.5
    red = parse(GOOD.replace("decline: {rate: 0.1}", "decline: {rate: 0.2}\nsecond_peak: {after: 40, height: 0.6, width: 5, above: 6500}"))
    blue, far = (curve(drawn(red), t, w) for w in (PIVOT, 7600.0))
    assert far[4999] / far.max() > 0.4 > 0.01 > blue[4999] / blue.max()


def test_colours_follow_their_trends() -> None:
    t = np.array([5.0, 10.0, 20.0, 40.0, 80.0])

    def g_r(colour: str) -> np.ndarray:
        source = drawn(parse(GOOD.replace("{temperature: 10000}", colour)))
        return np.asarray(2.5 * np.log10(curve(source, t, 6200.0) / curve(source, t)))

    np.testing.assert_allclose(g_r("{g_r: 0.2, trend: 0.02, until: 15}"), [0.1, 0.2, 0.4, 0.5, 0.5], atol=0.01)
    cooling = g_r("{temperature: 12000, early: 20000, later: 4500, cooling: 12}")
    assert np.all(np.diff(cooling) > 0)
    assert cooling[0] < -0.15
    assert 0.7 < cooling[-1] < 1.0
    plain, blanketed = g_r("{temperature: 6000}"), g_r("{temperature: 6000, blanketing: 1.0}")
    assert blanketed[-1] == pytest.approx(plain[-1] + 0.25, abs=0.01)  # g lies 250 Å inside


def test_redshifts_are_kept_in_their_range_and_follow_the_depth_of_the_survey() -> None:
    bounded = parse(GOOD + "redshift: [0.02, 0.04]\n")
    free = parse(GOOD)
    near, deep = (np.array([drawn(free, k, deeper).redshift for k in range(200)]) for deeper in (0.0, 3.0))
    assert np.median(deep) > 2 * np.median(near)
    for deeper in (0.0, 3.0):
        z = np.array([drawn(bounded, k, deeper).redshift for k in range(200)])
        assert z.min() > 0.0195
        assert z.max() < 0.041
    assert near.max() < 0.2  # a peak of -18 at ZTF's limit
    assert FAINTEST == 20.3


def test_surroundings() -> None:
    def hosts(environment: str) -> list[Source]:
        return [drawn(parse(GOOD.replace("in-disc", environment)), k) for k in range(120)]

    def offset(sources: list[Source]) -> float:
        return float(np.median([s.host.offset / s.host.radius for s in sources if s.host is not None]))

    disc = hosts("in-disc")
    assert all(s.host is None for s in hosts("hostless"))
    assert offset(hosts("nuclear")) < 0.2 * offset(disc)
    assert offset(hosts("outskirts")) > 2 * offset(disc)

    def luminosity(sources: list[Source]) -> float:
        return float(np.median([s.host.mag_r - modulus(s.redshift) for s in sources if s.host is not None]))

    assert luminosity(hosts("dwarf")) > luminosity(disc) + 1.5


def test_stars_brighten_by_their_amplitude_and_come_again() -> None:
    source = drawn(parse(STAR + "recurrence: 40\n"))
    assert source.star is not None
    assert source.persistent
    t = np.arange(-400.0, 40.0, 0.1)
    light = source.flux(t, np.full_like(t, PIVOT))
    assert 23.9 - 2.5 * np.log10(light[t > 0].max()) == pytest.approx(source.star.mag_r - 3, abs=0.05)
    high = light > 0.5 * light.max()
    assert np.sum(high[1:] & ~high[:-1]) >= 4
    once = drawn(parse(STAR))
    assert not once.persistent
    assert once.flux(t[t < 0], np.full((t < 0).sum(), PIVOT)).max() == 0


def test_a_lens_is_symmetric_and_grey_and_a_period_repeats() -> None:
    lens = drawn(parse(STAR.replace("rise: 10", "rise: 20\nprofile: lens")))
    t = np.linspace(-40, 40, 801)
    g, r = (lens.flux(t, np.full_like(t, w)) for w in (PIVOT, 6200.0))
    np.testing.assert_allclose(g, g[::-1], rtol=1e-6)
    assert np.ptp(r / g) < 1e-9
    assert lens.star is not None
    star = float(lens.star.reference(np.array([PIVOT]))[0])
    assert 2.5 * np.log10(g.max() / star + 1) == pytest.approx(3, abs=1e-6)
    pulsating = drawn(parse(STAR.replace("rise: 10", "period: {days: 0.6, rise: 0.2}")))
    t = np.linspace(0, 3, 500)
    first, later = (pulsating.flux(t + shift, np.full_like(t, PIVOT)) for shift in (0.0, 6.0))
    np.testing.assert_allclose(first, later, rtol=1e-6, atol=1e-6 * np.abs(first).max())
    assert first.min() < 0 < first.max()


@pytest.mark.parametrize("name", NAMES)
def test_each_shipped_description_is_whole(name: str) -> None:
    description = shipped()[name]
    assert description.name == name  # of its file
    assert description.sources
    assert len(description.synonyms) >= 3
    assert description.programme in PROGRAMMES
    assert find(name)[0][0] == name
    for synonym in description.synonyms:
        assert find(synonym)[0] == (name, 1.0)
    looks = summary(description, 25)
    assert all(np.isfinite(v).all() for v in (looks.peak, looks.rise, looks.colour))


def test_there_are_at_least_twelve_and_no_synonym_is_claimed_twice() -> None:
    assert len(NAMES) >= 12
    synonyms = [s.lower() for d in shipped().values() for s in d.synonyms]
    assert len(set(synonyms)) == len(synonyms)


@pytest.mark.parametrize(
    ("name", "rise", "colour", "later"),
    [  # published medians: rise [d, rest], g-r at peak and after
        ("sn-ia", (16, 20), (-0.2, 0.2), (0.6, 1.1)),  # Miller et al. 2020; Scolnic & Kessler 2016
        ("tde", (20, 45), (-0.4, 0.0), (-0.4, 0.0)),  # Hammerstein et al. 2023
        ("slsn-i", (28, 55), (-0.35, 0.1), (-0.1, 0.6)),  # Chen et al. 2023
        ("kilonova", (0.3, 0.8), (-0.2, 0.4), (0.7, 1.5)),  # Villar et al. 2017
        ("ca-rich", (9, 15), (0.1, 0.6), (0.7, 1.3)),  # De et al. 2020
    ],
)
def test_shipped_descriptions_look_as_published(
    name: str, rise: tuple[float, float], colour: tuple[float, float], later: tuple[float, float]
) -> None:
    looks = summary(shipped()[name], 120)
    for (low, high), value in zip((rise, colour, later), (looks.rise[1], looks.colour[1], looks.later_colour[1]), strict=True):
        assert low <= value <= high, (name, value)


@pytest.mark.parametrize("name", ["kilonova", "tde", "dwarf-nova", "microlensing", "mira", "m-dwarf-flare"])
def test_described_objects_become_alerts_like_any(name: str) -> None:
    found = sample(shipped()[name], 6, seed=2)
    assert len(found.objects) == 6
    assert 0 < found.share <= 1
    alerts = [choose(o) for o in found.objects]
    columns = arrays.columns(alerts)
    batch = arrays.to_batch(columns)
    assert (columns["label"] == arrays.label_of(name)).all()
    assert set(columns["kind"]) == {name[:16]}
    assert (columns["n_detections"] >= 1).all()
    assert np.isfinite(batch.stamps).any(axis=(1, 2, 3)).all()
    again = arrays.columns([choose(o) for o in sample(shipped()[name], 6, seed=2).objects])
    for key, values in columns.items():
        np.testing.assert_array_equal(values, again[key], err_msg=key)
    decoded = Decoder().decode([packet(alerts[0])])
    assert list(decoded.rejected) == []


def test_the_same_object_whatever_else_is_drawn() -> None:
    description = shipped()["tde"]
    k = next(k for k in range(20) if observe(5, k, slug="tde", population="train", survey="ztf", described=description) is not None)
    one, two = (observe(5, k, slug="tde", population="train", survey="ztf", described=description) for _ in range(2))
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one.flux, two.flux)
    demo = observe(5, k, slug="tde", population="demo", survey="ztf", described=description)
    assert demo is None or demo.source.redshift != one.source.redshift


def test_what_no_survey_sees_is_said() -> None:
    with pytest.raises(NeverSeenError, match="test-event: none of 180 simulated objects is detected by ztf"):
        sample(parse(GOOD.replace("absolute: -18", "absolute: -6") + "redshift: [1, 2]\n"), 3, seed=0)


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("neutron star merger", "kilonova"),
        ("merging neutron stars", "kilonova"),
        ("BNS merger", "kilonova"),
        ("AT2017gfo", "kilonova"),
        ("kilonva", "kilonova"),
        ("killonova", "kilonova"),
        ("Type 1a", "sn-ia"),
        ("SNe Ia", "sn-ia"),
        ("exploding white dwarfs", "sn-ia"),
        ("magnetar powered supernova", "slsn-i"),
        ("superluminos supernova", "slsn-i"),
        ("star torn apart by a black hole", "tde"),
        ("a black hole shreds a star", "tde"),
        ("tidal distruption", "tde"),
        ("red nova", "lrn"),
        ("Paczynski curve", "microlensing"),
        ("Paczyński", "microlensing"),
        ("microlensng", "microlensing"),
        ("afterglw", "afterglow"),
        ("GRB afterglows", "afterglow"),
        ("AT2018cow", "fbot"),
        ("flare of a red dwarf", "m-dwarf-flare"),
        ("accretion disk instability", "dwarf-nova"),
        ("thermonuclear runaway", "nova"),
        ("electron capture supernova", "ilrt"),
        ("pair instability", "pisn"),
        ("calcium rich", "ca-rich"),
        ("luminous fast cooler", "luminous-fast-cooler"),
        ("II-P", "sn-ii-plateau"),
        ("narrow lines from circumstellar gas", "sn-iin"),
    ],
)
def test_a_phrase_finds_its_class_first(phrase: str, name: str) -> None:
    found = find(phrase)
    assert found, phrase
    assert found[0][0] == name, found[:3]
    assert all(LEAST <= score <= 1 for _, score in found)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


@pytest.mark.parametrize(
    "phrase",
    ["", "?!", "the of", "xyzzy", "quarterly tax report", "banana bread", "football results", "star wars", "black coffee", "red car",
     "nothing", "the best restaurant in town", "linux kernel driver", "quasar", "comet", "telescope"],
)  # fmt: skip
def test_a_phrase_about_something_else_finds_nothing(phrase: str) -> None:
    assert find(phrase) == []


def test_a_misspelling_scores_below_the_name_and_own_descriptions_are_found() -> None:
    assert find("kilonva")[0][1] < find("kilonova")[0][1] == 1.0
    own = Lookup([*shipped().values(), parse(GOOD)])
    assert own.find("an odd thing")[0] == ("test-event", 1.0)
    assert own.find("neutron star merger")[0][0] == "kilonova"


def test_the_page_names_every_field_and_its_example_is_what_ships() -> None:
    page = (Path(__file__).parents[2] / "docs/descriptions.md").read_text(encoding="utf-8")
    example = parse(page.split("```yaml")[1].split("```")[0])
    own = shipped()["kilonova"]
    written = ("synonyms", "text", "sources")
    assert example.model_dump(exclude=set(written)) == own.model_dump(exclude=set(written))
    table = page.split("## Fields")[1]
    for name in Description.model_fields:
        assert f"`{name}" in table, name
    for part, model in (("decline", Decline), ("colour", Colour), ("peak", Peak), ("plateau", Plateau)):
        for name in model.model_fields:
            assert f"`{part}.{name}`" in table, (part, name)
    for model in (SecondPeak, Period):
        for name in model.model_fields:
            assert f"`{name}`" in table, name


@pytest.mark.slow
def test_no_text_does_anything_but_give_a_description_or_one_line() -> None:
    rng = np.random.default_rng(0)
    texts = [(Path(__file__).parents[2] / f"data/simulate/descriptions/{name}.yaml").read_text(encoding="utf-8") for name in NAMES]
    alphabet = list("0123456789-.:[]{}&*!|>'\"#,\n eE\x00\t\u00e9")
    outcomes, said = {True: 0, False: 0}, []
    for k in range(1500):
        text = list(texts[k % len(texts)])
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(len(text)))
            text[at : at + int(rng.integers(0, 3))] = rng.choice(alphabet, int(rng.integers(0, 3))).tolist()
        try:
            parse("".join(text))
            outcomes[True] += 1
        except DescriptionError as error:
            said.append(str(error))
            outcomes[False] += 1
    assert min(outcomes.values()) > 200
    assert [line for line in said if "\n" in line or len(line) > 400] == []


@pytest.mark.slow
def test_whatever_is_accepted_has_finite_light() -> None:
    """The ends of every range together."""
    rng = np.random.default_rng(1)

    def choose_from(*values: object) -> object:
        return values[int(rng.integers(len(values)))]

    for k in range(300):
        rise, rate = choose_from(1e-4, 1, 3000), choose_from(0, 0.1, 200)
        decline = choose_from(
            f"{{rate: {rate}}}",
            f"{{rate: {rate}, late: {{after: {choose_from(1e-4, 3000)}, rate: {choose_from(0, 200)}}}}}",
            "{e_folding: 1e-4}",
            f"{{index: {choose_from(0.1, 10)}, scale: {choose_from(1e-4, 3000)}, late: {{after: 1e-4, index: 10}}}}",
        )
        plateau = f"plateau: {{days: {choose_from(1e-4, 3000)}, slope: {choose_from(-10, 10)}, drop: 10}}\n"
        second = f"second_peak: {{after: {choose_from(-1000, 1000)}, height: 10, width: {choose_from(1e-4, 3000)}}}\n"
        colour = choose_from(
            f"{{temperature: {choose_from(1000, 60000)}, early: {choose_from(1000, 60000)}, later: 1000, cooling: 1e-4}}",
            f"{{g_r: {choose_from(-1.5, 4)}, trend: {choose_from(-10, 10)}, blanketing: 10, ultraviolet: 10}}",
        )
        text = f"name: x\ntext: y\nrise: {rise}\ndecline: {decline}\nduration: {choose_from(1e-3, 2000)}\ncolour: {colour}\n"
        text += str(choose_from("", plateau)) + str(choose_from("", second))
        if choose_from(True, False):
            text += f"sky: extragalactic\nenvironment: hostless\npeak: {{absolute: {choose_from(-28, -5)}}}\ndust: {choose_from(0, 5)}\n"
        else:
            text += f"sky: any\nenvironment: star\npeak: {{amplitude: {choose_from(0.02, 20)}}}\nrecurrence: {choose_from(1e-4, 3000)}\n"
        source = drawn(parse(text), k)
        t = np.linspace(-10, source.active[1], 200)
        for wavelength in (3600.0, 6200.0, 9700.0):
            light = source.flux(t, np.full_like(t, wavelength))
            assert np.isfinite(light).all(), text
            assert (light >= 0).all(), text
