"""The simulated sky, from one simulator.

in → a seed, a population, a description of a class
out → labelled arrays to train on (`arrays.make`), light curves (`curves`) or a night of ZTF packets (`night.night`)

draw.py          random numbers that know their population (train or demo)
sky.py           distances, extinction, black bodies, coordinates
source.py        what every class returns: a difference flux f(t, λ) and its surroundings
supernovae.py, luminous.py, fast.py, gap.py, cataclysmic.py, variables.py, nuisance.py    the kinds, each with its source in the docstring
profiles.py, pulsators.py, binaries.py, starlight.py    the stars among them
classes.py       the tables of kinds and of the stream's classes
described.py     a class from a physical description (descriptions/*.yaml) → a Source (described_source.py), found by a phrase (lookup.py)
sample.py        a description → objects that a survey detected
cadence.py       when a survey looks, in which band, how deep
observe.py       source + visits → detections, limits, forced photometry → one alert
surroundings.py, measured.py   catalogue matches and history of an alert; shape, pixel statistics and scores of its detection
images.py        science, template and difference images
arrays.py        alerts → columns of an AlertBatch
curves.py        kinds → light curves of any cadence without images; photometry.py: those of stars over years
frames/        raw frames of two detectors as FITS files, with the truth of every injected object
survey_packets.py, night.py    alerts → ZTF 4.02 packets, and a night's stream of them
"""
