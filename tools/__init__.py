"""Programs for developers; nothing imports them.

in → the code, reports, bundles, real data where it lies
out → pages and pictures under `docs/`, the model card, studies, a bundle with its head made anew, two replays compared, what is wrong with
the structure, Rubin's schemas without their documentation
"""
