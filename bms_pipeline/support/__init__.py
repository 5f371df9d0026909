"""Support bundles: what happened in a home folder, with every name of the tenant replaced."""
