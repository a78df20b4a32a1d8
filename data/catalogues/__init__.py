"""Tables of stars and galaxies, as their authors publish them → catalogues on disk, and what of them lies near a place.

in → a CSV, FITS, Parquet or VOTable file (or OpenNGC's SQLite, Hipparcos' fixed columns) and whose it is (`catalogue_kinds.KINDS`)
out → a folder of columns in the order of HEALPix cells, its digest in its name (`catalogue_build`); opened as memory maps
      (`catalogue_store.Catalogue`), whose rows near a place `operators.crossmatch` finds

A catalogue never changes: another release is another folder with another digest, which is part of what a score's id says.
"""
