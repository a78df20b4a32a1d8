"""Every setting there is.

in → flags, environment (``PROTONOVA_…``), ``protonova.toml``
out → one frozen `settings.model.Settings`, or one line with the setting that is wrong
"""
