"""How good the few-shot engine is, by a protocol that cannot flatter it.

in → a table of labelled light curves (`learning.tables`) and a bundle
out → a report: accuracy with intervals, calibration, novelty, rare classes, time, and every baseline in the same episodes

    episodes.py    who is support and who is query, the same for every method
    simulated.py   simulated curves cut as the task is: what the head, its calibration and the control may know
    ours.py        the few-shot head on embeddings, whole task at a time
    features.py    hand-made features of the baselines
    forest.py      a random forest for a handful of examples, compiled
    baselines.py   what the same examples, and the same simulations, can train otherwise
    measures.py    accuracy, intervals, calibration, conformal sets, novelty, purity
    evaluate.py    all of it in order → the report
"""
