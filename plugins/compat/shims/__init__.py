"""The modules that packs import from their host, one file each, on our engine. `importing.py` names them."""
