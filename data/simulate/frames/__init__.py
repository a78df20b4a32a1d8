"""Raw frames of a simulated observatory: what its detectors write, and what is truly on them.

in → a plan: seed, detectors, fields, nights
out → FITS files of 16 bits as bytes, frames of bias, dark and flat among them, and the truth of every injected object in every frame

star_field.py     what stands in a field: stars, galaxies, injected objects with the light curves of our classes
starlight_image.py  → the light that falls on a detector
optics.py         point-spread function with Moffat wings that varies over the frame; vignetting, dust, response of the pixels
ccd.py            electrons → raw values: noise, bleeding, non-linearity, bias, overscan
particles.py      cosmic rays: tracks, worms and spots
fits_cards.py     header and data → a FITS file
exposure_plan.py  when which frame is taken
observing_run.py  nights of exposures, read `ObservingRun` first
"""
