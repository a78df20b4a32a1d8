"""Where packets and labels come from.

in → seeds, files, archives
out → packets (bytes), labelled arrays and light curves
"""
