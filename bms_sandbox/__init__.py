"""A stand-in for Kaseya BMS and a messy tenant to put into it; for tests, demos and measurements only.

``tenant`` makes and stores the tenant, ``mutate`` lets a day pass in it, ``bms_server`` serves it, and ``process``
runs that server next to a test or a demo. Nothing outside the command line's sandbox verbs and the tests imports it.
"""
