"""in → a query of a TOM; out → its targets and their photometry, from Protonova's HTTP API."""
