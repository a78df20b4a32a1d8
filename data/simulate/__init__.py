"""A seed in → a sky out: labelled arrays to train on (`arrays.make`) or a night of ZTF packets (`night.night`), from one simulator.

draw.py          random numbers that know their population (train or demo)
sky.py           distances, extinction, black bodies, coordinates
source.py        what every class returns: a difference flux f(t, λ) and its surroundings
supernovae.py, fast.py, variables.py, nuisance.py    the classes, each with its source in the docstring
described.py     a class from a physical description (descriptions/*.yaml) → a Source (recipe.py), found by a phrase (lookup.py)
sample.py        a description → objects that a survey detected
classes.py       the table of classes
cadence.py       when a survey looks, in which band, how deep
observe.py       source + visits → detections, limits, forced photometry → one alert
context.py       catalogue matches, scores and history of an alert
stamps.py        science, template and difference images
arrays.py        alerts → columns of an AlertBatch
packets.py, night.py    alerts → ZTF 4.02 packets, and a night's stream of them
"""
