"""Which model runs.

in → the folder of a bundle
out → a `Bundle`: the encoder's bytes, the head's arrays, the manifest, all of them proved whole

`published/` holds the bundle that ships.
"""
