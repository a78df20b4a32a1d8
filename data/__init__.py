"""Seeds, files and archives in → packets (bytes) and labelled arrays out."""
