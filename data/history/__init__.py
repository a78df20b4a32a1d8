"""What the topics say of objects, alerts, rejected packets and counts → a store of it; questions about the past → rows.

in → detections, embeddings, rejected packets with the place they were read from (`portion.Portion`), by one writer
out → objects by name and by place, light curves, alerts, counts of a night (`store.HistoryStore`), for any number of readers

Everything follows from the topics, so a store may be thrown away and is made anew. Private alerts are rows like others; no question is
answered without the rights of the one who asks.
"""
