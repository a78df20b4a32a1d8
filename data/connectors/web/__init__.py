"""Archives on the web as sources of packets and light curves.

in → a source's name and a query
out → whole, verified files in a folder, each with a line of where it came from; what is not usable, with a reason
"""
