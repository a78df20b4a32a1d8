"""Areas of the sky and lists of positions that people give.

in → cones, MOCs, polygons, sky maps of GCN; files of positions, read with distrust and bounded
out → ranges of cells and indexed positions, as `operators.areas` tests them
"""
