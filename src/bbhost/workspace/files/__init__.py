"""Files of this host: the ``host.*`` file commands, thread storage and app data.

Two rules hold for everything here. A path beneath a root is resolved by the kernel, component by
component, never by comparing strings (``beneath.py``). Nothing blocks the loop: all file work runs
in threads under limiters with a name and a size.
"""
