"""Programs for developers; nothing imports them.

in → the code, real data where it lies
out → pages and pictures under `docs/`, Rubin's schemas without their documentation
"""
