"""How the network learns.

in → a plan (`plan.Plan`): seed, sizes and numbers, what is left out, which bundle it goes on from; the simulated sky (`data.simulate`)
out → a bundle (`registry.bundle`): encoder, head, thresholds, the figures they reached and the plan

Read `recipe.py` first, `train(plan, workplace, progress)`: simulate, train, export, calibrate, evaluate, write. torch lives here and in
`gpu/eager.py` only; a worker needs neither.
"""
