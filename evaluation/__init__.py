"""How good the few-shot engine is, by a protocol that cannot flatter it.

in → a table of labelled light curves (`data.tables`) and a bundle
out → a report: accuracy with intervals, calibration, novelty, rare classes, time, and every baseline in the same episodes

    episodes.py    who is support and who is query, the same for every method
    kinds.py       what a table's class names mean: kinds of the simulation
    drawn.py, pattern.py, simulated.py   simulated curves looked at as the task is: what head, calibration and control may know
    task_head.py   the few-shot head on embeddings, whole task at a time
    handmade.py    hand-made features of the baselines
    forest.py      a random forest for a handful of examples, compiled
    baselines.py   what the same examples, and the same simulations, can train otherwise
    confidence.py, novelty.py   temperature, 90 % sets, what is new: from simulated tasks and the examples
    measures.py    accuracy, intervals, calibration, conformal sets, novelty, purity
    packet_facts.py, skies.py   real ZTF packets beside simulated ones: what distinguishes them (`python -m tools.sky_gap`)
    protocol.py    all of it in order → the report
    labelled_packets.py, real_alerts.py   real packets through `pipeline.score.score`, beside their labels and catalogue
    wrong_alerts.py   which of them are wrong, and what was known of them
    provenance.py  which bundle a report is of
    studies/       what one evaluation does not show: ablation, leave one class out, novelty, rare classes, coverage
"""
